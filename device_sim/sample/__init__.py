"""Public data for the simulated outsiders: a small shipped slice, and readers for folders of the same kinds."""
