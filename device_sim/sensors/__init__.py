"""Simulated sensors: real air-quality hours replayed over MQTT, and a check that each ended exactly once."""
