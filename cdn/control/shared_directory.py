"""The node directory of several replicas of control: each tells the others of the nodes that follow it (DESIGN I8, I9).

A node's word is put into a shared table before its heartbeat is answered, so no lease runs of which a replica that can
reach the table does not know; a replica that cannot reach it answers no heartbeat, and its nodes go to another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import msgspec

from cdn.control.node_directory import NodeDirectory, NodeDoubled, kept_node
from cdn.control.node_memory import DirectoryUnavailable, without_nodes
from cdn.control.told_positions import ToldPositions, decode_standings, is_standings
from cdn.errors import Conflict, Unavailable
from cdn.fleet.lease import surely_over_at
from cdn.fleet.node import DEFAULT_WEIGHT, NodeFacts, NodeView, check_node_id, is_surely_detached
from cdn.fleet.position import Position
from cdn.journal.jetstream_node_feed import Told

EXPIRES_AFTER_S = 7 * 86_400.0
"""A node of which nothing was heard for so long is no longer in the table."""

SETTLE_S = 5.0
"""How long the table is waited for before a receipt says that it cannot be complete."""

SWEEP_S = 0.5
"""How often it is looked whether the lease of a node that follows another replica is over."""

RETRY_S = 0.3
"""Before what a node said is put again after the table did not take it."""

PREPARED_TOLD = 64
"""Preparations of one node that others are told of: more deploys than wait at one time."""

REASON_CHARS = 200
"""What others are told of a reason: a node's entry stays far below the table's 64 KiB."""

_log = logging.getLogger(__name__)


class NodeFeed(Protocol):
    """The shared table. Its methods raise JournalUnavailable."""

    @property
    def teller(self) -> str: ...

    def start(self, take: Callable[[Told, int], None]) -> None: ...

    async def put(self, name: str, facts: bytes, *, expected_revision: int) -> int | None: ...

    async def get(self, name: str) -> tuple[Told | None, int]: ...

    async def barrier(self) -> None: ...

    async def aclose(self) -> None: ...


class _Word(msgspec.Struct, frozen=True):
    """What one replica says of a node that follows it. `beat` changes whenever its lease may have begun anew.

    `session` is the beat with which its connection began.
    """

    program: str
    region: str
    addresses: tuple[str, ...]
    position: Position | None
    lease_s: float
    record_version: int
    beat: int
    is_connected: bool
    is_draining: bool
    has_left: bool
    stopped: str | None
    prepared: tuple[tuple[str, str, str | None], ...]
    weight: int = DEFAULT_WEIGHT
    public_addresses: tuple[str, ...] = ()
    clock_offset_s: float | None = None
    session: int = 0
    location: tuple[float, float] | None = None
    bias: int = 0
    load: float = 0.0


@dataclass(slots=True, eq=False)
class _Own:
    """A node that follows this replica."""

    revision: int
    beat: int = 0
    session: int = 0
    is_draining: bool = False
    has_left: bool = False
    has_untold: bool = False
    prepared: OrderedDict[tuple[str, str], str | None] = field(default_factory=OrderedDict)
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None


class SharedNodeDirectory(NodeDirectory):
    """A `NodeDirectory` that also knows the nodes of the other replicas, and tells them of its own."""

    _feed: NodeFeed
    _patience_s: float
    _own: dict[str, _Own]
    _beats: dict[str, tuple[str, int]]
    _sessions: dict[str, int]
    _told: ToldPositions
    _telling: asyncio.Task[None]
    _seen: dict[str, int]
    _arrived: asyncio.Event
    _heard_at: float
    _sweeping: asyncio.Task[None]

    @classmethod
    async def over(
        cls,
        path: Path,
        feed: NodeFeed,
        *,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> SharedNodeDirectory:
        """The directory over a table; nodes that were kept at `path` before are given up for what the table says.

        `patience_s`: a node that another replica has not heard of for so long may come here. Raises
        DirectoryUnavailable, JournalUnavailable.
        """
        await without_nodes(path)
        directory = await cls.open(path, clock=clock, wall=wall)
        assert isinstance(directory, SharedNodeDirectory)
        directory._feed, directory._patience_s = feed, patience_s
        directory._own, directory._beats, directory._seen, directory._sessions = {}, {}, {}, {}
        directory._arrived, directory._heard_at = asyncio.Event(), clock()
        directory._hears_the_past = True
        feed.start(directory._take)
        directory._told = ToldPositions(feed, directory._standing)
        directory._telling = asyncio.create_task(directory._told.run(), name="told-positions")
        directory._sweeping = asyncio.create_task(directory._sweep(), name="shared-nodes-sweep")
        try:
            await feed.barrier()
        except BaseException:
            await directory.aclose()
            raise
        directory._hears_the_past = False
        return directory

    async def aclose(self) -> None:
        """Tell what is untold, if the table takes it at once; then stop."""
        telling = [own.task for own in self._own.values() if own.task is not None]
        if telling:
            await asyncio.wait(telling, timeout=1.0)
        stopping = (*telling, self._telling, self._sweeping)
        for task in stopping:
            task.cancel()
        await asyncio.gather(*stopping, return_exceptions=True)
        await self._feed.aclose()
        await super().aclose()

    def heard_at(self) -> float:
        """See `NodeDirectory.heard_at`."""
        return self._heard_at

    async def settle(self) -> bool:
        """See `NodeDirectory.settle`."""
        try:
            async with asyncio.timeout(SETTLE_S):
                await self._feed.barrier()
        except (TimeoutError, Unavailable) as exc:
            _log.warning("what nodes told other replicas is not known now: %r", exc)
            return False
        self._heard_at = self._clock()
        return True

    def replica_of(self, node_id: str) -> str | None:
        """See `NodeDirectory.replica_of`."""
        teller = self._beats.get(node_id, ("", 0))[0]
        return None if node_id in self._own or teller in {"", self._feed.teller} else teller

    # What the hub reports.

    async def connected(
        self, node_id: str, facts: NodeFacts, position: Position | None, *, lease_s: float, record_version: int
    ) -> None:
        """See `NodeDirectory.connected`. Raises NodeDoubled too; DirectoryUnavailable when another takes the node."""
        check_node_id(node_id)
        revision = await self._free_revision(node_id)
        known = self._beats.get(node_id, ("", 0))[1]
        own = _Own(revision, beat=known + 1, session=known + 1)
        word = _Word(
            facts.program,
            facts.region,
            facts.addresses,
            position,
            lease_s,
            record_version,
            own.beat,
            is_connected=True,
            is_draining=False,
            has_left=False,
            stopped=None,
            prepared=(),
            weight=facts.weight,
            public_addresses=facts.public_addresses,
            session=own.session,
            location=facts.location,
            bias=facts.bias,
        )
        stored = await self._feed.put(node_id, msgspec.json.encode(word), expected_revision=revision)
        if stored is None:
            raise DirectoryUnavailable(f"another control takes in node {node_id} at this moment: try again")
        own.revision = stored
        await super().connected(node_id, facts, position, lease_s=lease_s, record_version=record_version)
        self._own[node_id] = own

    async def renew(self, node_id: str) -> None:
        """See `NodeDirectory.renew`."""
        own = self._own.get(node_id)
        if own is None:
            raise DirectoryUnavailable(f"node {node_id} follows another control now")
        own.beat += 1
        await self._tell(node_id, own)

    def applied(self, node_id: str, position: Position) -> None:
        """See `NodeDirectory.applied`."""
        super().applied(node_id, position)
        if node_id in self._own:
            self._told.moved(node_id)

    def heartbeat_answered(self, node_id: str, counters: Mapping[str, int], *, is_draining: bool = False) -> None:
        """See `NodeDirectory.heartbeat_answered`."""
        super().heartbeat_answered(node_id, counters, is_draining=is_draining)
        own = self._own.get(node_id)
        if own is not None and own.is_draining != is_draining:
            own.is_draining = is_draining
            self._tell_soon(node_id)

    def disconnected(self, node_id: str) -> None:
        """See `NodeDirectory.disconnected`. A node that follows another replica by now is not ours to speak of."""
        if node_id in self._own:
            super().disconnected(node_id)
            self._tell_soon(node_id)

    def left(self, node_id: str) -> None:
        """See `NodeDirectory.left`."""
        if node_id in self._own:
            super().left(node_id)
            self._own[node_id].has_left = True
            self._tell_soon(node_id)

    def stopped(self, node_id: str, reason: str) -> None:
        """See `NodeDirectory.stopped`."""
        super().stopped(node_id, reason)
        self._tell_soon(node_id)

    def prepared(self, node_id: str, site_id: str, deploy_id: str, failure: str | None = None) -> None:
        """See `NodeDirectory.prepared`."""
        super().prepared(node_id, site_id, deploy_id, failure)
        own = self._own.get(node_id)
        if own is not None:
            own.prepared[site_id, deploy_id] = None if failure is None else failure[:REASON_CHARS]
            while len(own.prepared) > PREPARED_TOLD:
                own.prepared.popitem(last=False)
            self._tell_soon(node_id)

    async def forget(self, node_id: str) -> None:
        """See `NodeDirectory.forget`. Raises JournalUnavailable too."""
        await self._feed.barrier()
        if not is_surely_detached(self.node(node_id), self._clock()):
            raise Conflict(f"node {node_id} may still be serving: stop it and wait until its lease is over")
        _, revision = await self._feed.get(node_id)
        if (
            revision != self._seen.get(node_id, revision)
            or await self._feed.put(node_id, b"", expected_revision=revision) is None
        ):
            raise Conflict(f"node {node_id} came back while it was being forgotten: it stays")
        if node_id in self._nodes:
            await super().forget(node_id)
        self._own.pop(node_id, None)

    # Telling the others.

    async def _free_revision(self, node_id: str) -> int:
        """What to replace to take the node in. Raises NodeDoubled while it is alive elsewhere."""
        told, revision = await self._feed.get(node_id)
        if not self._is_elsewhere(told):
            return revision
        try:
            async with asyncio.timeout(self._patience_s):
                while self._seen.get(node_id, 0) <= revision:
                    await self._arrived.wait()
        except TimeoutError:
            return revision
        told, now = await self._feed.get(node_id)
        if self._is_elsewhere(told):
            raise NodeDoubled(f"another node that is alive is called {node_id}: give this one an id of its own")
        return now

    def _is_elsewhere(self, told: Told | None) -> bool:
        if told is None or not told.facts or told.teller == self._feed.teller:
            return False
        return msgspec.json.decode(told.facts, type=_Word).is_connected

    def _tell_soon(self, node_id: str) -> None:
        """What was said meanwhile is told in one go."""
        own = self._own.get(node_id)
        if own is None:
            return
        own.has_untold = True
        if own.task is None or own.task.done():
            own.task = asyncio.create_task(self._tell_untold(node_id, own), name=f"tell-{node_id}")

    async def _tell_untold(self, node_id: str, own: _Own) -> None:
        while own.has_untold and self._own.get(node_id) is own:
            try:
                await self._tell(node_id, own)
            except Unavailable as exc:
                _log.warning("what node %s said is not told yet: %s", node_id, exc)
                own.has_untold = True
                await asyncio.sleep(RETRY_S)

    async def _tell(self, node_id: str, own: _Own) -> None:
        """Raises DirectoryUnavailable when another replica has taken the node, JournalUnavailable."""
        async with own.telling:
            own.has_untold = False
            word = self._word(node_id, own)
            content = msgspec.json.encode(word)
            stored = await self._feed.put(node_id, content, expected_revision=own.revision)
            if stored is None:  # another took it, or an answer of ours was lost
                told, revision = await self._feed.get(node_id)
                if told is not None and told.teller == self._feed.teller:
                    stored = await self._feed.put(node_id, content, expected_revision=revision)
            if stored is None:
                if self._own.get(node_id) is own:
                    del self._own[node_id]
                raise DirectoryUnavailable(f"node {node_id} follows another control now")
            own.revision = stored
        if not word.is_connected and self._own.get(node_id) is own and not own.has_untold:
            del self._own[node_id]
            self._beats[node_id] = (self._feed.teller, own.beat)

    def _word(self, node_id: str, own: _Own) -> _Word:
        view = self.node(node_id)
        return _Word(
            view.facts.program,
            view.facts.region,
            view.facts.addresses,
            view.position,
            view.lease_s,
            view.record_version,
            own.beat,
            is_connected=view.is_connected,
            is_draining=own.is_draining,
            has_left=own.has_left,
            stopped=None if view.stopped is None else view.stopped[:REASON_CHARS],
            prepared=tuple((site, deploy, failure) for (site, deploy), failure in own.prepared.items()),
            weight=view.facts.weight,
            public_addresses=view.facts.public_addresses,
            clock_offset_s=self.clock_offset_s(node_id),
            session=own.session,
            location=view.facts.location,
            bias=view.facts.bias,
            load=self.load(node_id),
        )

    def _standing(self, node_id: str) -> tuple[int, Position] | None:
        own = self._own.get(node_id)
        position = None if own is None else self.node(node_id).position
        return None if own is None or position is None else (own.session, position)

    # Hearing the others.

    def _take(self, told: Told, revision: int) -> None:
        self._heard_at = self._clock()
        if is_standings(told.name):
            self._take_standings(told)
            return
        self._seen[told.name] = revision
        self._arrived.set()
        self._arrived = asyncio.Event()
        if told.teller == self._feed.teller:
            return
        own = self._own.get(told.name)
        if own is not None:
            if own.revision > revision:
                return  # from before the node came here
            del self._own[told.name]
        if not told.facts:
            self._drop(told.name)
            return
        try:
            word = msgspec.json.decode(told.facts, type=_Word)
        except msgspec.MsgspecError as exc:
            _log.error("what control %s says of node %s is not understood: %s", told.teller, told.name, exc)
            return
        self._believe(told, word)

    def _take_standings(self, told: Told) -> None:
        """What a replica says of nodes that are no longer its own, or of an earlier connection, counts for nothing."""
        if told.teller == self._feed.teller:
            return
        try:
            standings = decode_standings(told.facts)
        except msgspec.MsgspecError as exc:
            _log.error("what control %s says of where nodes stand is not understood: %s", told.teller, exc)
            return
        for node_id, session, sequence in map(msgspec.structs.astuple, standings.nodes):
            is_tellers = self._beats.get(node_id, ("", 0))[0] == told.teller and node_id not in self._own
            if is_tellers and self._sessions.get(node_id) == session and node_id in self._nodes:
                super().applied(node_id, Position(standings.epoch, sequence))

    def _believe(self, told: Told, word: _Word) -> None:
        node_id = told.name
        facts = NodeFacts(
            word.program, word.region, word.addresses, word.weight, word.public_addresses, word.location, word.bias
        )
        node = self._nodes.get(node_id)
        if node is None:
            node, before = self._enter(NodeView(node_id, facts, None, False, None, word.lease_s)), None
        else:
            before = node.view.facts, self._conditions.look(node.view).state
        node.clock_offset_s = word.clock_offset_s
        is_as_busy, node.load = node.load == word.load, word.load
        is_renewed = self._beats.get(node_id) != (told.teller, word.beat)
        self._beats[node_id] = (told.teller, word.beat)
        self._sessions[node_id] = word.session
        answered_at = self._clock() if is_renewed else node.view.answered_at
        node.kept = kept_node(node_id, facts, word.record_version, word.lease_s)
        node.view = replace(
            node.view,
            facts=facts,
            is_connected=word.is_connected,
            answered_at=None if word.has_left else answered_at,
            lease_s=word.lease_s,
            record_version=word.record_version,
            stopped=word.stopped,
        )
        self._stand_at(node, word.position)
        for site_id, deploy_id, failure in word.prepared:
            if node_id not in self._preparations.said((site_id, deploy_id)):
                super().prepared(node_id, site_id, deploy_id, failure)
        after = self._conditions.changed(node.view, has_left=word.has_left, is_draining=word.is_draining)
        self._moved(node, is_another=not is_as_busy or before != (facts, after.state))

    async def _sweep(self) -> None:
        """A replica that died cannot say that its nodes' leases end."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = self._clock()
            for node_id, node in tuple(self._nodes.items()):
                if node_id in self._own or not node.view.is_connected:
                    continue
                over_at = surely_over_at(node.view.answered_at, node.view.lease_s)
                if over_at is None or now >= over_at:
                    self._become(node, replace(node.view, is_connected=False))
