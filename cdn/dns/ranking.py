"""The order of nodes around a place: groups of those that are equally near, from the nearest outward.

It goes by where nodes stand, never by how they are, so that a node that dies or comes back costs no distance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from heapq import nsmallest
from itertools import chain
from math import acos, inf

from cdn.dns.client import AddressFamily, Client
from cdn.dns.distance import (
    EARTH_RADIUS_KM,
    KM_PER_MS,
    Basis,
    Distance,
    Spot,
    bias_factor,
    distance,
    great_circle_km,
    vector_of,
)
from cdn.dns.fleet_nodes import FleetNode
from cdn.dns.geography import NOWHERE, Geography, Located, Place, RoundTrips
from cdn.dns.remembered import Remembered
from cdn.fleet.eligibility import eligible
from cdn.sites.site import Site

SAME_PLACE_KM = 25.0
"""Nodes that are so close to each other are one group: which of them is nearer is below what tables of places know."""

SAME_TIME_KM = 1.0 * KM_PER_MS
"""Measured times that differ by a millisecond or less are the same."""

KEPT_SPOTS = 6
"""The groups around so many of the nearest spots are remembered by place; when nobody in them is left, the whole order
is made."""

MAX_RANKINGS = 262_144
"""Places around which the order of one set of nodes is remembered, some 300 bytes each: half of them are as many as a
table of the world's cities has (136,624 in one of 2026), and half stay whatever is asked."""

MAX_POOLS = 1_024
"""Sets of regions whose nodes are kept: each holds a list of up to all nodes."""

MAX_INTERNED = 65_536
"""Groups of which one copy serves all places."""

Group = tuple[int, ...]
"""Spots that count as equally near, by number."""


class Standing:
    """Where a visitor is, as far as the order of nodes goes by it: visitors who are equal here have the same order.

    `prefix`: whoever shares so many bits of the address stands here too.
    """

    __slots__ = ("place", "prefix", "row")

    def __init__(self, place: int, row: int, prefix: int) -> None:
        self.place = place
        self.row = row
        self.prefix = prefix


UNPLACED = Standing(NOWHERE, NOWHERE, 0)
"""Of whoever wants nothing to be known, and of everybody where there are no tables."""


class Geometry:
    """Where all nodes stand, and the tables that visitors are placed by. Immutable but for what it remembers."""

    def __init__(
        self, nodes: Sequence[FleetNode], geography: Geography | None = None, round_trips: RoundTrips | None = None
    ) -> None:
        self.nodes = tuple(nodes)
        self._geography = geography
        self._round_trips = round_trips
        self._places = [self._place_of(node) for node in nodes]
        self._pools: dict[tuple[str, ...], Pool] = {}
        self._pool_numbers = 0
        self.rankings: Remembered[tuple[int, int, int], tuple[Group, ...]] = Remembered(MAX_RANKINGS)

    def holds_for(
        self, nodes: Sequence[FleetNode], geography: Geography | None, round_trips: RoundTrips | None
    ) -> bool:
        """Whether these nodes, however they are, stand as those of this geometry do, and the tables are the same."""
        return (
            geography is self._geography
            and round_trips is self._round_trips
            and len(nodes) == len(self.nodes)
            and all(
                one is other or _essence(one) == _essence(other) for one, other in zip(nodes, self.nodes, strict=True)
            )
        )

    def standing(self, client: Client) -> Standing:
        """Where the client is: one look-up in each table."""
        if client.source_prefix == 0:
            return UNPLACED
        row = None if self._round_trips is None else self._round_trips.row(client.family, client.address)
        if self._geography is None:
            return UNPLACED if row is None else Standing(NOWHERE, row.place, row.prefix)
        located = self._geography.locate(client.family, client.address)
        if row is None:
            return Standing(located.place, NOWHERE, located.prefix)
        return Standing(located.place, row.place, max(located.prefix, row.prefix))

    def place(self, number: int) -> Place:
        """Of a client's standing."""
        return Place() if self._geography is None else self._geography.place(number)

    def measured_ms(self, row: int) -> Mapping[str, float]:
        """Of a client's standing."""
        return {} if self._round_trips is None or row == NOWHERE else self._round_trips.round_trip_ms(row)

    def pool(self, site: Site) -> Pool:
        """The nodes that may answer for the site."""
        regions = site.settings.region
        pool = self._pools.get(regions)
        if pool is None:
            if len(self._pools) >= MAX_POOLS:
                self._pools.clear()
            numbers = [number for number, node in enumerate(self.nodes) if _may_answer(node, site)]
            self._pool_numbers += 1
            pool = self._pools[regions] = Pool(self, self._pool_numbers, self._spots(numbers))
        return pool

    def _spots(self, numbers: Sequence[int]) -> tuple[Spot, ...]:
        """Where these nodes stand. A table of round-trip times may know each by its own name."""
        found: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
        for number in numbers:
            node = self.nodes[number]
            names = () if self._round_trips is None else (node.member.node_id, node.member.region)
            found[self._places[number], node.bias, names].append(number)
        return tuple(
            Spot(
                self._places[nodes[0]],
                vector_of(self._places[nodes[0]]),
                bias_factor(self.nodes[nodes[0]].bias),
                () if self._round_trips is None else names_of(self.nodes[nodes[0]]),
                tuple(nodes),
            )
            for nodes in found.values()
        )

    def _place_of(self, node: FleetNode) -> Place:
        """What the node says of itself, else where its address is; its country is its address's in any case."""
        located = Place()
        for packed in node.packed if self._geography is not None else ():
            family = AddressFamily.IPV4 if len(packed) == 4 else AddressFamily.IPV6
            number = self._located(family, int.from_bytes(packed, "big")).place
            if number != NOWHERE:
                located = self.place(number)
                break
        if node.location is None:
            return located
        return Place(*node.location, located.country, located.continent)

    def _located(self, family: AddressFamily, address: int) -> Located:
        assert self._geography is not None, "the caller looked"
        return self._geography.locate(family, address)


class Pool:
    """The nodes that may answer for some sites, by where they stand."""

    def __init__(self, geometry: Geometry, number: int, spots: tuple[Spot, ...]) -> None:
        self.spots = spots
        self._geometry = geometry
        self._number = number
        self._columns = [(*spot.vector, spot.factor * EARTH_RADIUS_KM) for spot in spots if spot.vector is not None]
        self._is_plain = len(self._columns) == len(spots) and not any(spot.names for spot in spots)
        self._interned: dict[Group, Group] = {}

    @property
    def nodes(self) -> Iterator[int]:
        """Their numbers in the geometry."""
        return chain.from_iterable(spot.nodes for spot in self.spots)

    def outward(self, standing: Standing) -> Iterator[Group]:
        """Every group once, the nearest first."""
        key = (self._number, standing.place, standing.row)
        nearest = self._geometry.rankings.get(key)
        if nearest is None:
            nearest = tuple(self._intern(group) for group in self._groups(standing, KEPT_SPOTS))
            self._geometry.rankings.keep(key, nearest)
        yield from nearest
        if sum(map(len, nearest)) < len(self.spots):
            yield from list(self._groups(standing, len(self.spots)))[len(nearest) :]

    def distances(self, standing: Standing) -> list[Distance]:
        """Of every spot."""
        place, measured_ms = self._geometry.place(standing.place), self._geometry.measured_ms(standing.row)
        vector = vector_of(place)
        return [distance(spot, place, vector, measured_ms) for spot in self.spots]

    def _groups(self, standing: Standing, most: int) -> Iterator[Group]:
        """Those around the nearest `most` spots. Nearly all of the time that a new place costs is spent here."""
        vector = vector_of(self._geometry.place(standing.place))
        distances = None
        if vector is not None and self._is_plain:
            x, y, z = vector
            kms = [acos(x * a + y * b + z * c) * factor for a, b, c, factor in self._columns]
        else:
            distances = self.distances(standing)
            kms = [each.km for each in distances]
        limit_km = nsmallest(most, kms)[-1] if most < len(kms) else inf
        reach_km = limit_km + max(SAME_PLACE_KM, SAME_TIME_KM)
        order = sorted((km, number) for number, km in enumerate(kms) if km <= reach_km)
        return self._grouped(order, limit_km, distances)

    def _grouped(
        self, order: list[tuple[float, int]], limit_km: float, distances: list[Distance] | None
    ) -> Iterator[Group]:
        """Around the nearest that is left, those that count as equally near; as long as it is within the limit."""
        taken: set[int] = set()
        for start, (km, head) in enumerate(order):
            if head in taken:
                continue
            if km > limit_km:
                return
            group = [head]
            for further in range(start + 1, len(order)):
                further_km, spot = order[further]
                if further_km - km > max(SAME_PLACE_KM, SAME_TIME_KM):
                    break
                if spot not in taken and self._are_equal(head, spot, further_km - km, distances):
                    group.append(spot)
                    taken.add(spot)
            yield tuple(sorted(group))

    def _are_equal(self, one: int, other: int, difference_km: float, distances: list[Distance] | None) -> bool:
        if difference_km == 0.0:
            return True
        bases = {Basis.COORDINATES} if distances is None else {distances[one].basis, distances[other].basis}
        if bases == {Basis.MEASURED}:
            return difference_km <= SAME_TIME_KM
        vector, there = self.spots[one].vector, self.spots[other].vector
        if bases != {Basis.COORDINATES} or vector is None or there is None:
            return False
        return difference_km <= SAME_PLACE_KM and great_circle_km(vector, there) <= SAME_PLACE_KM

    def _intern(self, group: Group) -> Group:
        if len(self._interned) >= MAX_INTERNED:
            self._interned.clear()
        return self._interned.setdefault(group, group)


def names_of(node: FleetNode) -> tuple[str, ...]:
    """Under which a table of round-trip times may know the node, the most its own first."""
    return (node.member.node_id, node.member.region) if node.member.region else (node.member.node_id,)


def _may_answer(node: FleetNode, site: Site) -> bool:
    return bool(node.packed) and node.member.weight > 0 and eligible(node.facts, site)


def _essence(node: FleetNode) -> object:
    """What of a node makes a geometry another one."""
    return node.member.node_id, node.member.region, node.member.weight > 0, node.packed, node.location, node.bias
