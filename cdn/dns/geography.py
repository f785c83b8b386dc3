"""The seam between addresses and distances: where a client is, and how far the nodes are from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cdn.dns.client import AddressFamily


@dataclass(frozen=True, slots=True)
class Place:
    """`latitude` and `longitude` are degrees, None where only the country or the continent is known.

    `country` is ISO 3166-1 alpha-2, `continent` one of AF AN AS EU NA OC SA; "" where they are not known.
    """

    latitude: float | None = None
    longitude: float | None = None
    country: str = ""
    continent: str = ""


@dataclass(frozen=True, slots=True)
class Located:
    """`place` is the number of a place. `prefix`: whoever shares so many bits of the address is there too."""

    place: int
    prefix: int


NOWHERE = 0
"""The number of the place of which nothing is known: every table has it."""


class Geography(Protocol):
    """Immutable. One bisection per lookup."""

    def locate(self, family: AddressFamily, address: int) -> Located:
        """`address` is the whole address as a number."""
        ...

    def place(self, number: int) -> Place:
        """What `locate` found, by its number."""
        ...


class RoundTrips(Protocol):
    """Measured round-trip times, where there is a table of them: they go before distances. Immutable."""

    def row(self, family: AddressFamily, address: int) -> Located:
        """The number of the row for the address, NOWHERE when there is none, and the prefix for which it holds."""
        ...

    def round_trip_ms(self, row: int) -> dict[str, float]:
        """Milliseconds to nodes and regions, by name. A node's own entry goes before its region's."""
        ...
