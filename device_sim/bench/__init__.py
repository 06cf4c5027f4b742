"""Benchmarks: the product's programs beside the limit of the machine, measured in the same run."""
