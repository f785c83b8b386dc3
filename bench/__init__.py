"""Benchmarks: ratios to peers, in one run, on one machine."""
