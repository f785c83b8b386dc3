"""The node directory: which nodes there are, what each has applied and prepared, and receipts from that (DESIGN I8)."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from cdn.control.archive_layout import KeptNode
from cdn.control.node_conditions import NodeConditions
from cdn.errors import Conflict, NotFound, Unavailable
from cdn.fleet.condition import Condition, NodeState
from cdn.fleet.node import NodeFacts, NodeView, check_node_id, is_surely_detached, outcome_of
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeOutcome, NodeReceipt, Receipt
from cdn.journal.database import Database

MAX_NODES = 1024
"""Nodes ever met and not forgotten: each costs memory and a line on every receipt."""

ACKS_KEPT_PER_NODE = 4096
"""Acknowledgements remembered with their time; older receipts show no `applied_at`."""

MAX_DEPLOYS_TRACKED = 1024
"""Deploys whose preparation is remembered; the one heard of longest ago goes first."""

MAX_WAITS = 4096
"""Callers waiting for receipts or preparations at once."""

MAX_REASON_CHARS = 1000
"""What is kept of a reason that a node gives."""

MAX_COUNTERS = 256
"""Counters kept of one heartbeat."""

_SCHEMA = """
CREATE TABLE node (node_id TEXT PRIMARY KEY, program TEXT NOT NULL, region TEXT NOT NULL,
                   record_version INTEGER NOT NULL, lease_s REAL NOT NULL) WITHOUT ROWID
"""


class DirectoryUnavailable(Unavailable):
    """The node directory cannot remember a node now, so the node is not let in."""


class NodeDoubled(Conflict):
    """Another node under the same id is connected and alive."""


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """Who has loaded a deploy's manifest. `failed` gives the node's reason; `late` are serving nodes not heard from."""

    prepared: tuple[str, ...]
    failed: Mapping[str, str]
    late: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Wait:
    """Someone waiting until every node in `pending` is settled, or until one of them detaches or leaves."""

    settles: Callable[[_Node], bool]
    pending: set[str]
    woken: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False)
class _Node:
    view: NodeView
    acks: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=ACKS_KEPT_PER_NODE))
    untimed_through: int = 0  # when records up to here were applied is not known
    granted_lease_s: float = 0.0
    kept: KeptNode | None = None  # the row that is durable
    counters: Mapping[str, int] = field(default_factory=dict)
    waits: set[_Wait] = field(default_factory=set)

    def applied_at(self, position: Position) -> float | None:
        at = self.view.position
        if at is None or not at.covers(position) or position.sequence <= self.untimed_through:
            return None
        index = bisect_left(self.acks, position.sequence, key=lambda ack: ack[0])
        return self.acks[index][1] if index < len(self.acks) else None


class NodeDirectory:
    """Fed by the hub, asked by the API. Node ids outlive control, so a restarted one waits for the nodes it knew."""

    def __init__(
        self, database: Database, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._clock = clock
        self._wall = wall
        self._nodes: dict[str, _Node] = {}
        self._prepared: OrderedDict[tuple[str, str], dict[str, str | None]] = OrderedDict()
        self._conditions = NodeConditions(clock)
        self._waits = 0

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
        database = Database(Path(path), _SCHEMA, schema_version=1, failure=_refused)
        directory = cls(database, clock=clock, wall=wall)
        try:
            rows = await database.run(
                lambda connection: connection.execute(
                    "SELECT node_id, program, region, record_version, lease_s FROM node"
                ).fetchall()
            )
        except BaseException:
            await database.aclose()
            raise
        now = clock()
        for node_id, program, region, record_version, lease_s in rows:
            facts = NodeFacts(program, region)
            view = NodeView(node_id, facts, None, False, now, lease_s, record_version)
            directory._nodes[node_id] = _Node(view, kept=KeptNode(node_id, program, region, record_version, lease_s))
            directory._conditions.met(node_id)
            directory._conditions.look(view)
        return directory

    @classmethod
    async def restore(cls, path: Path | str, nodes: Iterable[KeptNode]) -> None:
        """Make a directory at `path` that remembers these nodes. Raises DirectoryUnavailable."""
        directory = await cls.open(path)
        rows = [msgspec.structs.astuple(node) for node in nodes]
        try:
            await directory._database.transact(
                lambda connection: connection.executemany("INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?, ?)", rows)
            )
        finally:
            await directory.aclose()

    async def aclose(self) -> None:
        """Close the file."""
        await self._database.aclose()

    def kept(self) -> tuple[KeptNode, ...]:
        """The nodes as they are remembered across a restart."""
        return tuple(node.kept for node in self._nodes.values() if node.kept is not None)

    def journal_reached(self, end: Position) -> None:
        """Control has applied the journal up to `end`; nodes that have not begin to lag."""
        self._conditions.journal_reached(end)

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

        Raises InvalidInput for an id that cannot name a node, DirectoryUnavailable.
        """
        check_node_id(node_id)
        known = self._nodes.get(node_id)
        if known is None and len(self._nodes) >= MAX_NODES:
            raise _refused(f"{MAX_NODES} nodes are known already, forget those that are gone")
        # An earlier lease may be longer and still run: until a heartbeat is answered the longer one counts.
        counted_lease_s = lease_s if known is None else max(lease_s, known.view.lease_s)
        row = KeptNode(node_id, facts.program, facts.region, record_version, counted_lease_s)

        def remember(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?, ?)", msgspec.structs.astuple(row))

        if known is None or known.kept != row:  # a node that comes back as it was needs no room on a full disk
            await self._database.transact(remember)
        is_new = node_id not in self._nodes
        node = self._nodes.setdefault(node_id, _Node(NodeView(node_id, facts, None, False, None, lease_s)))
        if is_new:
            self._conditions.met(node_id)
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
        self._changed(node)

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
        if not is_steady:
            self._conditions.changed(node.view)
        self._changed(node)

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
        self._wake(node)

    def left(self, node_id: str) -> None:
        """The node gave its lease back."""
        node = self._node(node_id)
        self._become(node, replace(node.view, is_connected=False, answered_at=None), has_left=True)
        self._wake(node)

    def stopped(self, node_id: str, reason: str) -> None:
        """The node met a record it does not understand."""
        node = self._node(node_id)
        self._become(node, replace(node.view, stopped=reason[:MAX_REASON_CHARS]))

    def prepared(self, node_id: str, site_id: str, deploy_id: str, failure: str | None = None) -> None:
        """The node has loaded the deploy's manifest, or says why it could not."""
        node = self._node(node_id)
        key = (site_id, deploy_id)
        self._prepared.setdefault(key, {})[node_id] = None if failure is None else failure[:MAX_REASON_CHARS]
        self._prepared.move_to_end(key)
        while len(self._prepared) > MAX_DEPLOYS_TRACKED:
            self._prepared.popitem(last=False)
        self._changed(node)

    async def forget(self, node_id: str) -> None:
        """Remove a node that will not come back. Raises NotFound; Conflict while it may still serve by its lease."""
        node = self._node(node_id)
        if not is_surely_detached(node.view, self._clock()):
            raise Conflict(f"node {node_id} may still be serving: stop it and wait until its lease is over")
        node.kept = None  # should it come back meanwhile, it is written anew
        await self._database.transact(
            lambda connection: connection.execute("DELETE FROM node WHERE node_id = ?", (node_id,))
        )
        if not is_surely_detached(node.view, self._clock()):
            raise Conflict(f"node {node_id} came back while it was being forgotten: it stays")
        self._nodes.pop(node_id, None)
        self._conditions.forget(node_id)
        for of_deploy in self._prepared.values():
            of_deploy.pop(node_id, None)
        self._wake(node)

    # What the API asks.

    def nodes(self) -> tuple[NodeView, ...]:
        """Every node known, by id."""
        return tuple(self._nodes[node_id].view for node_id in sorted(self._nodes))

    def node(self, node_id: str) -> NodeView:
        """The node. Raises NotFound."""
        return self._node(node_id).view

    def counters(self, node_id: str) -> Mapping[str, int]:
        """What the node counted, as of its last heartbeat. Raises NotFound."""
        return self._node(node_id).counters

    def condition(self, node_id: str) -> Condition:
        """The node's state now, with its reason and since when. Raises NotFound."""
        return self._conditions.look(self._node(node_id).view)

    def lag_s(self, node_id: str) -> float:
        """How long the node has been behind; 0: it has applied everything. Raises NotFound."""
        return self._conditions.lag_s(self._node(node_id).view)

    def record_version(self) -> int | None:
        """The newest record version that every node understands which is not gone; None when there is none."""
        views = [node.view for node in self._nodes.values()]
        there = [view for view in views if self._conditions.look(view).state is not NodeState.GONE]
        return min((view.record_version for view in there), default=None)

    def receipt(self, position: Position, recorded_at: float, *, validates_from: Position | None = None) -> Receipt:
        """Who has applied the record at `position` now."""
        now = self._clock()
        lines = []
        for node_id in sorted(self._nodes):
            node = self._nodes[node_id]
            outcome = outcome_of(node.view, position, now, validates_from=validates_from)
            lines.append(NodeReceipt(node_id, outcome, node.applied_at(position)))
        return Receipt(position, recorded_at, tuple(lines))

    async def wait_complete(
        self, position: Position, recorded_at: float, timeout_s: float, *, validates_from: Position | None = None
    ) -> Receipt:
        """The receipt once it is complete, or as it stands after `timeout_s`. Raises Unavailable at MAX_WAITS."""
        until = self._clock() + timeout_s

        def settles(node: _Node) -> bool:
            return node.view.position is not None and node.view.position.covers(position)

        while True:
            receipt = self.receipt(position, recorded_at, validates_from=validates_from)
            pending = {line.node_id for line in receipt.nodes if line.outcome is NodeOutcome.PENDING}
            if not pending or self._clock() >= until:
                return receipt
            await self._wait(settles, pending, until)

    async def wait_prepared(self, site_id: str, deploy_id: str, timeout_s: float) -> PrepareReport:
        """Who has prepared the deploy, once every serving node has spoken or `timeout_s` is over.

        Raises Unavailable at MAX_WAITS.
        """
        until = self._clock() + timeout_s
        key = (site_id, deploy_id)

        def settles(node: _Node) -> bool:
            return node.view.node_id in self._prepared.get(key, {})

        while True:
            said = self._prepared.get(key, {})
            now = self._clock()
            late = {
                node_id
                for node_id, node in self._nodes.items()
                if node_id not in said and not is_surely_detached(node.view, now)
            }
            if not late or now >= until:
                prepared = tuple(sorted(node_id for node_id, failure in said.items() if failure is None))
                failed = {node_id: failure for node_id, failure in sorted(said.items()) if failure is not None}
                return PrepareReport(prepared, failed, tuple(sorted(late)))
            await self._wait(settles, late, until)

    # How waiting works: by events of the nodes waited for and by the moment a lease runs out; nothing is polled.

    async def _wait(self, settles: Callable[[_Node], bool], pending: set[str], until: float) -> None:
        if self._waits >= MAX_WAITS:
            raise Unavailable(f"{MAX_WAITS} callers wait for nodes already: ask again without waiting")
        wait = _Wait(settles, pending)
        nodes = [self._nodes[node_id] for node_id in pending]
        for node in nodes:
            node.waits.add(wait)
        wake_at = min([until, *(at for node in nodes if (at := node.view.detached_at) is not None)])
        self._waits += 1
        try:
            async with asyncio.timeout(max(wake_at - self._clock(), 0.0)):
                await wait.woken.wait()
        except TimeoutError:
            return  # the caller looks again
        finally:
            self._waits -= 1
            for node in nodes:
                node.waits.discard(wait)

    def _become(
        self, node: _Node, view: NodeView, *, has_left: bool | None = None, is_draining: bool | None = None
    ) -> None:
        """The node was heard, or its connection ended; what time alone has done until now is looked at before."""
        self._conditions.look(node.view)
        node.view = view
        self._conditions.changed(view, has_left=has_left, is_draining=is_draining)

    def _changed(self, node: _Node) -> None:
        for wait in tuple(node.waits):
            if wait.settles(node):
                node.waits.discard(wait)
                wait.pending.discard(node.view.node_id)
                if not wait.pending:
                    wait.woken.set()

    def _wake(self, node: _Node) -> None:
        for wait in node.waits:
            wait.woken.set()

    def _node(self, node_id: str) -> _Node:
        try:
            return self._nodes[node_id]
        except KeyError:
            raise NotFound(f"there is no node {node_id}") from None

    def _acknowledge(self, node: _Node, position: Position) -> None:
        if len(node.acks) == ACKS_KEPT_PER_NODE:
            node.untimed_through = node.acks[0][0]
        node.acks.append((position.sequence, self._wall()))
        node.view = replace(node.view, position=position)

    def _stand_at(self, node: _Node, position: Position | None) -> None:
        """Take the node's word for where it stands: an acknowledgement that was lost, or a step back."""
        before = node.view.position
        if position is None or before is None or before.epoch != position.epoch:
            node.acks.clear()
            node.untimed_through = 0 if position is None else position.sequence
            node.view = replace(node.view, position=position)
        elif position.sequence > before.sequence:
            self._acknowledge(node, position)
        else:
            while node.acks and node.acks[-1][0] > position.sequence:
                node.acks.pop()
            node.untimed_through = min(node.untimed_through, position.sequence)
            node.view = replace(node.view, position=position)


def _refused(reason: str) -> DirectoryUnavailable:
    return DirectoryUnavailable(
        f"the node directory cannot be used now ({reason}): free its disk; if it is damaged, move the file away and "
        "every node is known again when it connects"
    )
