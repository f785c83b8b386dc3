"""One connection of a follower, from hello to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, assert_never

import aiohttp
import msgspec
from aiohttp import WSMsgType

from cdn.fleet.position import Position
from cdn.journal.record import RECORD_VERSION, Record, UnknownRecord, decode_record
from cdn.journal.snapshot import UnreadableSnapshot, decode
from cdn.journal.wire import (
    MAX_NODE_MESSAGE_BYTES,
    MAX_SNAPSHOT_WIRE_BYTES,
    Applied,
    AskPeers,
    BlobFault,
    Explain,
    Explained,
    FromControl,
    FromNode,
    Heartbeat,
    HeartbeatAnswered,
    Hello,
    Leaving,
    Peers,
    Prepared,
    PrepareFailed,
    Records,
    Refused,
    SnapshotComing,
    Stopped,
    Welcome,
    WireFault,
    decode_from_control,
    encode_message,
)

if TYPE_CHECKING:
    from cdn.journal.follower import Explainer, Follower

MAX_QUEUED_MESSAGES = 8
"""Messages received and not applied yet; when the disk is slower, control waits on the socket."""

MAX_APPLIED_AT_ONCE = 500
"""Records per commit and per turn on the event loop, about: what a visitor may have to wait for."""

MAX_UNANSWERED_HEARTBEATS = 64
"""Heartbeats whose sending time is remembered."""

DRAIN_NOTICE = 0
"""The number of a heartbeat that only says something: its answer renews no lease."""

DRAIN_NOTICE_TIMEOUT_S = 1.0
"""The node has to drain whether or not a dead line takes the notice."""

LONGEST_APPLIED_EVERY_S = 2.0
"""Control may ask for fewer acknowledgements, but whoever waits for a receipt waits no longer than this for them."""

MAX_EXPLAINING = 16
"""Explanations this node works on at a time."""

_log = logging.getLogger(__name__)


class FollowSession:
    """Receives, applies and beats side by side; the first of these that ends, ends the connection."""

    def __init__(self, follower: Follower, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._follower = follower
        self._socket = socket
        self._silence_s = follower.settings.silence_s
        self._inbox: asyncio.Queue[Records | bytes] = asyncio.Queue(MAX_QUEUED_MESSAGES)
        self._incoming: bytearray | None = None
        self._incoming_bytes = 0
        self._unanswered: dict[int, float | None] = {}
        self._welcome = Welcome(Position("", 0), 1.0, 1.0)
        self._is_welcome = False
        self._caught_up = asyncio.Event()
        self._applied_every_s = 0.0
        self._owes_applied = asyncio.Event()
        self._unreported: dict[tuple[str, str], None] = dict.fromkeys(follower.reports)
        self._has_reports = asyncio.Event()
        self._has_reports.set()
        self._explaining: set[asyncio.Task[None]] = set()
        self._waiting_since: float | None = None  # for control's next message; not while this node's own disk is slow
        self._sending_since: float | None = None

    @property
    def is_caught_up(self) -> bool:
        """Whether everything is applied that the journal held at the welcome."""
        return self._caught_up.is_set()

    def report_soon(self, key: tuple[str, str]) -> None:
        """Send the follower's report on this deploy."""
        self._unreported[key] = None
        self._has_reports.set()

    async def say_draining(self) -> None:
        """Say so without waiting for the next heartbeat."""
        if self._socket.closed or not self._is_welcome:
            return
        try:
            async with asyncio.timeout(DRAIN_NOTICE_TIMEOUT_S):
                await self._send(self._heartbeat(DRAIN_NOTICE))
        except (OSError, TimeoutError, aiohttp.ClientError) as exc:
            _log.info("control did not hear that this node drains: %r", exc)

    async def say_leaving(self) -> None:
        """Give the lease back and close."""
        if self._socket.closed:
            return
        try:
            async with asyncio.timeout(self._silence_s):
                await self._send(Leaving())
            await self._socket.close()
        except (OSError, TimeoutError, aiohttp.ClientError) as exc:
            _log.info("control did not hear that this node leaves: %r", exc)

    async def run(self) -> None:
        """Until the connection ends; always raises why, except after `say_leaving`.

        Raises WireFault, UnknownRecord, ReplicaUnavailable, UnreadableSnapshot, FollowBroken, OSError, TimeoutError.
        """
        follower = self._follower
        position = None if follower.wants_snapshot else follower.position
        versions = tuple(range(1, RECORD_VERSION + 1))
        hello = Hello(
            follower.node_id, versions, position, follower.facts, follower.zone, follower.wall(), follower.role
        )
        async with asyncio.timeout(follower.settings.connect_timeout_s):
            await self._send(hello)
            first = await self._receive()
        if isinstance(first, Refused):
            raise WireFault(f"control refused: {first.reason}")
        if not isinstance(first, Welcome):
            raise WireFault("control did not begin with a welcome")
        self._welcome = first
        self._is_welcome = True
        self._silence_s = first.lease_s
        follower.granted(first.lease_s)
        if follower.everywhere is None:
            self._look_whether_caught_up(follower.position)
        else:
            self._owes_applied.set()
        roads: list[Coroutine[Any, Any, None]] = [self._listen(), self._apply(), self._beat(), self._report()]
        roads += (self._say_applied_now_and_then(), self._watch())
        if first.tells_peers and follower.on_peers is not None:
            await self._send(AskPeers())
        if first.hears_blob_faults:
            roads.append(self._tell_blob_faults())
        tasks = [asyncio.create_task(road) for road in roads]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, *self._explaining):
                task.cancel()
            await asyncio.gather(*tasks, *self._explaining, return_exceptions=True)
        for task in done:
            task.result()

    # Down: what control says.

    async def _listen(self) -> None:  # noqa: C901 - one arm per message
        while (message := await self._receive()) is not None:
            match message:
                case Records():
                    if self._incoming is not None:
                        raise WireFault("records in the middle of a snapshot")
                    await self._inbox.put(message)
                case SnapshotComing(size_bytes=size_bytes):
                    if not 0 < size_bytes <= MAX_SNAPSHOT_WIRE_BYTES:
                        raise WireFault(
                            f"a snapshot of {size_bytes} bytes is more than the limit of {MAX_SNAPSHOT_WIRE_BYTES}"
                        )
                    self._incoming, self._incoming_bytes = bytearray(), size_bytes
                case bytes():
                    await self._gather(message)
                case HeartbeatAnswered(number=number, applied_every_s=applied_every_s):
                    self._applied_every_s = min(max(applied_every_s, 0.0), LONGEST_APPLIED_EVERY_S)
                    sent_at = self._unanswered.pop(number, None)
                    if sent_at is not None:
                        self._follower.renewed(sent_at, self._welcome.lease_s)
                case Explain():
                    self._explain_soon(message)
                case Peers(tokens=tokens):
                    if self._follower.on_peers is not None:
                        await self._follower.on_peers(tokens)
                case Refused(reason=reason):
                    raise WireFault(f"control refused: {reason}")
                case Welcome():
                    raise WireFault("a second welcome")
                case _:
                    assert_never(message)

    async def _receive(self) -> FromControl | bytes | None:
        """The next message; None when this side has closed."""
        self._waiting_since = asyncio.get_running_loop().time()
        frame = await self._socket.receive()
        self._waiting_since = None
        match frame.type:
            case WSMsgType.TEXT:
                return decode_from_control(frame.data)
            case WSMsgType.BINARY:
                return bytes(frame.data)
            case WSMsgType.CLOSING | WSMsgType.CLOSED:
                return None
            case WSMsgType.CLOSE:
                raise WireFault(f"control closed the connection ({frame.data})")
            case _:
                raise WireFault(f"control's frame cannot be read: {frame.data}")

    async def _watch(self) -> None:
        """Raises TimeoutError once control has said nothing, or taken nothing of a message, for a lease.

        One look a lease, in place of a timer for each message.
        """
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            since = min((each for each in (self._waiting_since, self._sending_since) if each is not None), default=now)
            if now >= since + self._silence_s:
                raise TimeoutError(f"control said nothing, or took nothing, for {self._silence_s:g} s")
            await asyncio.sleep(since + self._silence_s - now)

    async def _gather(self, part: bytes) -> None:
        if self._incoming is None or len(self._incoming) + len(part) > self._incoming_bytes:
            raise WireFault("a binary frame that belongs to no snapshot")
        self._incoming += part
        if len(self._incoming) == self._incoming_bytes:
            content, self._incoming = bytes(self._incoming), None
            await self._inbox.put(content)

    # Applying.

    async def _apply(self) -> None:
        while True:
            message = await self._inbox.get()
            if isinstance(message, bytes):
                await self._take_snapshot(message)
                continue
            raws = list(message.records)
            while len(raws) < MAX_APPLIED_AT_ONCE and not self._inbox.empty():
                following = self._inbox.get_nowait()
                if isinstance(following, bytes):
                    await self._take_records(raws)
                    raws = []
                    await self._take_snapshot(following)
                else:
                    raws.extend(following.records)
            await self._take_records(raws)

    async def _take_snapshot(self, encoded: bytes) -> None:
        snapshot = await asyncio.to_thread(decode, encoded)
        if snapshot.position.epoch != self._welcome.position.epoch:
            raise WireFault(
                f"a snapshot of epoch {snapshot.position.epoch}, welcomed to {self._welcome.position.epoch}"
            )
        try:
            await self._follower.take_snapshot(snapshot, encoded)
        except UnreadableSnapshot as exc:
            await self._send(Stopped(exc.message[:1000]))
            raise
        await self._acknowledge()

    async def _take_records(self, raws: list[msgspec.Raw]) -> None:
        known, unknown = self._decode(raws)
        if known:
            unknown = await self._follower.take_records(known) or unknown
            await self._acknowledge()
        if unknown is not None:
            if self._owes_applied.is_set():
                await self._say_applied()
            self._follower.stopped = unknown.message
            await self._send(Stopped(unknown.message[:1000]))
            raise unknown
        if self._follower.replica.wants_compaction:
            await self._follower.replica.compact()

    def _decode(self, raws: list[msgspec.Raw]) -> tuple[list[Record], UnknownRecord | None]:
        """The records that follow the node's position, up to one that is not understood. Raises WireFault at a gap."""
        position = self._follower.position
        known: list[Record] = []
        for raw in raws:
            try:
                record = decode_record(bytes(raw))
            except UnknownRecord as exc:
                return known, exc
            if position is not None and position.covers(record.position):
                continue  # applied before
            if position is None or record.position != Position(position.epoch, position.sequence + 1):
                self._follower.wants_snapshot = True
                raise WireFault(f"record {record.position} does not follow {position}: a snapshot is asked for")
            known.append(record)
            position = record.position
        return known, None

    async def _acknowledge(self) -> None:
        if self._follower.everywhere is not None:
            self._owes_applied.set()
            return
        if self._applied_every_s:
            self._owes_applied.set()
        else:
            await self._say_applied()
        self._look_whether_caught_up(self._follower.position)

    async def _say_applied(self) -> None:
        """One message stands for every record up to the position, in all that serves for this node."""
        position, everywhere = self._follower.position, self._follower.everywhere
        if everywhere is not None:
            await everywhere()
        # Where a snapshot is on its way, control counts from there: to say what was before would be refused.
        if (
            position is not None
            and position.epoch == self._welcome.position.epoch
            and not self._follower.wants_snapshot
        ):
            await self._send(Applied(position))
        self._look_whether_caught_up(position)

    async def _say_applied_now_and_then(self) -> None:
        """The first at once, so that a single purge waits for nobody; what comes soon after it together."""
        while True:
            await self._owes_applied.wait()
            self._owes_applied.clear()
            await self._say_applied()
            await asyncio.sleep(self._applied_every_s)

    def _look_whether_caught_up(self, position: Position | None) -> None:
        if position is not None and not self._follower.wants_snapshot and position.covers(self._welcome.position):
            self._caught_up.set()
            self._follower.caught_up()

    # Up: heartbeats, reports, faults, explanations.

    async def _beat(self) -> None:
        """Heartbeats show life at once; they carry the lease only once the node has caught up.

        Before that it would serve, by its lease, what a complete receipt says nobody serves.
        """
        number = 0
        while True:
            number += 1
            self._unanswered[number] = self._follower.clock() if self.is_caught_up else None
            if len(self._unanswered) > MAX_UNANSWERED_HEARTBEATS:
                del self._unanswered[next(iter(self._unanswered))]
            await self._send(self._heartbeat(number))
            if self.is_caught_up:
                await asyncio.sleep(self._welcome.heartbeat_s)
                continue
            try:
                async with asyncio.timeout(self._welcome.heartbeat_s):
                    await self._caught_up.wait()
            except TimeoutError:
                continue

    def _heartbeat(self, number: int) -> Heartbeat:
        follower = self._follower
        load = round(follower.load(), 2)
        return Heartbeat(number, dict(follower.counters()), follower.is_draining, follower.wall(), load)

    async def _report(self) -> None:
        while True:
            await self._has_reports.wait()
            self._has_reports.clear()
            while self._unreported:
                key = next(iter(self._unreported))
                del self._unreported[key]
                if key not in self._follower.reports:
                    continue
                failure = self._follower.reports[key]
                await self._send(Prepared(*key) if failure is None else PrepareFailed(*key, failure[:1000]))

    async def _tell_blob_faults(self) -> None:
        faults = self._follower.blob_faults
        while True:
            fault = await faults.first()
            await self._send(BlobFault(*fault))
            faults.told(fault)

    def _explain_soon(self, asked: Explain) -> None:
        task = asyncio.create_task(self._explain(asked, is_refused=len(self._explaining) >= MAX_EXPLAINING))
        self._explaining.add(task)
        task.add_done_callback(self._explaining.discard)

    async def _explain(self, asked: Explain, *, is_refused: bool) -> None:
        explain = self._follower.explain
        if explain is None:
            answer = Explained(asked.id, {}, "this node explains nothing")
        elif is_refused:
            answer = Explained(asked.id, {}, f"this node explains {MAX_EXPLAINING} URLs already")
        else:
            answer = await _explained(explain, asked)
        try:
            await self._send(answer)
        except (OSError, TimeoutError, aiohttp.ClientError) as exc:
            _log.info("an explanation did not reach control: %r", exc)

    async def _send(self, message: FromNode) -> None:
        """Waits while control takes nothing; `_watch` sees to it that this ends."""
        text = encode_message(message)
        if self._sending_since is not None:
            await self._socket.send_str(text)
            return
        self._sending_since = asyncio.get_running_loop().time()
        try:
            await self._socket.send_str(text)
        finally:
            self._sending_since = None


async def _explained(explain: Explainer, asked: Explain) -> Explained:
    try:
        answer = Explained(asked.id, dict(await explain(asked.host, asked.target)))
        size_bytes = len(encode_message(answer))
    except Exception as exc:  # noqa: BLE001 - whatever fails is told to the one who asked
        _log.warning("explaining %s%s failed", asked.host, asked.target, exc_info=exc)
        return Explained(asked.id, {}, f"it failed: {exc!r}"[:1000])
    if size_bytes > MAX_NODE_MESSAGE_BYTES:
        return Explained(asked.id, {}, f"the answer is longer than {MAX_NODE_MESSAGE_BYTES} bytes")
    return answer
