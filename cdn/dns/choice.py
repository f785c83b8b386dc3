"""Which nodes an answer names: the nearest of those that may answer for the site and can, spread by weight and load
(DESIGN I12, I16).

The filters, in order: eligible, up, current, not draining, nearest, spread by load and weight, the first few. `explain`
names who was left after each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from itertools import count
from zlib import crc32

from cdn.dns.client import AddressFamily, Client
from cdn.dns.fleet_nodes import FleetNode
from cdn.dns.ranking import Geometry, Group, Pool, Standing
from cdn.dns.remembered import Remembered
from cdn.dns.site_addresses import Chosen
from cdn.fleet.condition import NodeState
from cdn.sites.site import Site

SLOTS = 1024
"""Clients are dealt to so many slots by their network, and all who stand in one place and slot get the same nodes."""

MAX_PLACES = 262_144
"""By place the nearest group that is left is kept until the fleet changes, some 200 bytes each (see MAX_RANKINGS)."""

MAX_REMEMBERED = 131_072
"""Of each of what else is kept so long, up to 300 bytes each: groups, by group and slot whom it names, and by place and
slot whom a further group names."""

MAX_LIVE_POOLS = 1_024
"""Sets of regions whose nodes are kept with how they are."""

MAX_LOOKED_AT = 64
"""Of so many nodes of a group a slot looks at everyone; of more it draws some, so that a choice costs the same."""

MAX_ROUNDS = 32
"""Of sixteen drawings each, before everyone is looked at all the same: where nearly all have next to no weight."""

IN_SERVICE = frozenset({NodeState.SERVING, NodeState.LAGGING, NodeState.DETACHED})
"""Nodes in other states answer nobody, or not for long."""


class Family(Enum):
    """The family of the addresses that are asked for; the value is the octets of one."""

    IPV4 = 4
    IPV6 = 16


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node with the part of the slots that it is in, from 0 to 1; `packed` are its addresses that are up."""

    node: FleetNode
    fraction: float
    packed: tuple[bytes, ...]


class Resort(Enum):
    """Whom an answer is made of: the first of these in which there is anybody."""

    SHARES = "shares"  # who is up, and has a share: all is as it should be
    UP = "up"  # who is up and in service, however far behind
    IN_SERVICE = "in-service"  # who is in service, though this process's own checks fail: its own line may be cut
    NOT_GONE = "not-gone"  # joining or draining


class Choice:
    """All choices for one state of the fleet: another state is another object. See `SiteAddresses`."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        most: int,
        geometry: Geometry | None = None,
        ttls: Mapping[str, int] | None = None,
    ) -> None:
        """`most` nodes are in one answer. `geometry` is of the candidates' nodes, in this order, and outlives this;
        None: all are equally near to everybody. `ttls`: see `FleetState.look`."""
        self.candidates = tuple(candidates)
        self.most = most
        self.geometry = geometry or Geometry([each.node for each in candidates])
        self.ttls = ttls or {}
        self.nearest: Remembered[tuple[int, int, int], Nearest] = Remembered(MAX_PLACES)
        self.further: Remembered[tuple[int, int, int, int], Chosen] = Remembered(MAX_REMEMBERED)
        self.named: Remembered[tuple[int, int], tuple[bytes, ...]] = Remembered(MAX_REMEMBERED)
        self.groups: Remembered[tuple[int, Group], LiveGroup] = Remembered(MAX_REMEMBERED)
        self._ipv4: dict[tuple[str, ...], LivePool] = {}
        self._ipv6: dict[tuple[str, ...], LivePool] = {}
        self._numbers = count()

    def addresses(self, site: Site, family: Family, client: Client) -> Chosen | None:
        """See `SiteAddresses`."""
        return self.live(site, family).chosen(client)

    def live(self, site: Site, family: Family) -> LivePool:
        """The nodes for a site with how they are."""
        pools = self._ipv4 if family is Family.IPV4 else self._ipv6
        pool = pools.get(site.settings.region)
        if pool is None:
            if len(pools) >= MAX_LIVE_POOLS:
                pools.clear()
            pool = pools[site.settings.region] = LivePool(self, self.number(), self.geometry.pool(site), family)
        return pool

    def number(self) -> int:
        """Another one each time: under it a part of this keeps what it remembers."""
        return next(self._numbers)


@dataclass(frozen=True, slots=True)
class Member:
    """A node of a group: `weight` is beside the others of the group, `packed` are what is answered with."""

    number: int
    node_id: str
    weight: float
    fraction: float
    packed: tuple[bytes, ...]


class Nearest:
    """Around some places: the first group with anybody in it. `ttl_s`: see `Chosen`."""

    __slots__ = ("group", "same", "ttl_s")

    def __init__(self, group: LiveGroup, ttl_s: int | None) -> None:
        self.group = group
        self.ttl_s = ttl_s
        self.same: dict[int, Chosen] = {}
        """What all slots hear, where that is the same, by scope: one for each length that a prefix has."""


class LivePool:
    """The nodes that an answer for some sites may name now, of one family."""

    def __init__(self, choice: Choice, number: int, pool: Pool, family: Family) -> None:
        self.pool = pool
        self._number = number
        self.resort = _resort(choice.candidates[number] for number in pool.nodes)
        self._choice = choice
        self._family = family
        self._spots = [self._members(spot.nodes) for spot in pool.spots]
        self._ttls = [self._ttl_s(spot.nodes) for spot in pool.spots] if choice.ttls else []
        live = sum(map(bool, self._spots))
        self._is_empty = not live
        self._is_placed = live > 1

    def chosen(self, client: Client) -> Chosen | None:
        """See `SiteAddresses.addresses`."""
        if self.resort is None:
            return None
        if self._is_empty:
            return Chosen(())
        standing = self._choice.geometry.standing(client)
        nearest = self._nearest(standing)
        scope_prefix = standing.prefix if self._is_placed else 0
        if nearest.group.is_same_for_all:
            return nearest.same.get(scope_prefix) or self._same(nearest, scope_prefix)
        slot = slot_of(client)
        packed = nearest.group.named(slot)
        ttl_s = nearest.ttl_s
        if not packed:
            found = self._found_further(standing, slot)
            packed, ttl_s = found.packed, found.ttl_s
        return Chosen(packed, _scope_prefix(client, scope_prefix), ttl_s)

    def _same(self, nearest: Nearest, scope_prefix: int) -> Chosen:
        chosen = nearest.same[scope_prefix] = Chosen(nearest.group.named(0), scope_prefix, nearest.ttl_s)
        return chosen

    def walk(self, standing: Standing) -> Iterator[tuple[LiveGroup, int | None]]:
        """The groups with anybody in them, from the nearest outward, each with how long an answer from it may be kept.

        Whoever is down in a group that is passed over could be up again, which ends the answer's time as well.
        """
        ttl_s: int | None = None
        for spots in self.pool.outward(standing):
            if self._ttls:
                ttl_s = _least([ttl_s, *(self._ttls[spot] for spot in spots)])
            if any(self._spots[spot] for spot in spots):
                yield self._group(spots), ttl_s

    def _nearest(self, standing: Standing) -> Nearest:
        key = (self._number, standing.place, standing.row)
        found = self._choice.nearest.get(key)
        if found is None:
            group, ttl_s = next(self.walk(standing))
            found = self._choice.nearest.keep(key, group.nearest(ttl_s))
        return found

    def _found_further(self, standing: Standing, slot: int) -> Chosen:
        """For the slots that the nearest group has no part of; when no group has, the nearest takes them all."""
        key = (self._number, standing.place, standing.row, slot)
        found = self._choice.further.get(key)
        if found is not None:
            return found
        nearest = self._nearest(standing)
        chosen = Chosen(nearest.group.named(slot, is_thinned=False), 0, nearest.ttl_s)
        for group, ttl_s in self.walk(standing):
            packed = group.named(slot)
            if packed:
                chosen = Chosen(packed, 0, ttl_s)
                break
        return self._choice.further.keep(key, chosen)

    def _group(self, spots: Group) -> LiveGroup:
        group = self._choice.groups.get((self._number, spots))
        if group is None:
            members = [member for spot in spots for member in self._spots[spot]]
            group = self._choice.groups.keep((self._number, spots), LiveGroup(self._choice, members))
        return group

    def _members(self, numbers: Sequence[int]) -> tuple[Member, ...]:
        """Those that an answer may name, by the resort that it has come to."""
        found = []
        for number in numbers:
            candidate = self._choice.candidates[number]
            if self.resort is None or not is_of(candidate, self.resort):
                continue
            fraction = candidate.fraction if self.resort is Resort.SHARES else 1.0
            addresses = candidate.packed if candidate.packed else candidate.node.packed
            packed = tuple(each for each in addresses if len(each) == self._family.value)
            if packed:
                member = candidate.node.member
                found.append(Member(number, member.node_id, member.weight, fraction, packed))
        return tuple(found)

    def _ttl_s(self, numbers: Sequence[int]) -> int | None:
        ttls, nodes = self._choice.ttls, [self._choice.candidates[number].node for number in numbers]
        return _least([ttls.get(address) for node in nodes for address in node.addresses])


class LiveGroup:
    """Nodes that are equally near, and who of them is named in which slot.

    A node whose fraction is below 1 is in so many of the slots, and in the others the group has one node less. Of those
    that are in, the heaviest is always drawn, one of half of its weight in every second slot, and the first `most` of
    the drawn are named, in an order of the slot's own. So visitors are spread by weight, and when a node comes or goes
    only the answers that it is in change.
    """

    def __init__(self, choice: Choice, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self._most = choice.most
        self._remembered = choice.named
        self._number = choice.number()
        only = members[0] if len(members) == 1 else None
        self._constant = only.packed if only is not None and only.fraction >= 1.0 else None
        self.is_same_for_all = self._constant is not None
        """Whether it names the same nodes in every slot."""
        self._nearest: dict[int | None, Nearest] = {}  # by TTL, of which there are no more than settings allow
        self._heaviest = max(member.weight for member in members)
        self._buckets: dict[int, list[Member]] = {}
        self._mask = (1 << (4 * len(members)).bit_length()) - 1
        if len(members) > MAX_LOOKED_AT:
            for member in members:
                self._buckets.setdefault(crc32(member.node_id.encode()) & self._mask, []).append(member)

    def nearest(self, ttl_s: int | None) -> Nearest:
        """The same for all places that it is nearest to."""
        found = self._nearest.get(ttl_s)
        if found is None:
            found = self._nearest[ttl_s] = Nearest(self, ttl_s)
        return found

    def named(self, slot: int, *, is_thinned: bool = True) -> tuple[bytes, ...]:
        """The addresses that are named in a slot; none: the slot is not among those that its nodes take on.

        `is_thinned` False: they take on everybody.
        """
        if self._constant is not None:
            return self._constant
        key = (self._number, slot if is_thinned else ~slot)
        found = self._remembered.get(key)
        if found is None:
            members = self.drawn(slot, is_thinned=is_thinned)[: self._most]
            found = self._remembered.keep(key, tuple(one for member in members for one in member.packed))
        return found

    def drawn(self, slot: int, *, is_thinned: bool = True) -> list[Member]:
        """Who may be named in a slot, in its order: all of a small group, and enough of a large one."""
        if self._buckets:
            found = self._by_bucket(slot, is_thinned=is_thinned)
            if len(found) >= self._most:
                return found
        there = [(*_lots(slot, member.node_id), member) for member in self.members]
        if is_thinned:
            there = [each for each in there if each[0] < each[3].fraction * 2**32]
        heaviest = max((member.weight for *_, member in there), default=0.0)
        drawn = [(place, member) for _, lot, place, member in there if lot * heaviest < member.weight * 2**32]
        return [member for _, member in sorted(drawn, key=lambda each: (each[0], each[1].node_id))]

    def _by_bucket(self, slot: int, *, is_thinned: bool) -> list[Member]:
        """By drawing buckets, each of which has the same chance, until enough are found or too many were drawn."""
        found: dict[str, Member] = {}
        for round_ in range(MAX_ROUNDS):
            drawn = blake2b(b"%d of %d" % (round_, slot)).digest()
            for start in range(0, len(drawn), 4):
                bucket = int.from_bytes(drawn[start : start + 4], "big") & self._mask
                for member in self._buckets.get(bucket, ()):
                    within, lot, _ = _lots(slot, member.node_id)
                    is_in = not is_thinned or within < member.fraction * 2**32
                    if is_in and lot * self._heaviest < member.weight * 2**32:
                        found[member.node_id] = member
                        if len(found) == self._most:
                            return list(found.values())
        return list(found.values())


def network_prefix(family: AddressFamily) -> int:
    """How many bits of an address are its network's, /24 or /48: everyone in it is in the same slot."""
    return 24 if family is AddressFamily.IPV4 else 48


def slot_of(client: Client) -> int:
    """The slot of a client's network. Those who are not to be placed are all in one."""
    if client.source_prefix == 0:
        return 0
    network = client.address >> (client.family.bits - network_prefix(client.family))
    return crc32(network.to_bytes(6, "big")) % SLOTS


def _scope_prefix(client: Client, by_place: int) -> int:
    """Where the slot mattered too."""
    return 0 if client.source_prefix == 0 else max(by_place, network_prefix(client.family))


def _resort(candidates: Iterator[Candidate]) -> Resort | None:
    """The first in which there is anybody; None: in none."""
    there = list(candidates)
    return next((resort for resort in Resort if any(is_of(each, resort) for each in there)), None)


def is_of(candidate: Candidate, resort: Resort) -> bool:
    """Whether the node may be named at this resort."""
    state = candidate.node.member.state
    match resort:
        case Resort.SHARES:
            return candidate.fraction > 0 and bool(candidate.packed)
        case Resort.UP:
            return bool(candidate.packed) and state in IN_SERVICE
        case Resort.IN_SERVICE:
            return state in IN_SERVICE
        case Resort.NOT_GONE:
            return state is not NodeState.GONE


def _lots(slot: int, node_id: str) -> tuple[int, int, int]:
    """Whether a node is in a slot, whether it is drawn, and where it stands: three numbers below 2**32 that are always
    the same for both."""
    drawn = blake2b(b"%d %s" % (slot, node_id.encode()), digest_size=12).digest()
    return int.from_bytes(drawn[:4], "big"), int.from_bytes(drawn[4:8], "big"), int.from_bytes(drawn[8:], "big")


def _least(numbers: Sequence[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
