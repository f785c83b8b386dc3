"""Geographies for tests: places by the first sixteen bits of an address, and a table of round trips by the same."""

from __future__ import annotations

from collections.abc import Mapping

from cdn.dns.client import AddressFamily
from cdn.dns.geography import NOWHERE, Located, Place

BLOCK = 16
"""The prefix for which a place holds."""


class Blocks:
    """A `Geography`: the place of 10.X.0.0/16 and of 20XX::/16 is `places[X]`; everybody else is nowhere."""

    def __init__(self, places: Mapping[int, Place]) -> None:
        self._places = {number + 1: place for number, place in places.items()}
        self.located = 0

    def locate(self, family: AddressFamily, address: int) -> Located:
        self.located += 1
        block = address >> (family.bits - BLOCK)
        number = (block & 0xFF) + 1 if block >> 8 in {10, 0x20} else NOWHERE
        return Located(number if number in self._places else NOWHERE, BLOCK)

    def place(self, number: int) -> Place:
        return self._places.get(number, Place())


class Measured:
    """A `RoundTrips`: the row of 10.X.0.0/16 is `rows[X]`, which holds for a /20."""

    PREFIX = 20

    def __init__(self, rows: Mapping[int, dict[str, float]]) -> None:
        self._rows = {number + 1: row for number, row in rows.items()}

    def row(self, family: AddressFamily, address: int) -> Located:
        block = address >> (family.bits - BLOCK)
        number = (block & 0xFF) + 1 if block >> 8 in {10, 0x20} else NOWHERE
        return Located(number if number in self._rows else NOWHERE, self.PREFIX)

    def round_trip_ms(self, row: int) -> dict[str, float]:
        return self._rows[row]
