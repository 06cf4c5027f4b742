"""Knowledge for officers: law, standards, cases and guides (监管知识库)."""
