"""The item directory (监管事项目录清单) and its checklists (检查实施清单)."""
