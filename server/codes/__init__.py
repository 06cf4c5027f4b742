"""Serving the code tables of `schemas.codes`, with the labels of any day."""
