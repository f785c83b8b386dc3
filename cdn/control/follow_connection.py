"""One node's WebSocket on control's side."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, assert_never

from aiohttp import WSCloseCode, WSMsgType, web

from cdn.control.node_directory import NodeDoubled
from cdn.errors import CdnError, Unavailable
from cdn.fleet.position import Position
from cdn.journal.journal import JournalUnavailable, Trimmed
from cdn.journal.record import Audience
from cdn.journal.wire import (
    SNAPSHOT_FRAME_BYTES,
    Applied,
    BlobFault,
    Explain,
    Explained,
    FromControl,
    FromNode,
    Heartbeat,
    HeartbeatAnswered,
    Hello,
    Leaving,
    Prepared,
    PrepareFailed,
    Refused,
    SnapshotComing,
    Stopped,
    Welcome,
    WireFault,
    batch_records,
    decode_from_node,
    encode_message,
)

if TYPE_CHECKING:
    from cdn.control.hub import FollowHub

FEED_RECORDS = 500
"""Records read at once for one node."""

PATIENCE_HEARTBEATS = 2
"""How many heartbeats long a connection may be silent before a new one of the same node takes its place."""

MAX_EXPLAINS = 64
"""Explanations one node is asked for at a time."""

_log = logging.getLogger(__name__)


class FollowConnection:
    """Feeds one node and listens to it until either side ends.

    Nothing is queued: each send waits until the socket takes it, so a node's buffers stay within one message.
    """

    def __init__(
        self,
        hub: FollowHub,
        socket: web.WebSocketResponse,
        request: web.Request,
        audiences: frozenset[Audience],
        require_node: Callable[[str], None],
    ) -> None:
        """`require_node` raises Unauthorized once the token works no more, Forbidden when it is not this node's."""
        self._hub = hub
        self._require_node = require_node
        self._socket = socket
        self._request = request
        self._audiences = audiences
        self._node_id = ""
        self._sent_through = -1  # nothing was sent that could be acknowledged
        self._acknowledged = -1
        self._is_let_in = False
        self._has_left = False
        self._sign_of_life = asyncio.Event()  # it said something, or it has ended
        self._has_ended = False
        self._explain_ids = itertools.count(1)
        self._explaining: dict[int, asyncio.Future[Explained]] = {}

    async def run(self) -> None:
        """Serve the node until the connection ends; faults are told to the node, counted and logged."""
        try:
            await self._serve()
        except WireFault as exc:
            self._hub.counters["refused_messages"] += 1
            _log.warning("node %s: %s", self._node_id or "(unknown)", exc)
            await self.close(exc.message, WSCloseCode.POLICY_VIOLATION)
        except CdnError as exc:
            self._hub.counters["doubled_nodes"] += isinstance(exc, NodeDoubled)
            _log.warning("node %s: %s", self._node_id or "(unknown)", exc)
            await self.close(exc.message, WSCloseCode.TRY_AGAIN_LATER)
        except (TimeoutError, ConnectionError) as exc:
            _log.info("node %s is silent or gone: %r", self._node_id or "(unknown)", exc)
            self._abort()

    async def close(self, reason: str, code: int = WSCloseCode.GOING_AWAY) -> None:
        """Say why and close. A node that does not take it is cut off."""
        if self._socket.closed or not self._socket.prepared:
            return
        try:
            async with asyncio.timeout(1.0):
                await self._socket.send_str(encode_message(Refused(reason)))
                await self._socket.close(code=code)
        except (TimeoutError, ConnectionError):
            self._abort()

    async def explain(self, host: str, target: str, timeout_s: float) -> dict[str, Any]:
        """See `FollowHub.explain`."""
        if len(self._explaining) >= MAX_EXPLAINS:
            raise Unavailable(f"node {self._node_id} is explaining {MAX_EXPLAINS} URLs already")
        number = next(self._explain_ids)
        answer: asyncio.Future[Explained] = asyncio.get_running_loop().create_future()
        self._explaining[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(Explain(number, host, target))
                explained = await answer
        except (TimeoutError, ConnectionError) as exc:
            raise Unavailable(f"node {self._node_id} did not answer within {timeout_s:g} s") from exc
        finally:
            self._explaining.pop(number, None)
        if explained.fault is not None:
            raise Unavailable(f"node {self._node_id} cannot explain: {explained.fault}")
        return explained.result

    async def _serve(self) -> None:
        hello = await self._receive()
        if hello is None:
            return
        if not isinstance(hello, Hello):
            raise WireFault("the first message must be a hello")
        self._node_id = hello.node_id
        self._require_node(hello.node_id)
        feed: asyncio.Task[None] | None = None
        try:
            await self._take_place()
            end = await self._hub.journal.position()
            start = self._starting_sequence(hello.position, end)
            was_known = any(view.node_id == hello.node_id for view in self._hub.directory.nodes())
            await self._hub.directory.connected(
                hello.node_id,
                hello.facts,
                hello.position if start is not None else None,
                lease_s=self._hub.lease_s,
                record_version=max(hello.record_versions, default=0),
            )
            self._is_let_in = True
            end = await self._hub.journal.position()  # a receipt that was given without the node is of a record below
            # A node that lost its copy is held to what it acknowledged with it: it never goes back behind that.
            at_least = end.sequence if was_known else 0
            await self._send(
                Welcome(end, self._hub.heartbeat_s, self._hub.lease_s, hears_blob_faults=self._hub.hears_blob_faults)
            )
            feed = asyncio.create_task(self._feed(start, at_least), name=f"feed-{hello.node_id}")
            await self._listen(feed)
        finally:
            if feed is not None:
                feed.cancel()
                await asyncio.gather(feed, return_exceptions=True)
            self._end()

    async def _take_place(self) -> None:
        """Become the node's connection. One that is silent is replaced: its node has gone, or its line is dead.

        Raises NodeDoubled when another node is alive under this id: two of them would speak for each other.
        """
        hub, patience_s = self._hub, PATIENCE_HEARTBEATS * self._hub.heartbeat_s
        while (before := hub.current(self._node_id)) is not None:
            if await before.is_alive(patience_s):
                raise NodeDoubled(
                    f"another node that is alive is called {self._node_id}: give this one an id of its own"
                )
            if hub.is_current(self._node_id, before):
                hub.enter(self._node_id, self)
                await before.close("the node opened another connection")
                return
        hub.enter(self._node_id, self)

    async def is_alive(self, patience_s: float) -> bool:
        """Whether the node says something on this connection within `patience_s`, or until it ends."""
        if self._has_ended:
            return False
        self._sign_of_life.clear()
        try:
            async with asyncio.timeout(patience_s):
                await self._sign_of_life.wait()
        except TimeoutError:
            return False
        return not self._has_ended

    def _starting_sequence(self, claimed: Position | None, end: Position) -> int | None:
        """Where to go on from; None: with a snapshot."""
        if claimed is None or claimed.epoch != end.epoch:
            return None
        if not 0 <= claimed.sequence <= end.sequence:
            self._hub.counters["positions_ahead"] += 1
            _log.warning("node %s claims %s but the journal ends at %s", self._node_id, claimed, end)
            return None
        self._sent_through = self._acknowledged = claimed.sequence
        return claimed.sequence

    def _end(self) -> None:
        self._has_ended = True
        self._sign_of_life.set()
        for answer in self._explaining.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the node went away"))
        if not self._hub.leave(self._node_id, self):
            return
        if not self._is_let_in:
            return
        if self._has_left:
            self._hub.directory.left(self._node_id)
        else:
            self._hub.directory.disconnected(self._node_id)

    # Up: what the node says.

    async def _listen(self, feed: asyncio.Task[None]) -> None:
        while not self._has_left:
            receiving = asyncio.ensure_future(self._receive())
            await asyncio.wait({receiving, feed}, return_when=asyncio.FIRST_COMPLETED)
            if feed.done():
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)
                feed.result()
                return
            message = receiving.result()
            if message is None:
                return
            await self._heed(message)

    async def _receive(self) -> FromNode | None:
        """The next message; None when the node has closed. Raises TimeoutError after a lease of silence."""
        frame = await self._socket.receive(timeout=self._hub.lease_s)
        match frame.type:
            case WSMsgType.TEXT:
                self._sign_of_life.set()
                return decode_from_node(frame.data)
            case WSMsgType.CLOSE | WSMsgType.CLOSING | WSMsgType.CLOSED:
                return None
            case WSMsgType.ERROR:
                raise WireFault(f"the node's frame cannot be read: {frame.data}")
            case _:
                raise WireFault("a node sends text frames only")

    async def _heed(self, message: FromNode) -> None:
        if not self._hub.is_current(self._node_id, self):
            return  # what an older connection still says is no longer the node's word
        self._require_node(
            self._node_id
        )  # a node that says nothing for a lease is gone, so a revoked token ends within one
        directory = self._hub.directory
        match message:
            case Applied(position=position):
                self._acknowledge(position)
            case Heartbeat():
                async with asyncio.timeout(PATIENCE_HEARTBEATS * self._hub.heartbeat_s):
                    await directory.renew(self._node_id)
                directory.heartbeat_answered(self._node_id, message.counters, is_draining=message.is_draining)
                await self._send(HeartbeatAnswered(message.number))
            case Prepared():
                directory.prepared(self._node_id, message.site_id, message.deploy_id)
            case PrepareFailed():
                directory.prepared(self._node_id, message.site_id, message.deploy_id, message.reason)
            case Explained():
                answer = self._explaining.get(message.id)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case Stopped():
                _log.error("node %s stopped following: %s", self._node_id, message.reason)
                directory.stopped(self._node_id, message.reason)
            case BlobFault():
                self._hub.heed_blob_fault(self._node_id, message)
            case Leaving():
                self._has_left = True
            case Hello():
                raise WireFault("a second hello")
            case _:
                assert_never(message)

    def _acknowledge(self, position: Position) -> None:
        """Believe only what can be true: this epoch, nothing that was not sent, never backwards."""
        in_reach = self._acknowledged <= position.sequence <= self._sent_through
        if position.epoch != self._hub.journal.epoch or not in_reach:
            self._hub.counters["refused_acks"] += 1
            raise WireFault(f"{position} cannot have been applied: sent were records up to {self._sent_through}")
        self._acknowledged = position.sequence
        self._hub.directory.applied(self._node_id, position)

    # Down: what the node gets.

    async def _feed(self, start: int | None, at_least: int) -> None:
        journal = self._hub.journal
        sequence = await self._send_snapshot(at_least) if start is None else start
        while True:
            try:
                found = await journal.read(sequence, limit=FEED_RECORDS)
                if not found:
                    await journal.wait_beyond(sequence)
                    continue
            except JournalUnavailable as exc:
                _log.warning("feeding node %s pauses: %s", self._node_id, exc)
                await asyncio.sleep(exc.retry_after_s)
                continue
            if isinstance(found, Trimmed):
                sequence = await self._send_snapshot(sequence)
                continue
            for last, message in batch_records(record.visible_to(self._audiences) for record in found):
                self._sent_through = last  # before sending: the answer may be quicker than the send's return
                await self._send(message)
                sequence = last

    async def _send_snapshot(self, at_least: int) -> int:
        sequence, content = await self._hub.encoded_snapshot(self._audiences, at_least)
        self._hub.counters["snapshots_sent"] += 1
        self._sent_through = sequence
        self._acknowledged = -1
        await self._send(SnapshotComing(len(content)))
        for start in range(0, len(content), SNAPSHOT_FRAME_BYTES):
            await self._send(content[start : start + SNAPSHOT_FRAME_BYTES])
        return sequence

    async def _send(self, message: FromControl | bytes) -> None:
        """Raises ConnectionAbortedError when the node does not take it within a lease; then it is cut off."""
        try:
            async with asyncio.timeout(self._hub.lease_s):
                if isinstance(message, bytes):
                    await self._socket.send_bytes(message)
                else:
                    await self._socket.send_str(encode_message(message))
        except TimeoutError:
            self._hub.counters["slow_nodes"] += 1
            self._abort()
            raise ConnectionAbortedError(f"node {self._node_id} takes messages too slowly") from None

    def _abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()
