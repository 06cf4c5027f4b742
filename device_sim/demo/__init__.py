"""The demonstration: the whole story with real programs on this machine, checked as it goes."""
