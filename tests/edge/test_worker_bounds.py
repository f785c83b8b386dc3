"""What a worker waits for has an end, and no site takes all of what it asks the node with (DESIGN I10)."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from math import inf
from pathlib import Path

import pytest

from cdn.edge import workers
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.visitor import Visitor
from cdn.edge.worker_application import MAX_EXCHANGES
from cdn.edge.worker_exchange import MAX_CONNECTIONS, MAX_PATH_BYTES
from cdn.edge.worker_frames import encode_message_frame
from cdn.edge.worker_link import MAX_UNANSWERED, WorkerLink
from cdn.edge.worker_messages import BeatAnswered, State, encode
from cdn.edge.worker_settings import LEASE_S, SILENT_BEATS
from cdn.errors import Conflict
from cdn.fleet.position import Position
from cdn.http.request import Request
from cdn.journal.record import SiteCreated
from tests.edge.engine_application import TEXT, EchoApplication, Stream
from tests.edge.worker_stage import Exchanged, ask, exchanged, record_of, reset, until


class Slow(EchoApplication):
    """Answers after `gate`, where it is shut for the host; one host's content never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_of: dict[str, asyncio.Event] = {}
        self.waiting = 0
        self.is_over = asyncio.Event()

    async def answer(self, request: Request, content: RequestContent, visitor: Visitor) -> Response:
        gate = self.gate_of.get(request.host)
        if request.target.path == "/download":
            return Response(200, TEXT, Stream((b"much",) * 2, None, self.is_over))
        if gate is not None:
            self.waiting += 1
            await gate.wait()
        return await super().answer(request, content, visitor)


@pytest.fixture
def application() -> Slow:
    return Slow()


@pytest.fixture
async def stage(application: Slow) -> AsyncIterator[Exchanged]:
    async with exchanged(application) as stage:
        yield stage


async def test_each_site_finds_room_however_much_others_wait(stage: Exchanged, application: Slow) -> None:
    worker = await stage.add_worker(max_exchanges=16)
    names = ("one", "two", "three", "four")
    for number, name in enumerate(names, start=1):
        worker.apply(record_of(number, SiteCreated(name, name, {})))
        application.gate_of[f"{name}.cdn.localhost"] = asyncio.Event()
    waiting: list[asyncio.Task[object]] = []
    for name, share in zip(names, (8, 4, 2, 1), strict=True):
        head = f"GET /echo\nHost: {name}.cdn.localhost"
        for _ in range(share):
            seen = application.waiting
            waiting.append(asyncio.create_task(ask(worker.port, head)))
            await until(lambda: application.waiting > seen)  # noqa: B023
        refused = await ask(worker.port, head)
        assert (refused.status, refused.fields["cache-status"]) == (503, "edge; detail=too-many-exchanges")
    assert worker.application.under_way == 15
    assert (await ask(worker.port, "GET /echo\nHost: five.cdn.localhost")).status == 200
    for gate in application.gate_of.values():
        gate.set()
    await asyncio.gather(*waiting)
    await until(lambda: not worker.application.under_way)
    assert not worker.application._of_site, "nothing is kept of sites that ask for nothing"


async def test_small_requests_get_through_beside_many_slow_downloads(stage: Exchanged) -> None:
    """More of them than were once allowed."""
    worker = await stage.add_worker()
    downloads = 1100
    connections = []
    for _ in range(downloads):
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.port, limit=1024)
        writer.write(b"GET /download HTTP/1.1\r\nHost: a.example\r\n\r\n")
        connections.append((reader, writer))
    await until(lambda: worker.application.under_way == downloads)
    answers = await asyncio.gather(*(ask(worker.port, f"GET /echo?{number}") for number in range(50)))
    assert {answer.status for answer in answers} == {200}
    for _, writer in connections:
        reset(writer)
    await until(lambda: not worker.application.under_way and not stage.server.under_way)


def test_the_node_has_room_for_what_workers_ask() -> None:
    assert MAX_EXCHANGES >= 8192
    assert MAX_CONNECTIONS >= 8 * MAX_EXCHANGES


async def test_nobody_waits_for_a_node_that_is_silent(stage: Exchanged, application: Slow) -> None:
    worker = await stage.add_worker()
    application.gate_of["a.example"] = asyncio.Event()
    waiting = asyncio.create_task(ask(worker.port, "GET /echo"))
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port, limit=1024)
    writer.write(b"GET /download HTTP/1.1\r\nHost: a.example\r\n\r\n")
    await until(lambda: application.waiting and worker.application.under_way == 2)
    worker.application.node_is_silent(True)
    answer = await waiting
    assert (answer.status, answer.fields["cache-status"]) == (503, "edge; detail=node-silent")
    assert answer.fields["retry-after"] == "1"
    came = b""
    with suppress(ConnectionError):
        while part := await reader.read(1024):
            came += part
    assert not came.endswith(b"0\r\n\r\n"), "it broke off, and does not look whole"
    writer.close()
    await stage.idle()
    asked = stage.server.counters.asked
    assert (await ask(worker.port, "GET /echo")).status == 503
    assert stage.server.counters.asked == asked, "it was not asked at all"
    worker.application.node_is_silent(False)
    application.gate_of.clear()
    assert (await ask(worker.port, "GET /echo")).status == 200


class Told:
    """What a worker does with what its link says."""

    def __init__(self) -> None:
        self.until = -inf
        self.is_silent = False

    def forget(self, site_id: str, key: str, count: int) -> None:
        raise AssertionError

    def may_serve_until(self, until: float) -> None:
        self.until = until

    def node_is_silent(self, is_silent: bool) -> None:
        self.is_silent = is_silent

    def counted(self) -> tuple[dict[str, int], dict[str, int]]:
        return {}, {}

    def withdraw(self) -> None:
        raise AssertionError


class Written:
    """The worker's end of a relay that is never read."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)


async def test_beats_that_nobody_answers(stage: Exchanged, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are so few, whatever time goes by; the first answer ends the silence."""
    monkeypatch.setattr("cdn.edge.worker_link.BEAT_S", 0.0)
    now = 1000.0
    reader, written, told = asyncio.StreamReader(), Written(), Told()
    link = WorkerLink(reader, written, clock=lambda: now)  # type: ignore[arg-type]
    worker = await stage.add_worker()
    state = State(1, Position("e", 0), False, worker.view.catalog_fold.dump())
    reader.feed_data(encode_message_frame(encode(state)))
    following = asyncio.create_task(link.run(worker.view, told))
    await until(lambda: told.is_silent)
    assert len(written.frames) >= SILENT_BEATS
    for _ in range(20 * MAX_UNANSWERED):
        await asyncio.sleep(0)
    assert len(written.frames) == 1 + MAX_UNANSWERED  # the first says that the state was reached
    reader.feed_data(encode_message_frame(encode(BeatAnswered(MAX_UNANSWERED))))
    await until(lambda: told.until > 0)
    assert told.until == now + LEASE_S
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


# Where the socket is


def test_the_socket_is_in_the_node_s_folder() -> None:
    data_dir = Path("/var/lib/cdn-edge")
    assert workers._exchange_path(data_dir) == data_dir / "exchange"


def test_a_folder_with_a_long_path_has_one_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    data_dir = tmp_path / ("d" * MAX_PATH_BYTES)
    path = workers._exchange_path(data_dir)
    assert path == workers._exchange_path(data_dir), "the next process takes the same place"
    assert path != workers._exchange_path(data_dir / "other")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.chmod(0o770)
    with pytest.raises(Conflict, match="not this user's alone"):
        workers._exchange_path(data_dir)
    path.parent.rmdir()
    path.parent.symlink_to(tmp_path)
    with pytest.raises(Conflict, match="not this user's alone"):
        workers._exchange_path(data_dir)
    path.parent.unlink()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(Conflict, match="not this user's alone"):
        workers._exchange_path(data_dir)
