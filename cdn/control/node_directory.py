"""The node directory: which nodes there are, what each has applied and prepared, and receipts from that (DESIGN I8)."""

from __future__ import annotations

import time
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cdn.control.archive_layout import KeptNode
from cdn.control.kept_times import KeptTimes, most_times
from cdn.control.node_conditions import NodeConditions
from cdn.control.node_memory import DirectoryUnavailable, NodeMemory
from cdn.control.preparations import MAX_REASON_CHARS, Preparations, PrepareReport
from cdn.control.receipt_waits import ReceiptWaits, Room
from cdn.errors import Conflict, NotFound
from cdn.fleet.acknowledgements import Acknowledgements, tally
from cdn.fleet.applied_times import AppliedTimes
from cdn.fleet.condition import Condition, NodeState
from cdn.fleet.node import NodeFacts, NodeView, check_node_id, is_surely_detached, outcome_of
from cdn.fleet.position import Position
from cdn.fleet.receipt import Listed, NodeOutcome, NodeReceipt, Receipt, ReceiptPage, ReceiptTally

MAX_NODES = 16_384
"""Nodes ever met and not forgotten: each costs some 20 KB of memory."""

LISTED_NODES = 100
"""Receipts of fleets up to this size list every node; of larger ones those that have not applied the record."""

MAX_COUNTERS = 256
"""Counters kept of one heartbeat."""

LOAD_STEP = 0.1
"""How much busier or less busy a node is before the view of the fleet says so."""

MAX_LOAD = 10.0
"""What is believed of a node that says that it is busier than it can be."""


class NodeDoubled(Conflict):
    """Another node under the same id is connected and alive."""


class TooManyNodes(DirectoryUnavailable):
    """As many nodes are known as may be."""


@dataclass(slots=True, eq=False)
class _Node:
    view: NodeView
    times: AppliedTimes
    granted_lease_s: float = 0.0
    kept: KeptNode | None = None  # the row that is durable
    counters: Mapping[str, int] = field(default_factory=dict)
    clock_offset_s: float | None = None
    load: float = 0.0


class NodeDirectory:
    """Fed by the hub, asked by the API. Node ids outlive control, so a restarted one waits for the nodes it knew."""

    def __init__(
        self, memory: NodeMemory, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._wall = wall
        self._nodes: dict[str, _Node] = {}
        self._ids: list[str] = []  # in order
        self._stand = Acknowledgements()
        self._room = Room()
        self._waits = ReceiptWaits(clock, self._room)
        self._preparations = Preparations(self._room)
        self._conditions = NodeConditions(clock)
        self._times = KeptTimes(memory, self._times_of)
        self._watchers: list[Callable[[], None]] = []
        self._hears_the_past = False
        """Whether what is heard was said some time ago: it tells where nodes stand, and not when they came there."""

    @classmethod
    async def open(
        cls,
        path: Path | str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> NodeDirectory:
        """The directory with the nodes remembered at `path`. Leases count on `clock` (monotonic seconds).

        A remembered node may still hold a lease from before: it counts as running from now. DirectoryUnavailable.
        """
        memory = NodeMemory(Path(path))
        directory = cls(memory, clock=clock, wall=wall)
        try:
            nodes = await memory.nodes()
            await directory._times.start()
        except BaseException:
            await memory.aclose()
            raise
        now = clock()
        for kept in nodes:
            facts = NodeFacts(
                kept.program,
                kept.region,
                weight=kept.weight,
                public_addresses=kept.public_addresses,
                location=kept.location,
                bias=kept.bias,
            )
            view = NodeView(kept.node_id, facts, None, False, now, kept.lease_s, kept.record_version)
            directory._enter(view).kept = kept
            directory._conditions.look(view)
        return directory

    @classmethod
    async def restore(cls, path: Path | str, nodes: Iterable[KeptNode]) -> None:
        """Make a directory at `path` that remembers these nodes. Raises DirectoryUnavailable."""
        memory = NodeMemory(Path(path))
        try:
            await memory.remember(nodes)
        finally:
            await memory.aclose()

    async def aclose(self) -> None:
        """Keep what is not kept yet, and close the file."""
        self._waits.close()
        await self._times.aclose()
        await self._memory.aclose()

    @property
    def waiting(self) -> int:
        """Callers that wait for receipts and preparations."""
        return self._room.taken

    def watch(self, watcher: Callable[[], None]) -> None:
        """Calls `watcher` when a node came, went, or may have changed its state. It must not wait."""
        self._watchers.append(watcher)

    def kept(self) -> tuple[KeptNode, ...]:
        """The nodes as they are remembered across a restart."""
        return tuple(node.kept for node in self._nodes.values() if node.kept is not None)

    def journal_reached(self, end: Position) -> None:
        """Control has applied the journal up to `end`; nodes that have not begin to lag."""
        self._conditions.journal_reached(end)

    def heard_at(self) -> float:
        """When it was last known what all nodes said, in the directory's monotonic seconds."""
        return self._clock()

    async def settle(self) -> bool:
        """Know of every node what was known anywhere when this was called; whether that succeeded.

        A receipt is complete only after it did. This directory alone knows everything.
        """
        return True

    async def renew(self, node_id: str) -> None:
        """Called before a heartbeat is answered: when it returns, whoever gives receipts knows that the lease runs on.

        Raises Unavailable: then the heartbeat must not be answered.
        """
        self._node(node_id)

    # What the hub reports.

    async def connected(
        self, node_id: str, facts: NodeFacts, position: Position | None, *, lease_s: float, record_version: int
    ) -> None:
        """A node said hello and stands at `position`. When this returns it is remembered durably.

        Raises InvalidInput for an id that cannot name a node, TooManyNodes, DirectoryUnavailable.
        """
        check_node_id(node_id)
        known = self._nodes.get(node_id)
        if known is None and len(self._nodes) >= MAX_NODES:
            raise TooManyNodes(f"{MAX_NODES} nodes are known already: forget those that are gone (cdn node rm NODE)")
        # An earlier lease may be longer and still run: until a heartbeat is answered the longer one counts.
        counted_lease_s = lease_s if known is None else max(lease_s, known.view.lease_s)
        row = kept_node(node_id, facts, record_version, counted_lease_s)
        if known is None or known.kept != row:  # a node that comes back as it was needs no room on a full disk
            await self._memory.remember((row,))
        node = self._nodes.get(node_id)
        if node is None:
            node = self._enter(NodeView(node_id, facts, None, False, None, lease_s))
        else:
            self._conditions.look(node.view)
        node.kept = row
        node.granted_lease_s = lease_s
        node.view = replace(
            node.view,
            facts=facts,
            is_connected=True,
            lease_s=counted_lease_s,
            record_version=record_version,
            stopped=None,
        )
        self._stand_at(node, position)
        self._conditions.changed(node.view, has_left=False, is_draining=False)
        self._moved(node)

    def applied(self, node_id: str, position: Position) -> None:
        """The node serves at or above `position` and will after a restart."""
        node = self._node(node_id)
        before = node.view.position
        is_steady = self._conditions.serves_steadily(node.view)
        if not is_steady:
            self._conditions.look(node.view)
        if before is None or before.epoch != position.epoch:
            self._stand_at(node, Position(position.epoch, 0))
        elif before.sequence >= position.sequence:
            return
        self._acknowledge(node, position)
        if is_steady:
            self._stands(node)
            return
        self._conditions.changed(node.view)
        self._moved(node)

    def heard_clock(self, node_id: str, offset_s: float) -> None:
        """The node's wall clock was so far ahead of control's when it said so. Shown to people, and nothing else."""
        self._node(node_id).clock_offset_s = offset_s

    def heard_load(self, node_id: str, load: float) -> None:
        """How busy the node is. A little more or less is no news: each change is one for every name server."""
        node, load = self._node(node_id), min(max(load, 0.0), MAX_LOAD)
        if abs(load - node.load) >= LOAD_STEP:
            node.load = round(load, 1)
            self._tell_watchers()

    def heartbeat_answered(self, node_id: str, counters: Mapping[str, int], *, is_draining: bool = False) -> None:
        """Called before the answer is sent: the node's lease may run from now on. `is_draining`: it will leave soon."""
        node = self._node(node_id)
        self._become(
            node, replace(node.view, answered_at=self._clock(), lease_s=node.granted_lease_s), is_draining=is_draining
        )
        node.counters = dict(list(counters.items())[:MAX_COUNTERS])

    def disconnected(self, node_id: str) -> None:
        """The node's connection is gone; its lease may still run."""
        node = self._node(node_id)
        self._become(node, replace(node.view, is_connected=False))

    def left(self, node_id: str) -> None:
        """The node gave its lease back."""
        node = self._node(node_id)
        self._become(node, replace(node.view, is_connected=False, answered_at=None), has_left=True)

    def stopped(self, node_id: str, reason: str) -> None:
        """The node met a record it does not understand."""
        node = self._node(node_id)
        self._become(node, replace(node.view, stopped=reason[:MAX_REASON_CHARS]))

    def prepared(self, node_id: str, site_id: str, deploy_id: str, failure: str | None = None) -> None:
        """The node has loaded the deploy's manifest, or says why it could not."""
        self._node(node_id)
        self._preparations.note(node_id, (site_id, deploy_id), failure)

    async def forget(self, node_id: str) -> None:
        """Remove a node that will not come back. Raises NotFound; Conflict while it may still serve by its lease."""
        node = self._node(node_id)
        if not is_surely_detached(node.view, self._clock()):
            raise Conflict(f"node {node_id} may still be serving: stop it and wait until its lease is over")
        node.kept = None  # should it come back meanwhile, it is written anew
        await self._memory.forget(node_id)
        if not is_surely_detached(node.view, self._clock()):
            raise Conflict(f"node {node_id} came back while it was being forgotten: it stays")
        self._drop(node_id)

    # What the API asks.

    def nodes(self) -> tuple[NodeView, ...]:
        """Every node known, by id."""
        return tuple(self._nodes[node_id].view for node_id in self._ids)

    def node(self, node_id: str) -> NodeView:
        """The node. Raises NotFound."""
        return self._node(node_id).view

    def counters(self, node_id: str) -> Mapping[str, int]:
        """What the node counted, as of its last heartbeat. Raises NotFound."""
        return self._node(node_id).counters

    def replica_of(self, node_id: str) -> str | None:
        """The other replica of control that the node follows, or followed last; None: this one."""
        return None

    def condition(self, node_id: str) -> Condition:
        """The node's state now, with its reason and since when. Raises NotFound."""
        return self._conditions.look(self._node(node_id).view)

    def lag_s(self, node_id: str) -> float:
        """How long the node has been behind; 0: it has applied everything. Raises NotFound."""
        return self._conditions.lag_s(self._node(node_id).view)

    def clock_offset_s(self, node_id: str) -> float | None:
        """How far the node's wall clock was ahead of control's when it last said; None: it never did. NotFound."""
        return self._node(node_id).clock_offset_s

    def load(self, node_id: str) -> float:
        """How busy the node is, to LOAD_STEP; 1: it does all that it can. Raises NotFound."""
        return self._node(node_id).load

    def page(self, after: str, most: int) -> tuple[NodeView, ...]:
        """`most` nodes by id, those whose id comes after `after`."""
        start = bisect_right(self._ids, after)
        return tuple(self._nodes[node_id].view for node_id in self._ids[start : start + most])

    def record_version(self) -> int | None:
        """The newest record version that every node understands which is not gone; None when there is none."""
        views = [node.view for node in self._nodes.values()]
        there = [view for view in views if self._conditions.look(view).state is not NodeState.GONE]
        return min((view.record_version for view in there), default=None)

    def tally(self, position: Position, *, validates_from: Position | None = None) -> ReceiptTally:
        """How far the record at `position` has come now. It costs what is missing, not what there is."""
        return tally(self._stand, self.node, position, self._clock(), validates_from=validates_from)

    def receipt(
        self,
        position: Position,
        recorded_at: float,
        *,
        validates_from: Position | None = None,
        page: ReceiptPage | None = None,
    ) -> Receipt:
        """Who has applied the record at `position` now.

        `page` None: every node in a fleet of up to LISTED_NODES, else the first so many that have not applied it.
        """
        found = self.tally(position, validates_from=validates_from)
        if page is None:
            listed = Listed.ALL if len(self._ids) <= LISTED_NODES else Listed.UNAPPLIED
            page = ReceiptPage(listed, most=LISTED_NODES)
        ids = self._ids if page.listed is Listed.ALL else found.unapplied
        start = bisect_right(ids, page.after)
        shown = ids[start : start + page.most]
        lines = tuple(self._line(self._nodes[node_id], position, validates_from) for node_id in shown)
        is_last = start + page.most >= len(ids)
        return Receipt(found, recorded_at, lines, None if is_last else shown[-1])

    def _line(self, node: _Node, position: Position, validates_from: Position | None) -> NodeReceipt:
        outcome = outcome_of(node.view, position, self._clock(), validates_from=validates_from)
        if outcome is NodeOutcome.APPLIED:
            return NodeReceipt(node.view.node_id, outcome, *node.times.at_and_by(position))
        return NodeReceipt(node.view.node_id, outcome, condition=self._conditions.look(node.view))

    async def wait_complete(
        self,
        position: Position,
        recorded_at: float,
        timeout_s: float,
        *,
        validates_from: Position | None = None,
        page: ReceiptPage | None = None,
    ) -> Receipt:
        """The receipt once it is complete, or as it stands after `timeout_s`. Raises Unavailable at MAX_WAITS."""
        await self.wait_past(position, timeout_s)
        return self.receipt(position, recorded_at, validates_from=validates_from, page=page)

    async def wait_past(self, position: Position, timeout_s: float) -> None:
        """Return when no node that may serve is short of `position`, or `timeout_s` is over.

        Raises Unavailable at MAX_WAITS.
        """
        until = self._clock() + timeout_s
        while not self._waits.are_past(position):
            if not await self._waits.wait(position, until - self._clock()):
                return

    async def wait_prepared(self, site_id: str, deploy_id: str, timeout_s: float) -> PrepareReport:
        """Who has prepared the deploy, once every serving node has spoken or `timeout_s` is over.

        Raises Unavailable at MAX_WAITS.
        """
        deploy = (site_id, deploy_id)
        until = self._clock() + timeout_s
        while True:
            said, now = self._preparations.said(deploy), self._clock()
            late = {
                node_id: node.view.detached_at
                for node_id, node in self._nodes.items()
                if node_id not in said and not is_surely_detached(node.view, now)
            }
            if not late or now >= until:
                return self._preparations.report(deploy, set(late))
            wake_at = min([until, *(at for at in late.values() if at is not None)])
            await self._preparations.wait(deploy, set(late), wake_at - now)

    # What a change of one node means.

    def _become(
        self, node: _Node, view: NodeView, *, has_left: bool | None = None, is_draining: bool | None = None
    ) -> None:
        """The node was heard, or its connection ended; what time alone has done until now is looked at before."""
        before = self._conditions.look(node.view)
        node.view = view
        after = self._conditions.changed(view, has_left=has_left, is_draining=is_draining)
        self._moved(node, is_another=before.state is not after.state)

    def _moved(self, node: _Node, *, is_another: bool = True) -> None:
        """The node's view is another one now. `is_another`: so is what its state says, or what it says of itself."""
        self._stands(node)
        if not node.view.is_connected:
            self._preparations.look_again(node.view.node_id)
        if is_another:
            self._tell_watchers()

    def _tell_watchers(self) -> None:
        for watcher in self._watchers:
            watcher()

    def _stands(self, node: _Node) -> None:
        self._stand.note(node.view.node_id, node.view.position)
        self._waits.stands(node.view)

    def _node(self, node_id: str) -> _Node:
        try:
            return self._nodes[node_id]
        except KeyError:
            raise NotFound(f"there is no node {node_id}") from None

    def _enter(self, view: NodeView) -> _Node:
        """The node is known from now on."""
        node = self._nodes[view.node_id] = _Node(view, self._times.of(view.node_id))
        insort(self._ids, view.node_id)
        self._conditions.met(view.node_id)
        self._stands(node)
        self._tell_watchers()
        return node

    def _drop(self, node_id: str) -> None:
        """The node is no longer known."""
        if self._nodes.pop(node_id, None) is None:
            return
        self._ids.remove(node_id)
        self._stand.forget(node_id)
        self._waits.forget(node_id)
        self._conditions.forget(node_id)
        self._preparations.forget(node_id)
        self._tell_watchers()

    def _acknowledge(self, node: _Node, position: Position, *, is_exact: bool = True) -> None:
        node.view = node.view.standing_at(position)
        if position.sequence > node.times.last:
            is_exact = is_exact and not self._hears_the_past
            node.times.note(position.sequence, self._wall(), most_times(len(self._nodes)), is_exact=is_exact)
            self._times.moved(node.view.node_id)

    def _stand_at(self, node: _Node, position: Position | None) -> None:
        """Take the node's word for where it stands: an acknowledgement that was lost, or a step back."""
        before = node.view.position
        if position is None:
            node.times = AppliedTimes()
            node.view = replace(node.view, position=None)
            return
        if node.times.epoch != position.epoch:
            node.times = AppliedTimes(position.epoch)
        if position.sequence > node.times.last:
            # What it acknowledged while nobody listened here it may have applied long ago.
            self._acknowledge(node, position, is_exact=before is not None and before.epoch == position.epoch)
            return
        if not self._hears_the_past:
            node.times.retreat(position.sequence)
        node.view = replace(node.view, position=position)

    def _times_of(self, node_id: str) -> AppliedTimes | None:
        node = self._nodes.get(node_id)
        return None if node is None else node.times


def kept_node(node_id: str, facts: NodeFacts, record_version: int, lease_s: float) -> KeptNode:
    """The node as it is remembered."""
    return KeptNode(
        node_id,
        facts.program,
        facts.region,
        record_version,
        lease_s,
        facts.weight,
        facts.public_addresses,
        facts.location,
        facts.bias,
    )
