"""Figures over the whole platform: what went in, what came out, what waits."""
