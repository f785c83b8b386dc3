"""Mapped files leave by sendfile: whole, in order, bounded in time, and from their mapping where that cannot be."""

from __future__ import annotations

import asyncio
import math
import os
import random
import socket
from pathlib import Path

import pytest

from cdn.edge.connection import H1Connection
from cdn.edge.file_sending import FileSending
from cdn.edge.limits import HttpLimits
from cdn.edge.listener import Listener
from cdn.edge.mapped_file import map_file
from tests.edge.engine_application import EchoApplication, Stream
from tests.edge.engine_responses import read_responses

SIZE_BYTES = 1024 * 1024
ASK = b"GET /file HTTP/1.1\r\nHost: a.example\r\n\r\n"


def mapped(path: Path, seed: int, size_bytes: int = SIZE_BYTES) -> memoryview:
    path.write_bytes(random.Random(seed).randbytes(size_bytes))
    with path.open("rb") as file:
        return map_file(file.fileno(), size_bytes, path)


@pytest.fixture
def parts(tmp_path: Path) -> list[memoryview]:
    return [mapped(tmp_path / str(number), number) for number in range(5)]


@pytest.fixture
def sent_by_file(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much every call of sendfile took."""
    taken: list[int] = []

    def sendfile(connected: int, file: int, offset: int, count: int) -> int:
        taken.append(os_sendfile(connected, file, offset, count))
        return taken[-1]

    os_sendfile = os.sendfile
    monkeypatch.setattr("cdn.edge.file_sending.os.sendfile", sendfile)
    return taken


def application_of(parts: list[memoryview]) -> EchoApplication:
    application = EchoApplication()
    application.streams["/file"] = Stream(tuple(parts), sum(map(len, parts)))  # type: ignore[arg-type]
    return application


async def ask(port: int, data: bytes, *, pause_every_bytes: int = 0) -> bytes:
    """All that the server says until it has been silent behind as many whole answers as were asked for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(data)
    writer.write_eof()
    got = bytearray()
    while piece := await reader.read(pause_every_bytes or 1 << 20):
        got += piece
        if pause_every_bytes:
            await asyncio.sleep(0)
    writer.close()
    return bytes(got)


@pytest.mark.parametrize("pause_every_bytes", [0, 50_000])
async def test_files_leave_whole_and_in_order(
    parts: list[memoryview], sent_by_file: list[int], pause_every_bytes: int
) -> None:
    parts[2] = parts[2][100:-100]  # not the whole file: written from its mapping
    listener = await Listener.start("127.0.0.1", 0, application_of(parts), HttpLimits(), cache_name="edge")
    got = await ask(listener.port, ASK * 2 + ASK.replace(b"/file", b"/a"), pause_every_bytes=pause_every_bytes)
    await listener.aclose()
    first, second, last = read_responses(got)
    assert first.content == second.content == b"".join(parts)
    assert last.content.startswith(b"GET a.example /a")
    assert sum(sent_by_file) == 2 * 4 * SIZE_BYTES


async def test_a_file_that_is_gone_is_sent_from_its_mapping(
    parts: list[memoryview], sent_by_file: list[int], tmp_path: Path
) -> None:
    (tmp_path / "0").unlink()
    (tmp_path / "1").unlink()
    (tmp_path / "1").write_bytes(b"x" * SIZE_BYTES)
    with (tmp_path / "other").open("wb") as other:
        other.write(b"y" * SIZE_BYTES)
    (tmp_path / "other").rename(tmp_path / "2")
    listener = await Listener.start("127.0.0.1", 0, application_of(parts), HttpLimits(), cache_name="edge")
    got = await ask(listener.port, ASK)
    await listener.aclose()
    (response,) = read_responses(got)
    assert response.content == b"".join(parts)
    assert sum(sent_by_file) == 2 * SIZE_BYTES


async def test_who_takes_nothing_is_reset_in_time(parts: list[memoryview], sent_by_file: list[int]) -> None:
    now = 1000.0
    limits = HttpLimits(write_timeout_s=10.0)
    many = parts * 20
    application = application_of(many)
    listener = await Listener.start("127.0.0.1", 0, application, limits, cache_name="edge", monotonic=lambda: now)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1024)
    writer.write(ASK)
    while not (
        connections := [each for each in listener._service.connections if isinstance(each, H1Connection)]
    ) or math.isinf(connections[0]._write_deadline):
        await asyncio.sleep(0)
    (connection,) = connections
    connection.check(now)
    assert listener.counters.timed_out == 0
    now += 10.0 + SIZE_BYTES / limits.min_transfer_rate_bytes_per_s
    connection.check(now)
    assert listener.counters.timed_out == 1
    with pytest.raises(ConnectionResetError):
        await reader.read(-1)
    writer.close()
    await listener.aclose()
    assert application.streams["/file"].closed == 1


async def test_what_is_left_goes_to_nobody_else(tmp_path: Path) -> None:
    """A transport that is lost closes its socket, whose number the next client gets, before who sends hears of it."""
    content = mapped(tmp_path / "file", 1)
    served, client = socket.socketpair()
    served.setblocking(False)
    with (tmp_path / "file").open("rb") as file:
        sending = FileSending(served, file.fileno(), SIZE_BYTES, lambda left_bytes: None)
        assert not sending.has_sent()
        rest = asyncio.create_task(sending.send_rest())
        await asyncio.sleep(0)
        number = served.fileno()
        served.close()
        others = socket.socketpair()
        assert number in {other.fileno() for other in others}
        loop = asyncio.get_running_loop()
        client.setblocking(False)
        got = bytearray()
        while len(got) < SIZE_BYTES:
            got += await loop.sock_recv(client, SIZE_BYTES)
        await rest
    assert got == content
    for other in others:
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)
    for each in (*others, client):
        each.close()
