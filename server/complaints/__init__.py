"""Complaints: the register and its intake (投诉举报)."""
