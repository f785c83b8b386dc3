"""Which nodes an answer names: a few of those that may answer for the site, spread by weight (DESIGN I12, I16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from ipaddress import ip_address
from typing import TypeVar
from zlib import crc32

from cdn.dns.fleet_nodes import FleetNode
from cdn.fleet.condition import NodeState
from cdn.fleet.eligibility import eligible
from cdn.sites.site import Site

SLOTS = 1024
"""Clients are dealt to so many slots by their network, and everyone in a slot gets the same nodes."""

MAX_REMEMBERED = 16_384
"""Choices kept until the fleet changes, a few hundred bytes each: eight sets of regions in both families."""

MAX_REMEMBERED_REGIONS = 1_024
"""Sets of regions whose nodes are kept: each holds a list of up to all nodes."""

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
        self._eligible: dict[tuple[str, ...], tuple[Candidate, ...]] = {}
        self._chosen: dict[tuple[tuple[str, ...], Family, int], tuple[bytes, ...]] = {}

    def addresses(self, site: Site, family: Family, source: str) -> tuple[bytes, ...] | None:
        """Packed addresses for a client; empty: the nodes have none of this family; None: there is no node at all."""
        regions = site.settings.region
        candidates = self._eligible.get(regions)
        if candidates is None:
            candidates = _remember(self._eligible, regions, self._candidates_of(site), MAX_REMEMBERED_REGIONS)
        if not candidates:
            return None
        key = (regions, family, slot_of(source))
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = _remember(self._chosen, key, _chosen(candidates, family, key[2], self._most), MAX_REMEMBERED)
        return chosen

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


def slot_of(source: str) -> int:
    """The slot of a client's network, /24 or /56: what one provider's resolvers share."""
    if ":" not in source:
        network = source.rpartition(".")[0].encode()
    else:
        network = ip_address(source.partition("%")[0]).packed[:7]
    return crc32(network) % SLOTS


def _chosen(candidates: Sequence[Candidate], family: Family, slot: int, most: int) -> tuple[bytes, ...]:
    of_family = [(each, [one for one in each.packed if len(one) == family.value]) for each in candidates]
    heaviest = max((each.weight for each, packed in of_family if packed), default=0.0)
    ordered: list[tuple[int, list[bytes]]] = []
    for each, packed in of_family:
        if not packed:
            continue
        lot, place = _lots(slot, each.node.member.node_id)
        if lot * heaviest < each.weight * 2**32:
            ordered.append((place, packed))
    ordered.sort()
    return tuple(one for _, packed in ordered[:most] for one in packed)


def _lots(slot: int, node_id: str) -> tuple[int, int]:
    """Whether a node is named in a slot, and where: two numbers below 2**32 that are always the same for both."""
    drawn = blake2b(b"%d %s" % (slot, node_id.encode()), digest_size=8).digest()
    return int.from_bytes(drawn[:4], "big"), int.from_bytes(drawn[4:], "big")


def _remember(kept: dict[K, T], key: K, value: T, most: int) -> T:
    if len(kept) >= most:
        kept.clear()
    kept[key] = value
    return value
