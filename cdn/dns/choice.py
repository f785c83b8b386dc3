"""Which nodes an answer names: a few of those that may answer for the site, spread by weight (DESIGN I12, I16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import TypeVar
from zlib import crc32

from cdn.dns.client import AddressFamily, Client
from cdn.dns.fleet_nodes import FleetNode
from cdn.dns.site_addresses import Chosen
from cdn.fleet.condition import NodeState
from cdn.fleet.eligibility import eligible
from cdn.sites.site import Site

SLOTS = 1024
"""Clients are dealt to so many slots by their network, and everyone in a slot gets the same nodes."""

MAX_REMEMBERED = 16_384
"""Choices kept until the fleet changes, a few hundred bytes each: eight sets of regions in both families."""

MAX_REMEMBERED_REGIONS = 1_024
"""Sets of regions whose nodes are kept: each holds a list of up to all nodes."""

MAX_LOOKED_AT = 64
"""Of so many candidates a slot looks at everyone; of more it draws some, so that a choice costs the same."""

MAX_ROUNDS = 32
"""Of sixteen drawings each, before everyone is looked at all the same: where nearly all have next to no weight."""

_IN_SERVICE = frozenset({NodeState.SERVING, NodeState.LAGGING, NodeState.DETACHED})

K = TypeVar("K")
T = TypeVar("T")


class Family(Enum):
    """The family of the addresses that are asked for; the value is the octets of one."""

    IPV4 = 4
    IPV6 = 16


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node with the part of its weight that stands in answers; `packed` are its addresses that are up."""

    node: FleetNode
    weight: float
    packed: tuple[bytes, ...]


class Choice:
    """All choices for one state of the fleet. It remembers what it chose and is thrown away when the fleet changes.

    A node of the highest weight is named in every slot, one of half of it in every second, and of those that are named
    in a slot the first `most` in an order of the slot's own: visitors are spread by weight, and when a node comes or
    goes only the answers that it is in change.
    """

    def __init__(self, candidates: Sequence[Candidate], most: int) -> None:
        self._candidates = tuple(candidates)
        self._most = most
        self._pools: dict[tuple[tuple[str, ...], Family], _Pool | None] = {}
        self._chosen: dict[tuple[tuple[str, ...], Family, int], tuple[bytes, ...]] = {}

    def addresses(self, site: Site, family: Family, client: Client) -> Chosen | None:
        """See `SiteAddresses`."""
        key = (site.settings.region, family, slot_of(client))
        chosen = self._chosen.get(key)
        if chosen is None:
            if key[:2] not in self._pools:
                candidates = self._candidates_of(site)
                pool = _Pool(candidates, family) if candidates else None
                _remember(self._pools, key[:2], pool, MAX_REMEMBERED_REGIONS)
            pool = self._pools[key[:2]]
            if pool is None:
                return None
            chosen = _remember(self._chosen, key, pool.chosen(key[2], self._most), MAX_REMEMBERED)
        return Chosen(chosen, 0 if client.is_private else network_prefix(client.family))

    def _candidates_of(self, site: Site) -> tuple[Candidate, ...]:
        """Those with a share; when none is left, in the last resort, whoever may answer and is not known to be gone."""
        allowed = [each for each in self._candidates if eligible(each.node.facts, site) and each.node.packed]
        found = [each for each in allowed if each.weight > 0 and each.packed]
        return tuple(found or _last_resort(allowed))


def _last_resort(allowed: Sequence[Candidate]) -> list[Candidate]:
    left = [
        Candidate(each.node, each.node.member.weight, each.node.packed)
        for each in allowed
        if each.node.member.weight > 0 and each.node.member.state is not NodeState.GONE
    ]
    return [each for each in left if each.node.member.state in _IN_SERVICE] or left


def network_prefix(family: AddressFamily) -> int:
    """How many bits of an address are those of a client's network, whom everyone in it shares a slot with."""
    return 24 if family is AddressFamily.IPV4 else 48


def slot_of(client: Client) -> int:
    """The slot of a client's network. Those who are not to be placed are all in one."""
    if client.is_private:
        return 0
    network = client.address >> (client.family.bits - network_prefix(client.family))
    return crc32(network.to_bytes(6, "big")) % SLOTS


class _Pool:
    """The candidates that have addresses of one family."""

    def __init__(self, candidates: Sequence[Candidate], family: Family) -> None:
        of_family = ((each, tuple(one for one in each.packed if len(one) == family.value)) for each in candidates)
        self._members = [(each.node.member.node_id, each.weight, packed) for each, packed in of_family if packed]
        self._heaviest = max((weight for _, weight, _ in self._members), default=0.0)
        self._buckets: dict[int, list[tuple[str, float, tuple[bytes, ...]]]] = {}
        self._mask = (1 << (4 * len(self._members)).bit_length()) - 1
        if len(self._members) > MAX_LOOKED_AT:
            for member in self._members:
                self._buckets.setdefault(crc32(member[0].encode()) & self._mask, []).append(member)

    def chosen(self, slot: int, most: int) -> tuple[bytes, ...]:
        """The addresses that are named in a slot, in its order."""
        found = self._drawn(slot, most) if self._buckets else []
        if len(found) < most:
            found = self._ordered(slot)[:most]
        return tuple(one for packed in found for one in packed)

    def _ordered(self, slot: int) -> list[tuple[bytes, ...]]:
        """By looking at everybody."""
        ordered = []
        for node_id, weight, packed in self._members:
            lot, place = _lots(slot, node_id)
            if lot * self._heaviest < weight * 2**32:
                ordered.append((place, packed))
        return [packed for _, packed in sorted(ordered)]

    def _drawn(self, slot: int, most: int) -> list[tuple[bytes, ...]]:
        """By drawing buckets, each of which has the same chance, until enough are found or too many were drawn."""
        found: dict[str, tuple[bytes, ...]] = {}
        for round_ in range(MAX_ROUNDS):
            drawn = blake2b(b"%d of %d" % (round_, slot)).digest()
            for start in range(0, len(drawn), 4):
                for node_id, weight, packed in self._buckets.get(
                    int.from_bytes(drawn[start : start + 4], "big") & self._mask, ()
                ):
                    if _lots(slot, node_id)[0] * self._heaviest < weight * 2**32:
                        found[node_id] = packed
                        if len(found) == most:
                            return list(found.values())
        return list(found.values())


def _lots(slot: int, node_id: str) -> tuple[int, int]:
    """Whether a node is named in a slot, and where: two numbers below 2**32 that are always the same for both."""
    drawn = blake2b(b"%d %s" % (slot, node_id.encode()), digest_size=8).digest()
    return int.from_bytes(drawn[:4], "big"), int.from_bytes(drawn[4:], "big")


def _remember(kept: dict[K, T], key: K, value: T, most: int) -> T:
    if len(kept) >= most:
        kept.clear()
    kept[key] = value
    return value
