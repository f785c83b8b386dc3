"""One node's WebSocket on control's side."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, assert_never

from aiohttp import WSCloseCode, WSMsgType, web

from cdn.control.dns_followers import Followers
from cdn.control.node_directory import NodeDoubled, TooManyNodes
from cdn.control.refusals import CLOCK_TOLERANCE_S, NotBelieved, Refusal
from cdn.errors import CdnError, Forbidden, InvalidInput, Unauthorized, Unavailable
from cdn.fleet.node import check_facts, check_node_id
from cdn.fleet.position import Position
from cdn.journal.journal import JournalUnavailable, Trimmed
from cdn.journal.wire import (
    SNAPSHOT_FRAME_BYTES,
    Applied,
    AskPeers,
    BlobFault,
    Explain,
    Explained,
    FollowerRole,
    FromControl,
    FromNode,
    Heartbeat,
    HeartbeatAnswered,
    Hello,
    Leaving,
    Peers,
    Prepared,
    PrepareFailed,
    Refused,
    SnapshotComing,
    Stopped,
    Welcome,
    WireFault,
    decode_from_node,
    encode_message,
)

if TYPE_CHECKING:
    from cdn.control.hub import FollowHub

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
        require_node: Callable[[str | None, FollowerRole | None], None],
    ) -> None:
        """`require_node` raises Unauthorized once the token works no more, Forbidden when it is not this node's.

        None: of whichever node it is, and in whichever role.
        """
        self._hub = hub
        self._require_node = require_node
        self._socket = socket
        self._request = request
        self._node_id = ""
        self._role = FollowerRole.EDGE
        self._place = ""  # which connection of the hub's it is: ids of edges and of DNS are each for themselves
        self._sent_through = -1  # nothing was sent that could be acknowledged
        self._acknowledged = -1
        self._is_let_in = False
        self._is_welcome = False  # it was told so: before that a node expects nothing else
        self._has_left = False
        self._sign_of_life = asyncio.Event()  # it said something, or it has ended
        self._has_ended = False
        self._serving: asyncio.Task[Any] | None = None
        self._cut_off_by: CdnError | None = None
        self._is_clock_wrong = False
        self._heard_at = asyncio.get_running_loop().time()
        self._sending_since: float | None = None
        self._wants_peers = asyncio.Event()
        self._explain_ids = itertools.count(1)
        self._explaining: dict[int, asyncio.Future[Explained]] = {}

    async def run(self) -> None:
        """Serve the node until the connection ends; faults are told to the node, counted and logged."""
        serving = self._serving = asyncio.current_task()
        try:
            try:
                await self._serve()
            except asyncio.CancelledError:
                if self._cut_off_by is None or serving is None:
                    raise
                serving.uncancel()
                raise self._cut_off_by from None
            finally:
                self._serving = None
        except CdnError as exc:
            self._note(exc)
            is_fault = isinstance(exc, WireFault)
            await self.close(exc.message, WSCloseCode.POLICY_VIOLATION if is_fault else WSCloseCode.TRY_AGAIN_LATER)
        except (TimeoutError, ConnectionError) as exc:
            _log.info("node %s is silent or gone: %r", self._node_id or "(unknown)", exc)
            self._abort()

    def check_token(self) -> None:
        """Cut the node off at once, with nothing further sent, when its token works no more."""
        try:
            self._require_node(self._node_id or None, self._role if self._node_id else None)
        except (Unauthorized, Forbidden) as exc:
            if self._cut_off_by is None and self._serving is not None and not self._has_ended:
                self._cut_off_by = exc
                self._serving.cancel()

    def _note(self, error: CdnError) -> None:
        """Count a refusal; what is no refusal goes to the log."""
        match error:
            case NotBelieved(reason=reason):
                self._refuse(reason, error.message)
            case WireFault():
                self._refuse(Refusal.BAD_MESSAGE, error.message)
            case NodeDoubled():
                self._refuse(Refusal.DOUBLED_NODE, error.message)
            case TooManyNodes():
                self._refuse(Refusal.NO_ROOM, error.message)
            case Unauthorized():
                self._refuse(Refusal.REVOKED_TOKEN, error.message)
            case Forbidden():
                self._refuse(Refusal.FOREIGN_TOKEN, error.message)
            case InvalidInput():
                self._refuse(Refusal.BAD_HELLO, error.message)
            case _:
                _log.warning("node %s: %s", self._node_id or "(unknown)", error)

    def _refuse(self, reason: Refusal, sentence: str) -> None:
        peer = self._request.remote or ""
        self._hub.refusals.note(reason, self._node_id, peer, sentence, self._hub.wall())

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
        if not self._is_welcome:
            raise Unavailable(f"node {self._node_id} is just being taken in: ask again")
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
        hello = await self._receive(self._hub.lease_s)
        if hello is None:
            return
        if not isinstance(hello, Hello):
            raise WireFault("the first message must be a hello")
        self._node_id, self._role = hello.node_id, hello.role
        self._place = hello.node_id if hello.role is FollowerRole.EDGE else f"{hello.role.value}:{hello.node_id}"
        self._require_node(hello.node_id, hello.role)
        self._check_hello(hello)
        try:
            await self._take_place()
            end = await self._hub.journal.position()
            start = self._starting_sequence(hello.position, end)
            was_known = self._role is FollowerRole.EDGE and any(
                view.node_id == hello.node_id for view in self._hub.directory.nodes()
            )
            await self._followers.connected(
                hello.node_id,
                hello.facts,
                hello.position if start is not None else None,
                lease_s=self._hub.lease_s,
                record_version=max(hello.record_versions, default=0),
            )
            self._is_let_in = True
            self._look_at_clock(hello.wall_at)
            end = await self._hub.journal.position()  # a receipt that was given without the node is of a record below
            # A node that lost its copy is held to what it acknowledged with it: it never goes back behind that.
            at_least = end.sequence if was_known else 0
            async with asyncio.timeout(self._hub.lease_s):
                await self._send(
                    Welcome(
                        end,
                        self._hub.heartbeat_s,
                        self._hub.lease_s,
                        hears_blob_faults=self._hub.hears_blob_faults,
                        tells_peers=self._hub.peers is not None,
                    )
                )
            self._is_welcome = True
            await self._run_until_one_ends(
                self._listen(), self._feed(start, at_least), self._watch(), self._tell_peers()
            )
        finally:
            self._end()

    async def _run_until_one_ends(self, *roads: Coroutine[Any, Any, None]) -> None:
        """Run them side by side until the first ends; then the others end too. Raises what that one raised."""
        tasks = [asyncio.create_task(road) for road in roads]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _watch(self) -> None:
        """End the connection once the node has said nothing, or taken nothing of a message, for a lease.

        One look a lease and connection, in place of a timer for each message. Raises TimeoutError for silence,
        ConnectionAbortedError when the node does not take what is sent.
        """
        loop, lease_s = asyncio.get_running_loop(), self._hub.lease_s
        while True:
            now = loop.time()
            since = self._heard_at if self._sending_since is None else min(self._heard_at, self._sending_since)
            if now < since + lease_s:
                await asyncio.sleep(since + lease_s - now)
                continue
            if self._sending_since is not None and now >= self._sending_since + lease_s:
                self._refuse(Refusal.SLOW_NODE, f"it takes messages too slowly: one waited for {lease_s:g} s")
                self._abort()
                raise ConnectionAbortedError(f"node {self._node_id} takes messages too slowly")
            raise TimeoutError(f"nothing was heard for {lease_s:g} s")

    def _check_hello(self, hello: Hello) -> None:
        """Raises InvalidInput, NotBelieved."""
        check_node_id(hello.node_id)
        check_facts(hello.facts)
        if hello.zone is not None and self._hub.zone is not None and _bare(hello.zone) != _bare(self._hub.zone):
            raise NotBelieved(
                Refusal.OTHER_ZONE,
                f"this control's zone is {self._hub.zone} and node {hello.node_id} was told {hello.zone[:255]}: give "
                "both the same `zone`, or the node the control_url of its own control",
            )

    def _look_at_clock(self, wall_at: float | None) -> None:
        """Nothing here counts on the node's clock; people have to know that it is wrong all the same."""
        if wall_at is None:
            return
        offset_s = wall_at - self._hub.wall()
        was_right = not self._is_clock_wrong
        self._is_clock_wrong = abs(offset_s) > CLOCK_TOLERANCE_S
        if self._is_clock_wrong and was_right:
            self._refuse(Refusal.WRONG_CLOCK, f"its clock is {abs(offset_s):.0f} s {_side(offset_s)} control's")
        self._followers.heard_clock(self._node_id, offset_s)

    async def _take_place(self) -> None:
        """Become the node's connection. One that is silent is replaced: its node has gone, or its line is dead.

        Raises NodeDoubled when another node is alive under this id: two of them would speak for each other.
        """
        hub, patience_s = self._hub, PATIENCE_HEARTBEATS * self._hub.heartbeat_s
        while (before := hub.current(self._place)) is not None:
            if await before.is_alive(patience_s):
                raise NodeDoubled(
                    f"another node that is alive is called {self._node_id}: give this one an id of its own"
                )
            if hub.is_current(self._place, before):
                hub.enter(self._place, self)
                await before.close("the node opened another connection")
                return
        hub.enter(self._place, self)

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
            self._refuse(Refusal.FUTURE_POSITION, f"it claims {claimed} and the journal ends at {end}")
            return None
        self._sent_through = self._acknowledged = claimed.sequence
        return claimed.sequence

    def _end(self) -> None:
        self._has_ended = True
        self._sign_of_life.set()
        for answer in self._explaining.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the node went away"))
        if not self._hub.leave(self._place, self):
            return
        if not self._is_let_in:
            return
        if self._has_left:
            self._followers.left(self._node_id)
        else:
            self._followers.disconnected(self._node_id)

    @property
    def _followers(self) -> Followers:
        """Who is told of it."""
        return self._hub.followers(self._role)

    # Up: what the node says.

    async def _listen(self) -> None:
        while not self._has_left and (message := await self._receive()) is not None:
            await self._heed(message)

    async def _receive(self, timeout_s: float | None = None) -> FromNode | None:
        """The next message; None when the node has closed. Raises TimeoutError after `timeout_s`."""
        frame = await self._socket.receive(timeout=timeout_s)
        match frame.type:
            case WSMsgType.TEXT:
                self._heard_at = asyncio.get_running_loop().time()
                self._sign_of_life.set()
                return decode_from_node(frame.data)
            case WSMsgType.CLOSE | WSMsgType.CLOSING | WSMsgType.CLOSED:
                return None
            case WSMsgType.ERROR:
                raise WireFault(f"the node's frame cannot be read: {frame.data}")
            case _:
                raise WireFault("a node sends text frames only")

    async def _heed(self, message: FromNode) -> None:  # noqa: C901 - one arm per message
        if not self._hub.is_current(self._place, self):
            return  # what an older connection still says is no longer the node's word
        directory = self._followers
        match message:
            case Applied(position=position):
                self._acknowledge(position)
            case Heartbeat():
                # A node that says nothing for a lease is gone, so a revoked token ends within one.
                self._require_node(self._node_id, self._role)
                directory.heard_load(self._node_id, message.load)
                async with asyncio.timeout(PATIENCE_HEARTBEATS * self._hub.heartbeat_s):
                    await directory.renew(self._node_id)
                self._look_at_clock(message.wall_at)
                directory.heartbeat_answered(self._node_id, message.counters, is_draining=message.is_draining)
                await self._send(HeartbeatAnswered(message.number, self._hub.applied_every_s))
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
            case AskPeers():
                if self._hub.peers is None:
                    raise WireFault("this control tells nobody whose tokens work")
                self._wants_peers.set()
            case Leaving():
                self._has_left = True
            case Hello():
                raise WireFault("a second hello")
            case _:
                assert_never(message)

    def _acknowledge(self, position: Position) -> None:
        """Believe only what can be true: this epoch, nothing that was not sent, never backwards."""
        sentence = f"{position} cannot have been applied: sent were records up to {self._sent_through}"
        if position.epoch != self._hub.journal.epoch or position.sequence < self._acknowledged:
            raise NotBelieved(Refusal.FORGED_ACK, sentence)
        if position.sequence > self._sent_through:
            raise NotBelieved(Refusal.FUTURE_ACK, sentence)
        self._acknowledged = position.sequence
        self._followers.applied(self._node_id, position)

    # Down: what the node gets.

    async def _feed(self, start: int | None, at_least: int) -> None:
        journal = self._hub.journal
        sequence = await self._send_snapshot(at_least) if start is None else start
        while True:
            try:
                frames = await self._hub.frames.after(sequence, self._hub.audiences(self._role))
                if not frames:
                    await journal.wait_beyond(sequence)
                    continue
            except JournalUnavailable as exc:
                _log.warning("feeding node %s pauses: %s", self._node_id, exc)
                await asyncio.sleep(exc.retry_after_s)
                continue
            if isinstance(frames, Trimmed):
                sequence = await self._send_snapshot(sequence)
                continue
            for frame in frames:
                self._sent_through = frame.last  # before sending: the answer may be quicker than the send's return
                await self._put(frame.content, WSMsgType.TEXT)
                sequence = frame.last

    async def _tell_peers(self) -> None:
        """Once the node wants to know, whose tokens let others ask it."""
        await self._wants_peers.wait()
        peers = self._hub.peers
        assert peers is not None, "what was not offered is not asked for"
        while True:
            told = peers.current()
            await self._send(Peers(told))
            await peers.differs_from(told)

    async def _send_snapshot(self, at_least: int) -> int:
        sequence, content = await self._hub.encoded_snapshot(self._hub.audiences(self._role), at_least)
        self._hub.counters["snapshots_sent"] += 1
        self._sent_through = sequence
        self._acknowledged = -1
        await self._send(SnapshotComing(len(content)))
        for start in range(0, len(content), SNAPSHOT_FRAME_BYTES):
            await self._send(content[start : start + SNAPSHOT_FRAME_BYTES])
        return sequence

    async def _send(self, message: FromControl | bytes) -> None:
        if isinstance(message, bytes):
            await self._put(message, WSMsgType.BINARY)
        else:
            await self._put(encode_message(message).encode(), WSMsgType.TEXT)

    async def _put(self, content: bytes, kind: WSMsgType) -> None:
        """Send one frame; waits while the node takes nothing, and `_watch` sees to it that this ends.

        Raises why the node was cut off.
        """
        if self._cut_off_by is not None:
            raise self._cut_off_by
        if self._sending_since is not None:
            await self._socket.send_frame(content, kind)
            return
        self._sending_since = asyncio.get_running_loop().time()
        try:
            await self._socket.send_frame(content, kind)
        finally:
            self._sending_since = None

    def _abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


def _bare(zone: str) -> str:
    return zone.lower().rstrip(".")


def _side(offset_s: float) -> str:
    return "ahead of" if offset_s > 0 else "behind"
