"""A sample province: real divisions, synthetic entities and officers, items and checklists of the nine sectors."""
