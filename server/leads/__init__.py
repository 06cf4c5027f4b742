"""Leads: suspicions from off-site supervision that an officer must verify."""
