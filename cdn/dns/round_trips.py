"""Measured round-trip times by prefix, from a file."""

from __future__ import annotations

from pathlib import Path

from cdn.dns.client import AddressFamily
from cdn.dns.geography import Located


class RoundTripTable:
    """A `RoundTrips`: lines `PREFIX,NODE-OR-REGION,MS`. The longest prefix goes first, name by name: what it does not
    say of a node or region, the next shorter one that holds the address says."""

    def row(self, family: AddressFamily, address: int) -> Located:
        """See `RoundTrips`."""
        raise NotImplementedError

    def round_trip_ms(self, row: int) -> dict[str, float]:
        """See `RoundTrips`."""
        raise NotImplementedError


def read_round_trips(path: Path) -> RoundTripTable:
    """The table in a file. Raises InvalidInput, which names the line, when one is wrong; OSError when it cannot be read."""
    raise NotImplementedError(path)
