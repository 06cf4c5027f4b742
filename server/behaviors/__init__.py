"""Supervision behaviors: what the platform submits nationally, versioned, each version a leaf of the proof log."""
