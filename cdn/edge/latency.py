"""How long answers take, counted in buckets."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets; one more has no bound. Memory answers below the first, a disk within the next few, an
upstream on another continent within the middle, and what is beyond the last is a client that reads slowly."""


class Latency:
    """`counts` are per bucket and not yet summed up, as BOUNDS_S says."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, took_s: float) -> None:
        """One answer. A value on a bound is within it, as Prometheus counts."""
        self.counts[bisect_left(BOUNDS_S, took_s)] += 1
        self.sum_s += took_s
