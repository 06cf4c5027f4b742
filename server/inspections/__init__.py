"""Inspections: tasks for two officers, the visits themselves, and closing them into supervision behaviors."""
