"""Regulated entities: firms and other bodies under supervision."""
