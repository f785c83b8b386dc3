"""A follower against a control that is scripted message by message: leases, gaps, refusals, folds that refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec
import pytest
from aiohttp import web

from cdn.errors import InvalidInput
from cdn.fleet.lease import Lease
from cdn.fleet.position import Position
from cdn.journal.follow_session import MAX_QUEUED_MESSAGES
from cdn.journal.follower import FollowBroken, FollowerSettings
from cdn.journal.record import EDGE_AUDIENCES, Audience, Record, UnknownRecord, encode_record
from cdn.journal.snapshot import encode, take
from cdn.journal.wire import (
    Applied,
    FromControl,
    FromNode,
    Heartbeat,
    HeartbeatAnswered,
    Hello,
    Leaving,
    Records,
    Refused,
    SnapshotComing,
    Stopped,
    Welcome,
    decode_from_node,
    encode_message,
)
from tests.journal.ledger import Ledger, purge, told
from tests.journal.plane import PATIENCE_S, QUICK, Node, node, plane, serve

_Message = TypeVar("_Message")


def record(sequence: int, *, epoch: str = "e", version: int = 1) -> Record:
    draft = purge(f"/{sequence}")
    return Record(version, epoch, sequence, draft.subject, 1.0, "tester", Audience.ALL, draft.change)


def records(*sequences: int, epoch: str = "e", version: int = 1) -> Records:
    return Records(tuple(msgspec.Raw(encode_record(record(n, epoch=epoch, version=version))) for n in sequences))


class Script:
    """One accepted connection at a time, spoken to by the test."""

    def __init__(self) -> None:
        self.url = ""
        self._accepted: asyncio.Queue[web.WebSocketResponse] = asyncio.Queue()
        self._socket: web.WebSocketResponse | None = None
        self._heard: asyncio.Queue[FromNode] = asyncio.Queue()

    async def follow(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._heard = asyncio.Queue()
        await self._accepted.put(socket)
        async for frame in socket:
            self._heard.put_nowait(decode_from_node(frame.data))
        return socket

    async def accept(self) -> Hello:
        """The next connection's hello."""
        async with asyncio.timeout(PATIENCE_S):
            self._socket = await self._accepted.get()
        return await self.hear(Hello)

    async def hear(self, kind: type[_Message]) -> _Message:
        """The next message of this kind; others are passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while not isinstance(message := await self._heard.get(), kind):
                pass
        return message

    async def say(self, *messages: FromControl | bytes) -> None:
        assert self._socket is not None
        for message in messages:
            if isinstance(message, bytes):
                await self._socket.send_bytes(message)
            else:
                await self._socket.send_str(encode_message(message))

    async def hang_up(self) -> None:
        assert self._socket is not None
        await self._socket.close()

    async def snapshot(self, *entries: int, epoch: str = "e", sections: Sequence[Ledger] = ()) -> None:
        ledger = Ledger()
        for n in entries:
            ledger.apply(record(n, epoch=epoch))
        folds = sections or (ledger,)
        content = encode(take(folds, Position(epoch, len(entries)), floor_horizon=0, audiences=EDGE_AUDIENCES))
        await self.say(SnapshotComing(len(content)), content)


@asynccontextmanager
async def script() -> AsyncIterator[Script]:
    running = Script()
    async with serve(running.follow) as running.url:
        yield running


def welcome(sequence: int, *, epoch: str = "e", heartbeat_s: float = 0.01, lease_s: float = 5.0) -> Welcome:
    return Welcome(Position(epoch, sequence), heartbeat_s, lease_s)


async def _begun(control: Script, edge: Node, *entries: int) -> None:
    """The node has the snapshot of these entries."""
    assert (await control.accept()).position is None
    await control.say(welcome(len(entries)))
    await control.snapshot(*entries)
    assert (await control.hear(Applied)).position == Position("e", len(entries))
    assert edge.ledger.last == len(entries)


async def _faulted(edge: Node) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while edge.follower.fault is None:
            await asyncio.sleep(0.002)
    return edge.follower.fault


async def test_the_lease_begins_only_when_everything_up_to_the_welcome_is_applied(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url) as edge:
        await control.accept()
        await control.say(welcome(2))
        for _ in range(3):
            await control.say(HeartbeatAnswered((await control.hear(Heartbeat)).number))
        await control.snapshot(1)
        await control.hear(Applied)
        for _ in range(3):
            await control.say(HeartbeatAnswered((await control.hear(Heartbeat)).number))
        assert not edge.follower.has_lease(), "it still serves what a complete receipt says nobody serves"
        await control.say(records(2))
        await control.hear(Applied)
        async with asyncio.timeout(PATIENCE_S):
            while not edge.follower.has_lease():
                await control.say(HeartbeatAnswered((await control.hear(Heartbeat)).number))


async def test_the_lease_counts_from_when_the_heartbeat_was_sent(tmp_path: Path) -> None:
    now = 500.0
    async with script() as control, node(tmp_path, control.url, clock=lambda: now) as edge:
        await control.accept()
        await control.say(welcome(0, heartbeat_s=60.0))
        early = await control.hear(Heartbeat)
        await control.snapshot()
        beat = await control.hear(Heartbeat)
        now = 504.0
        await control.say(HeartbeatAnswered(early.number), HeartbeatAnswered(99), HeartbeatAnswered(beat.number))
        async with asyncio.timeout(PATIENCE_S):
            while edge.follower.lease.sent_at is None:
                await asyncio.sleep(0.002)
        assert edge.follower.lease == Lease(500.0, 5.0)
        now = 505.0
        assert not edge.follower.has_lease()


async def test_a_running_lease_is_never_lengthened_by_a_welcome(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url) as edge:
        edge.follower.lease = Lease(edge.follower.clock(), 5.0)
        await control.accept()
        await control.say(welcome(0, lease_s=100.0))
        await control.hear(Heartbeat)
        assert edge.follower.lease.lease_s == 5.0
        await control.hang_up()
        await control.accept()
        await control.say(welcome(0, lease_s=2.0))
        await control.hear(Heartbeat)
        assert edge.follower.lease.lease_s == 2.0


async def test_leaving_gives_the_lease_back_before_it_says_so(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url) as edge:
        await _begun(control, edge)
        await control.say(HeartbeatAnswered((await control.hear(Heartbeat)).number))
        leaving = asyncio.create_task(edge.follower.leave())
        await control.hear(Leaving)
        assert not edge.follower.has_lease()
        await leaving
        await edge.running


async def test_a_gap_is_never_applied_and_asks_for_a_snapshot(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url) as edge:
        await _begun(control, edge, 1)
        await control.say(records(2, 4))
        assert (await control.accept()).position is None
        assert edge.ledger.last == 1
        await control.say(welcome(4))
        await control.snapshot(1, 2, 3, 4)
        assert (await control.hear(Applied)).position == Position("e", 4)
        await control.hang_up()
        assert (await control.accept()).position == Position("e", 4)


async def test_records_of_another_epoch_are_never_applied(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url) as edge:
        await _begun(control, edge, 1)
        await control.say(records(2, epoch="f"))
        assert (await control.accept()).position is None
        assert edge.ledger.entries == [(1, "purged /1")]


async def test_records_that_come_twice_are_applied_once(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url) as edge:
        await _begun(control, edge, 1)
        await control.say(records(1, 2), records(2, 3))
        while (await control.hear(Applied)).position != Position("e", 3):
            pass
        assert edge.sink.sequences == [2, 3]


async def test_an_unknown_record_stops_after_those_before_it(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url) as edge:
        await _begun(control, edge)
        unknown = records(3, version=99).records
        await control.say(Records((*records(1, 2).records, *unknown, *records(4).records)))
        assert (await control.hear(Applied)).position == Position("e", 2)
        assert "version 99" in (await control.hear(Stopped)).reason
        assert (await control.accept()).position == Position("e", 2)
        assert "version 99" in str(edge.follower.stopped)
        await control.say(welcome(3), records(3))
        assert (await control.hear(Applied)).position == Position("e", 3)
        assert edge.follower.stopped is None
        assert edge.ledger.last == 3


class Choosy(Ledger):
    """A fold that does not understand what is said about /3, nor a section marked so."""

    def apply(self, record: Record) -> None:
        if told(record) == "purged /3":
            raise UnknownRecord("no settings like these: upgrade this node")
        super().apply(record)

    def load(self, section: object) -> None:
        if isinstance(section, dict) and section["epoch"] == "strange":
            raise InvalidInput("no settings like these")
        super().load(section)


async def test_a_record_that_the_first_fold_refuses_is_as_if_it_never_came(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url, ledger=Choosy()) as edge:
        await _begun(control, edge)
        await control.say(records(1, 2, 3, 4))
        assert (await control.hear(Applied)).position == Position("e", 2)
        assert "upgrade" in (await control.hear(Stopped)).reason
        assert (await control.accept()).position == Position("e", 2)
        assert edge.sink.sequences == [1, 2]
    async with script() as control, node(tmp_path, control.url) as edge:
        assert edge.ledger.last == 2, "after the upgrade it goes on from there"
        assert (await control.accept()).position == Position("e", 2)


async def test_a_copy_with_a_record_that_is_refused_ends_before_it(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url) as edge:
        await _begun(control, edge)
        await control.say(records(1, 2, 3, 4))
        assert (await control.hear(Applied)).position == Position("e", 4)
    async with script() as control, node(tmp_path, control.url, ledger=Choosy()) as edge:
        assert (await control.accept()).position == Position("e", 2)
        assert edge.ledger.last == 2


async def test_a_snapshot_that_is_not_understood_leaves_everything_as_it_was(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url, ledger=Choosy()) as edge:
        await _begun(control, edge, 1)
        strange = Ledger()
        strange.epoch = "strange"
        await control.snapshot(1, 2, sections=(strange,))
        assert "not understood" in (await control.hear(Stopped)).reason
        assert (await control.accept()).position == Position("e", 1)
        assert edge.ledger.entries == [(1, "purged /1")]
        assert len(edge.sink.snapshots) == 1


async def test_a_second_fold_that_fails_ends_following_for_good(tmp_path: Path) -> None:
    class Failing(Ledger):
        def apply(self, record: Record) -> None:
            raise UnknownRecord("too late to refuse")

    async with script() as control, node(tmp_path, control.url) as edge:
        edge.follower._folds = (edge.ledger, Failing("second"))
        await _begun(control, edge)
        await control.say(records(1))
        with pytest.raises(FollowBroken, match="record 1"):
            await edge.running


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ((Refused("go away"),), "go away"),
        ((records(1),), "did not begin with a welcome"),
        ((welcome(0), welcome(0)), "second welcome"),
        ((welcome(0), b"stray"), "belongs to no snapshot"),
        ((welcome(0), SnapshotComing(10**12)), "more than the limit"),
        ((welcome(0), SnapshotComing(0)), "more than the limit"),
        ((welcome(0), SnapshotComing(5), b"123456"), "belongs to no snapshot"),
        ((welcome(0), SnapshotComing(5), records(1)), "middle of a snapshot"),
        ((welcome(0), SnapshotComing(5), b"12345"), "snapshot is damaged"),
    ],
)
async def test_what_control_may_not_say_ends_the_connection_and_is_told(
    tmp_path: Path, messages: tuple[FromControl | bytes, ...], said: str
) -> None:
    slow = FollowerSettings(connect_timeout_s=5.0, silence_s=5.0, first_pause_s=60.0, longest_pause_s=60.0)
    async with script() as control, node(tmp_path, control.url, settings=slow) as edge:
        await control.accept()
        await control.say(*messages)
        assert said in await _faulted(edge)
        assert edge.follower.position is None


async def test_a_snapshot_of_another_epoch_than_the_welcome_is_refused(tmp_path: Path) -> None:
    slow = FollowerSettings(connect_timeout_s=5.0, silence_s=5.0, first_pause_s=60.0, longest_pause_s=60.0)
    async with script() as control, node(tmp_path, control.url, settings=slow) as edge:
        await control.accept()
        await control.say(welcome(1))
        await control.snapshot(1, epoch="f")
        assert "epoch f" in await _faulted(edge)


async def test_a_silent_control_is_left_after_a_lease(tmp_path: Path) -> None:
    async with script() as control, node(tmp_path, control.url) as edge:
        await control.accept()
        await control.say(welcome(0, lease_s=0.05))
        await control.accept()
        assert edge.follower.fault is not None


async def test_a_control_that_takes_nothing_is_left_after_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with script() as control, node(tmp_path, control.url) as edge:
        await control.accept()

        send_str = aiohttp.ClientWebSocketResponse.send_str

        async def takes_nothing(self: aiohttp.ClientWebSocketResponse, data: str) -> None:
            if '"heartbeat"' in data:
                await asyncio.Event().wait()
            await send_str(self, data)

        monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "send_str", takes_nothing)
        await control.say(welcome(1, lease_s=0.1))
        async with asyncio.timeout(PATIENCE_S):
            while "took nothing" not in str(edge.follower.fault):
                await control.say(HeartbeatAnswered(0))
                await asyncio.sleep(0.01)
        monkeypatch.undo()
        await control.accept()


async def test_while_its_own_disk_is_slow_control_is_not_called_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease_s, free = 0.6, asyncio.Event()
    async with script() as control, node(tmp_path, control.url) as edge:
        assert (await control.accept()).position is None
        await control.say(welcome(1, lease_s=lease_s))
        await control.snapshot(1)
        apply = edge.replica.apply

        async def slow(records: Sequence[Record]) -> None:
            await free.wait()
            await apply(records)

        monkeypatch.setattr(edge.replica, "apply", slow)
        last = 4 * MAX_QUEUED_MESSAGES
        await control.say(*(records(n) for n in range(2, last + 1)))
        await asyncio.sleep(2 * lease_s)  # time has to pass: that nothing comes of it is the point
        free.set()
        while (await control.hear(Applied)).position.sequence < last:
            pass
        assert edge.follower.fault is None


async def test_control_that_is_not_there_is_tried_again_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    enough = asyncio.Event()
    async with script() as gone:
        url = gone.url
    async with node(tmp_path, url) as edge:

        async def pause(pause_s: float) -> None:
            pauses.append(pause_s)
            if len(pauses) == 6:
                enough.set()
            await asyncio.sleep(0)

        monkeypatch.setattr(edge.follower, "_pause", pause)
        async with asyncio.timeout(PATIENCE_S):
            await enough.wait()
    settings = edge.follower.settings
    for n, pause_s in enumerate(pauses[:6]):
        full_s = min(settings.first_pause_s * 2**n, settings.longest_pause_s)
        assert full_s / 2 <= pause_s <= full_s
    assert isinstance(edge.follower.fault, str)


async def test_a_server_that_is_no_control_is_reported(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async with serve(answer) as url, node(tmp_path, url) as edge:
        assert "200" in await _faulted(edge)


async def test_reports_and_unanswered_heartbeats_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.journal.follower.MAX_REPORTS", 3)
    monkeypatch.setattr("cdn.journal.follow_session.MAX_UNANSWERED_HEARTBEATS", 4)
    async with script() as control, node(tmp_path, control.url) as edge:
        for n in range(10):
            edge.follower.report_prepared("s1", f"d{n}")
        assert list(edge.follower.reports) == [("s1", "d7"), ("s1", "d8"), ("s1", "d9")]
        await control.accept()
        await control.say(welcome(0, heartbeat_s=0.001))
        for _ in range(10):
            await control.hear(Heartbeat)
        session = edge.follower._session
        assert session is not None
        assert len(session._unanswered) <= 4


def test_the_client_library_is_given_a_frame_limit_that_fits_the_longest_message() -> None:
    from cdn.journal.record import MAX_RECORD_BYTES
    from cdn.journal.wire import MAX_CONTROL_MESSAGE_BYTES, MAX_RECORDS_BYTES, SNAPSHOT_FRAME_BYTES

    assert MAX_RECORDS_BYTES + MAX_RECORD_BYTES < MAX_CONTROL_MESSAGE_BYTES
    assert SNAPSHOT_FRAME_BYTES < MAX_CONTROL_MESSAGE_BYTES
    assert aiohttp.ClientWSTimeout(ws_close=1.0).ws_close == 1.0


async def test_a_node_that_leaves_while_it_connects_does_not_stay(tmp_path: Path) -> None:
    knocked, may_enter = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.WebSocketResponse:
        knocked.set()
        await may_enter.wait()
        return await control.hub.handle(request)

    async with plane(tmp_path) as control, serve(slow) as url, node(tmp_path, url) as edge:
        async with asyncio.timeout(PATIENCE_S):
            await knocked.wait()
            await edge.follower.leave()
            may_enter.set()
            await edge.running
        assert control.directory.nodes() == ()


async def test_nobody_says_hello_before_what_is_durable_holds_everywhere(tmp_path: Path) -> None:
    """A hello's position counts as applied (DESIGN I8): the line may break while a process is still behind."""
    holds = asyncio.Event()
    holds.set()

    async def everywhere() -> None:
        await holds.wait()

    async with script() as control, node(tmp_path, control.url, everywhere=everywhere) as edge:
        await _begun(control, edge, 1)
        holds.clear()
        await control.say(records(2))
        while edge.ledger.last != 2:
            await asyncio.sleep(0)
        await control.hang_up()
        greeting = asyncio.create_task(control.accept())
        await _faulted(edge)
        for _ in range(3):
            await asyncio.sleep(QUICK.longest_pause_s)
        assert not greeting.done()
        holds.set()
        assert (await greeting).position == Position("e", 2)
