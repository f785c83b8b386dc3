"""The lines of the tests do what they say: cut, silent, deaf, mute, spoilt, refused, and mended again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.e2e.cut_proxy import BOTH_WAYS, CutProxy, Direction
from tests.e2e.spoilers import UNAVAILABLE, flip, truncate

SOON_S = 20.0
NEVER_S = 0.3
"""So long nothing may come; longer would only find more."""


_open: list[asyncio.StreamWriter] = []


@pytest.fixture(autouse=True)
async def ended() -> AsyncIterator[None]:
    """Every connection of the test ends with it."""
    yield
    for writer in _open:
        writer.transport.abort()
    await asyncio.gather(*(writer.wait_closed() for writer in _open), return_exceptions=True)
    _open.clear()


@pytest.fixture
async def line() -> AsyncIterator[CutProxy]:
    """A line to a server that answers every line with its echo."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _open.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.readline():
                writer.write(b"echo " + data)
                await writer.drain()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = await CutProxy.start(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    yield proxy
    await proxy.aclose()
    server.close()


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, line: CutProxy) -> Caller:
        host, _, port = line.address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        _open.append(writer)
        return cls(reader, writer)

    async def ask(self, word: bytes, within_s: float = SOON_S) -> bytes:
        """Raises TimeoutError when no answer comes, OSError."""
        self.writer.write(word + b"\n")
        async with asyncio.timeout(within_s):
            return await self.reader.readline()


async def test_what_goes_either_way_is_lost_and_sent_again_once_it_is_mended(line: CutProxy) -> None:
    for directions in ((Direction.UP,), (Direction.DOWN,), BOTH_WAYS):
        caller = await Caller.to(line)
        assert await caller.ask(b"a") == b"echo a\n"
        line.drop(*directions)
        with pytest.raises(TimeoutError):
            await caller.ask(b"b", NEVER_S)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(NEVER_S):
                await Caller.to(line)
        line.mend()
        async with asyncio.timeout(SOON_S):
            assert await caller.reader.readline() == b"echo b\n"
        assert await (await Caller.to(line)).ask(b"c") == b"echo c\n"


async def test_a_mute_caller_is_not_heard_and_a_deaf_one_is(line: CutProxy) -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _open.append(writer)
        while data := await reader.readline():
            heard.append(data)

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    line.lead_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    for direction in Direction:
        caller = await Caller.to(line)
        caller.writer.write(b"first\n")
        async with asyncio.timeout(SOON_S):
            while heard != [b"first\n"]:
                await asyncio.sleep(0.01)
        line.drop(direction)
        with pytest.raises(TimeoutError):
            await caller.ask(b"second", NEVER_S)
        assert (heard == [b"first\n"]) is (direction is Direction.UP)
        line.mend()
        async with asyncio.timeout(SOON_S):
            while heard != [b"first\n", b"second\n"]:
                await asyncio.sleep(0.01)
        heard.clear()
    server.close()


async def test_a_cut_line_ends_what_there_is_and_takes_nothing(line: CutProxy) -> None:
    caller = await Caller.to(line)
    assert await caller.ask(b"a") == b"echo a\n"
    line.cut()
    for ended in (caller, await Caller.to(line)):
        (answer,) = await asyncio.gather(ended.ask(b"b"), return_exceptions=True)
        assert answer == b"" or isinstance(answer, ConnectionError)
    line.mend()
    assert await (await Caller.to(line)).ask(b"c") == b"echo c\n"


async def test_a_silent_line_goes_on_where_it_stopped(line: CutProxy) -> None:
    caller = await Caller.to(line)
    line.silence()
    with pytest.raises(TimeoutError):
        await caller.ask(b"a", NEVER_S)
    line.mend()
    async with asyncio.timeout(SOON_S):
        assert await caller.reader.readline() == b"echo a\n"


async def test_answers_are_spoilt_and_refused(line: CutProxy) -> None:
    line.spoil(flip)
    answer = await (await Caller.to(line)).ask(b"a")
    assert len(answer) == 7
    assert sum(one != other for one, other in zip(answer, b"echo a\n", strict=True)) == 1
    line.spoil(flip, Direction.UP)
    line.mend()
    line.spoil(truncate)
    assert await (await Caller.to(line)).ask(b"a") == b"ech"
    line.mend()
    line.refuse(UNAVAILABLE)
    assert await (await Caller.to(line)).ask(b"a") == b"HTTP/1.1 503 Slow Down\r\n"
    line.mend()
    assert await (await Caller.to(line)).ask(b"a") == b"echo a\n"
