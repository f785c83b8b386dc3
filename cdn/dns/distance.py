"""How far a node is from a visitor, by the best that is known of both: one scale, so that all nodes can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import acos, cos, radians, sin

from cdn.dns.geography import Place

EARTH_RADIUS_KM = 6371.0
"""Of the sphere that distances are measured on: it is nowhere wrong by more than half a percent."""

KM_PER_MS = 65.0
"""How far a millisecond of round trip reaches: light in glass makes 100 km there and back, and cables are half again as
long as the straight line (New York to London: 5,570 km, 75 to 85 ms). Measured times count as so many kilometres, so
that nodes with and without a measurement can be compared."""

SAME_COUNTRY_KM = 500.0
"""Counts for a node of the visitor's country where coordinates of one of them are not known: across a middling one."""

SAME_CONTINENT_KM = 3_000.0
"""Counts for a node of the visitor's continent where nothing nearer is known: across most of one."""

FAR_KM = 10_000.0
"""Counts for any other: the mean distance of two places on earth."""

Vector = tuple[float, float, float]
"""A point of a sphere whose radius is so little below 1 that no rounding takes the product of two above 1."""

_RADIUS = 1 - 1e-12


class Basis(Enum):
    """What a distance comes from, the best first."""

    MEASURED = "measured"  # a table of round-trip times names the node or its region
    COORDINATES = "coordinates"
    COUNTRY = "country"
    CONTINENT = "continent"
    NOTHING = "not known"  # nothing in common is known: all such nodes are equally far


@dataclass(frozen=True, slots=True)
class Distance:
    """`km` is what nodes are compared by: bias is in it, and for a measured time it is as many as take so long."""

    km: float
    basis: Basis


def vector_of(place: Place) -> Vector | None:
    """Where the place is on the sphere; None: its coordinates are not known."""
    if place.latitude is None or place.longitude is None:
        return None
    latitude, longitude = radians(place.latitude), radians(place.longitude)
    across = cos(latitude) * _RADIUS
    return across * cos(longitude), across * sin(longitude), sin(latitude) * _RADIUS


def great_circle_km(one: Vector, other: Vector) -> float:
    """The shortest way over the surface, to within ten metres."""
    return EARTH_RADIUS_KM * acos(one[0] * other[0] + one[1] * other[1] + one[2] * other[2])


def bias_factor(bias: int) -> float:
    """What a node's distance is multiplied by: 1 - b/100 for a positive bias, 1 / (1 + b/100) for a negative one."""
    return 1 - bias / 100 if bias >= 0 else 1 / (1 + bias / 100)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where nodes stand that are equally far from everybody: `nodes` are their numbers.

    `names` are those under which a table of round-trip times may know them, the node's own before its region's.
    """

    place: Place
    vector: Vector | None
    factor: float
    names: tuple[str, ...]
    nodes: tuple[int, ...]


def distance(spot: Spot, place: Place, vector: Vector | None, measured_ms: Mapping[str, float]) -> Distance:
    """From a visitor at `place`, whose vector that is, and who has these round-trip times.

    Bias moves borders between nodes whose distance is known. Where only the country is, it would give one of them all.
    """
    for name in spot.names:
        if name in measured_ms:
            return Distance(measured_ms[name] * KM_PER_MS * spot.factor, Basis.MEASURED)
    if vector is not None and spot.vector is not None:
        return Distance(great_circle_km(vector, spot.vector) * spot.factor, Basis.COORDINATES)
    if place.country and place.country == spot.place.country:
        return Distance(SAME_COUNTRY_KM, Basis.COUNTRY)
    if place.continent and place.continent == spot.place.continent:
        return Distance(SAME_CONTINENT_KM, Basis.CONTINENT)
    return Distance(FAR_KM, Basis.NOTHING)
