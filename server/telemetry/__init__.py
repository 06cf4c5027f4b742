"""Telemetry: the sensor registry, stored readings, dead letters, and the rules that find sustained exceedances."""
