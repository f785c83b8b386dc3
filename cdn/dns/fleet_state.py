"""What this process knows of the fleet: control's last word, its own checks, and the shares that come of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdn.dns.choice import Candidate, Choice
from cdn.dns.fleet_nodes import FleetNode, SeenFleet
from cdn.dns.geography import Geography, RoundTrips
from cdn.dns.ranking import Geometry
from cdn.fleet.view import FleetView, next_view
from cdn.fleet.withdrawal import Share, dns_shares

SHARE_STEPS = 20
"""Shares are followed in steps of a twentieth, so that a ramp of 60 s makes 18 new choices and not one a second."""

FULL_LOAD = 0.75
"""Up to here a node takes all visitors that it is nearest to; beyond, visitors wait for each other."""

LEAST_LOADED_PART = 0.5
"""What a node keeps of its slots however loaded it is: where all are loaded, sending visitors far away helps nobody."""


@dataclass(frozen=True, slots=True)
class NodeShare:
    """A node, the part of its weight in answers, and why (`fleet.withdrawal`)."""

    node: FleetNode
    share: Share


class FleetState:
    """Times are monotonic seconds. It begins with nothing, or with what was kept on disk, which counts as frozen."""

    def __init__(self, kept: SeenFleet | None, most: int, now: float, full_load: float = FULL_LOAD) -> None:
        """`most` nodes are in one answer. `full_load` is above 0 and at most 1."""
        self._most = most
        self._full_load = full_load
        self._observed: tuple[FleetNode, ...] = ()
        self._heard_at = float("-inf")
        self._nodes: Mapping[str, FleetNode] = {}
        self._view: FleetView | None = None
        self._shares: Mapping[str, Share] | None = None
        self._essence: object = None
        self._choice: Choice | None = None
        self._geography: Geography | None = None
        self._round_trips: RoundTrips | None = None
        self._geometry: Geometry | None = None
        if kept is not None:
            self._nodes = _by_id(kept.nodes)
            self._view = FleetView(tuple(node.member for node in kept.nodes), now, is_frozen=True)

    @property
    def is_frozen(self) -> bool:
        """Whether lag stands still because control is not heard (DESIGN I16)."""
        return self._view is None or self._view.is_frozen

    @property
    def was_heard(self) -> bool:
        """Whether control said anything to this process."""
        return self._heard_at > float("-inf")

    @property
    def addresses(self) -> frozenset[str]:
        """Every public address in the view: what is checked."""
        return frozenset(address for node in self._nodes.values() for address in node.addresses)

    def shares(self) -> tuple[NodeShare, ...]:
        """Every node as it stands in answers now."""
        shares = self._shares or {}
        return tuple(NodeShare(node, shares[node_id]) for node_id, node in self._nodes.items() if node_id in shares)

    def resume(self, shares: Mapping[str, Share]) -> None:
        """Go on from these shares, by node: those of another process that has watched the fleet for longer. None at
        all: it knows of no fleet either, and nobody has to rise."""
        self._shares = shares or None

    def hear(self, seen: SeenFleet, now: float) -> None:
        """Control's view. One that control itself calls frozen is no word of the journal."""
        if seen.is_frozen and self._view is not None:
            return
        self._observed, self._heard_at = seen.nodes, now

    def use(self, geography: Geography | None, round_trips: RoundTrips | None) -> None:
        """From the next `look` on clients and nodes are placed by these; None: there is no such table."""
        self._geography, self._round_trips = geography, round_trips

    def look(self, down: frozenset[str], now: float, ttls: Mapping[str, int] | None = None) -> Choice | None:
        """The choice for now, the same object while nothing changed; None: nothing is known of any fleet.

        `down` are the addresses that the checks of this process do not reach. `ttls`: by address, how many seconds an
        answer that goes by its state may be kept; one that is not named puts no limit to it.
        """
        if self.was_heard:
            before = self._view
            observed = tuple(node.member for node in self._observed)
            self._view = next_view(before, observed, self._heard_at, now)
            if self._view.members is not (before.members if before is not None else None):
                self._nodes = _by_id(self._observed)
        if self._view is None:
            return None
        up = frozenset(node_id for node_id, node in self._nodes.items() if not down.issuperset(node.addresses))
        self._shares = dns_shares(self._view.members, up, self._shares, now)
        candidates = [self._candidate(node, down) for node in self._nodes.values()]
        nodes = [each.node for each in candidates]
        geometry = self._geometry
        if geometry is None or not geometry.holds_for(nodes, self._geography, self._round_trips):
            geometry = self._geometry = Geometry(nodes, self._geography, self._round_trips)
        essence = (geometry, dict(ttls or {}), [_essence(each) for each in candidates])
        if self._choice is None or essence != self._essence:
            self._essence, self._choice = essence, Choice(candidates, self._most, geometry, ttls)
        return self._choice

    def _candidate(self, node: FleetNode, down: frozenset[str]) -> Candidate:
        share = (self._shares or {})[node.member.node_id]
        part = share.fraction * loaded_part(node.load, self._full_load)
        fraction = 1.0 if part >= 1.0 else round(part * SHARE_STEPS) / SHARE_STEPS
        packed = tuple(each for address, each in zip(node.addresses, node.packed, strict=True) if address not in down)
        return Candidate(node, fraction, packed)


def _essence(candidate: Candidate) -> object:
    """What of a node makes a choice another one: all but its lag and its load, which count through its fraction, and
    what its geometry has."""
    return candidate.node.member.weight, candidate.node.member.state, candidate.fraction, candidate.packed


def loaded_part(load: float, full_load: float) -> float:
    """What of its slots a node keeps: all up to full load, LEAST_LOADED_PART when it does all that it can."""
    if load <= full_load:
        return 1.0
    beyond = min(1.0, (load - full_load) / max(1.0 - full_load, 0.05))
    return 1.0 - beyond * (1.0 - LEAST_LOADED_PART)


def _by_id(nodes: tuple[FleetNode, ...]) -> dict[str, FleetNode]:
    return {node.member.node_id: node for node in nodes}
