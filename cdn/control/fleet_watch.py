"""The fleet as DNS shall see it: states, and the share each node would have, looked at when a node changes (I16)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cdn.control.node_directory import NodeDirectory
from cdn.fleet.condition import Condition
from cdn.fleet.node import NodeFacts, NodeView
from cdn.fleet.view import FREEZE_AFTER_S, FleetView, next_view
from cdn.fleet.withdrawal import Member, Share, ShareReason, dns_shares

LOOK_EVERY_S = 1.0
"""What time alone does, a lease that runs out or a share that rises, shows within this."""

NODES_LOOKED_AT_PER_S = 5_000
"""Larger fleets are looked at less often by the clock, so that it stays at a twentieth of a core."""

GATHER_S = 0.1
"""Changes that come together are looked at together."""

LISTEN_S = 1.0
"""How long a replica waits to hear from the others when nothing came by itself."""

MAX_WAITS = 1_024
"""Callers that wait for the next change at once."""

_AT_REST = frozenset({ShareReason.FULL, ShareReason.OUT, ShareReason.UNWEIGHTED})
"""Shares that stay as they are while members do."""

_log = logging.getLogger(__name__)


_Known = tuple[str, NodeFacts, Condition, float]


@dataclass(frozen=True, slots=True)
class ShownNode:
    """A node in a view. `part` is what of its region's visitors it would get, from 0 to 1; `load` how busy it is."""

    facts: NodeFacts
    condition: Condition
    member: Member
    share: Share
    part: float
    load: float = 0.0

    @property
    def node_id(self) -> str:
        """Its name."""
        return self.member.node_id


@dataclass(frozen=True, slots=True)
class ShownFleet:
    """A view with a number that rises with every change. `view` says when it was seen, and whether it is frozen."""

    number: int
    view: FleetView
    nodes: tuple[ShownNode, ...]


class FleetWatch:
    """Keeps the view. Control has no checks of its own: every node counts as up that the journal shows."""

    def __init__(self, directory: NodeDirectory, clock: Callable[[], float]) -> None:
        """`clock` is the directory's."""
        self._directory = directory
        self._clock = clock
        self._view: FleetView | None = None
        self._shares: Mapping[str, Share] | None = None
        self._is_moving = False
        """Whether time alone changes a share."""
        self._members: dict[str, tuple[NodeFacts, Member]] = {}
        self._shown = ShownFleet(0, FleetView((), clock()), ())
        self._touched = asyncio.Event()
        self._changed = asyncio.Event()
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on."""
        self._directory.watch(self._touched.set)
        self._task = asyncio.create_task(self._run(), name="fleet-watch")

    async def aclose(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def shown(self) -> ShownFleet:
        """The fleet as it was seen last."""
        return self._shown

    async def wait_beyond(self, number: int, timeout_s: float) -> ShownFleet:
        """The fleet once its number is above `number`, or as it is after `timeout_s`, or when too many wait."""
        if self._waiting >= MAX_WAITS:
            return self._shown
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                while self._shown.number <= number:
                    await self._changed.wait()
        except TimeoutError:
            _log.debug("nothing changed after %d", number)
        finally:
            self._waiting -= 1
        return self._shown

    def look(self) -> ShownFleet:
        """The fleet as it is now."""
        now = self._clock()
        nodes = self._directory.nodes()
        conditions = [self._directory.condition(node.node_id) for node in nodes]
        observed = tuple(map(self._member, nodes, conditions))
        if len(self._members) > len(nodes):
            self._members = {node.node_id: self._members[node.node_id] for node in nodes}
        before, previous = self._shown, self._view
        self._view = next_view(previous, observed, self._directory.heard_at(), now)
        if self._view.is_frozen:  # and so is what was known of the nodes beside their state
            known = [(each.node_id, each.facts, each.condition, each.load) for each in before.nodes]
        else:
            pairs = zip(nodes, conditions, strict=True)
            load = self._directory.load
            known = [(node.node_id, node.facts, condition, load(node.node_id)) for node, condition in pairs]
        is_same = previous is not None and self._view.members == previous.members and not self._is_moving
        shown = before.nodes
        if not is_same or any(_differs(each, *new) for each, new in zip(before.nodes, known, strict=True)):
            shown = self._with_shares(known, now)
        is_same = shown is before.nodes or _essence(before.nodes) == _essence(shown)
        is_same = is_same and before.view.is_frozen == self._view.is_frozen
        self._shown = ShownFleet(before.number + (not is_same), self._view, shown)
        if not is_same:
            self._changed.set()
            self._changed = asyncio.Event()
        return self._shown

    def _with_shares(self, known: Sequence[_Known], now: float) -> tuple[ShownNode, ...]:
        """The nodes with what they get now."""
        assert self._view is not None, "it was looked"
        members = {member.node_id: member for member in self._view.members}
        shares = self._shares = dns_shares(self._view.members, members.keys(), self._shares, now)
        parts = _parts(members, shares)
        self._is_moving = any(share.reason not in _AT_REST for share in shares.values())
        return tuple(
            ShownNode(facts, condition, members[node_id], shares[node_id], parts[node_id], load)
            for node_id, facts, condition, load in known
        )

    def _member(self, node: NodeView, condition: Condition) -> Member:
        """The member as it was, where nothing of it changed: most are the same for hours."""
        facts, lag_s = node.facts, round(self._directory.lag_s(node.node_id), 1)
        known = self._members.get(node.node_id)
        if known is not None and known[0] is facts and known[1].state is condition.state and known[1].lag_s == lag_s:
            return known[1]
        member = Member(node.node_id, facts.region, float(facts.weight), condition.state, lag_s)
        self._members[node.node_id] = facts, member
        return member

    async def _run(self) -> None:
        while True:
            self._touched.clear()
            self.look()
            await asyncio.sleep(GATHER_S)
            every_s = max(LOOK_EVERY_S, len(self._shown.nodes) / NODES_LOOKED_AT_PER_S)
            try:
                async with asyncio.timeout(every_s - GATHER_S):
                    await self._touched.wait()
            except TimeoutError:
                await self._listen()

    async def _listen(self) -> None:
        """Ask whether the others can be heard, where nothing was heard for a while."""
        if self._clock() - self._directory.heard_at() < FREEZE_AFTER_S / 2:
            return
        try:
            async with asyncio.timeout(LISTEN_S):
                await self._directory.settle()
        except TimeoutError:
            _log.info("other replicas are not heard: the view of the fleet stays as it is")


def _parts(members: Mapping[str, Member], shares: Mapping[str, Share]) -> dict[str, float]:
    """What of its region's visitors each node gets."""
    weighed = {node_id: member.weight * shares[node_id].fraction for node_id, member in members.items()}
    totals: dict[str, float] = {}
    for node_id, member in members.items():
        totals[member.region] = totals.get(member.region, 0.0) + weighed[node_id]
    return {
        node_id: weighed[node_id] / totals[member.region] if totals[member.region] else 0.0
        for node_id, member in members.items()
    }


def _differs(shown: ShownNode, node_id: str, facts: NodeFacts, condition: Condition, load: float) -> bool:
    """Whether a node is to be shown otherwise."""
    is_same = shown.facts is facts and shown.condition.reason is condition.reason and shown.load == load
    return not is_same or shown.node_id != node_id


def _essence(nodes: tuple[ShownNode, ...]) -> list[object]:
    """What of nodes makes a view another one."""
    return [(each.member, each.share, each.condition.reason, each.facts, each.load) for each in nodes]
