"""The table of places that comes with the program: coarse, small, and free to pass on."""

from __future__ import annotations

from functools import cache

from cdn.dns.geo_table import GeoTable


@cache
def default_table() -> GeoTable:
    """The embedded table, unpacked in memory the first time it is asked for."""
    raise NotImplementedError
