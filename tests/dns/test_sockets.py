"""UDP and TCP over real sockets of this machine, on the loop that the process runs on."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import pytest
import uvloop

from cdn.dns.query import MAX_QUERY_BYTES
from cdn.dns.settings import TcpSettings
from cdn.dns.tcp import MAX_AT_ONCE as MAX_TCP_AT_ONCE
from cdn.dns.tcp import TcpConnections, TcpServer
from cdn.dns.udp import MAX_AT_ONCE, UdpSocket

PATIENCE_S = 30.0


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test, on the loop that the process runs on."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def echo(message: bytes, source: str) -> bytes | None:
    """Nothing to what begins with a dash."""
    return None if message.startswith(b"-") else message + b" for " + source.encode()


async def heard(client: socket.socket) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.get_running_loop().sock_recv(client, 65_535)


@asynccontextmanager
async def udp(host: str, answer: Callable[[bytes, str], bytes | None] = echo) -> AsyncIterator[UdpSocket]:
    served = UdpSocket.bind(host, 0, answer)
    served.start()
    try:
        yield served
    finally:
        served.close()


def client_of(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    client.setblocking(False)
    client.connect((host, port))
    return client


@pytest.mark.parametrize(
    ("bound", "asked"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.8.9.10"), ("::", "::1")],
)
@on_uvloop
async def test_an_answer_comes_from_where_it_was_asked(bound: str, asked: str) -> None:
    """A connected client hears nobody else."""
    async with udp(bound) as served:
        with client_of(asked, served.port) as client:
            for number in range(3):
                client.send(b"question %d" % number)
                source = client.getsockname()[0].encode()
                assert await heard(client) == b"question %d for %s" % (number, source)


@on_uvloop
async def test_ipv6_and_ipv4_are_each_for_themselves() -> None:
    async with udp("::") as served:
        with client_of("127.0.0.1", served.port) as client:
            client.send(b"anybody?")
            with pytest.raises(ConnectionRefusedError):
                await heard(client)


@on_uvloop
async def test_what_gets_no_answer_gets_none_and_those_after_it_do() -> None:
    async with udp("127.0.0.1") as served:
        with client_of("127.0.0.1", served.port) as client:
            for message in (b"-", b"", b"one"):
                client.send(message)
            assert await heard(client) == b" for 127.0.0.1", "an empty datagram is a message too"
            assert await heard(client) == b"one for 127.0.0.1"


@on_uvloop
async def test_everything_that_waits_is_read_and_longer_ones_show_that_they_are() -> None:
    sizes: list[int] = []

    def note(message: bytes, source: str) -> bytes | None:
        sizes.append(len(message))
        return b"x"

    async with udp("127.0.0.1", note) as served:
        with client_of("127.0.0.1", served.port) as client:
            for _ in range(MAX_AT_ONCE + 10):
                client.send(b"q")
            client.send(b"q" * 9000)
            for _ in range(MAX_AT_ONCE + 11):
                assert await heard(client) == b"x"
    assert sizes[-1] == MAX_QUERY_BYTES + 1


@on_uvloop
async def test_closing_answers_what_was_asked_and_refuses_what_is_asked_then() -> None:
    served = UdpSocket.bind("127.0.0.1", 0, echo)
    served.start()
    with client_of("127.0.0.1", served.port) as client:
        for number in range(50):
            client.send(b"%d" % number)
        served.close()
        for number in range(50):
            assert await heard(client) == b"%d for 127.0.0.1" % number
        client.send(b"too late")
        with pytest.raises(ConnectionRefusedError):
            await heard(client)


@on_uvloop
async def test_a_client_that_is_gone_disturbs_nobody() -> None:
    async with udp("127.0.0.1") as served:
        with client_of("127.0.0.1", served.port) as client:
            with client_of("127.0.0.1", served.port) as other:
                other.send(b"gone")
            client.send(b"here")
            assert await heard(client) == b"here for 127.0.0.1"
            client.send(b"still")
            assert await heard(client) == b"still for 127.0.0.1"


@on_uvloop
async def test_a_taken_port_is_an_error() -> None:
    async with udp("127.0.0.1") as served:
        with pytest.raises(OSError, match="in use"):
            UdpSocket.bind("127.0.0.1", served.port, echo)


# TCP


@asynccontextmanager
async def tcp(
    answer: Callable[[bytes, str], bytes | None] = echo, *, timeout_s: float = 20.0, most: int = 10
) -> AsyncIterator[tuple[int, TcpConnections]]:
    connections = TcpConnections(TcpSettings(max_tcp_connections=most, tcp_timeout_s=timeout_s), answer)
    server = await TcpServer.start("127.0.0.1", 0, connections)
    try:
        yield server.port, connections
    finally:
        server.close()
        await connections.aclose(5.0)
        assert len(connections) == 0


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


ONE, TWO = b"question one", b"question two"


async def read_framed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server has closed, with nothing further said."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


@pytest.mark.parametrize("size", [1, 2, 3, 13, 14, 15, 1000])
@on_uvloop
async def test_questions_are_answered_in_order_however_they_are_cut(size: int) -> None:
    async with tcp() as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        content = framed(ONE) + framed(b"-nothing to say") + framed(TWO) + framed(ONE)
        for start in range(0, len(content), size):
            writer.write(content[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)
        for expected in (ONE, TWO, ONE):
            assert await read_framed(reader) == expected + b" for 127.0.0.1"
        writer.close()


@on_uvloop
async def test_a_client_that_closes_its_side_gets_its_answers() -> None:
    async with tcp() as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(ONE) + framed(TWO) + b"\x00")
        writer.write_eof()
        assert await read_framed(reader) == ONE + b" for 127.0.0.1"
        assert await read_framed(reader) == TWO + b" for 127.0.0.1"
        assert await ended(reader)
        writer.close()


@pytest.mark.parametrize("length", [0, 1, 11, MAX_QUERY_BYTES + 1, 65535])
@on_uvloop
async def test_a_length_that_no_question_has_ends_the_connection(length: int) -> None:
    async with tcp() as (port, connections):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(ONE) + length.to_bytes(2, "big"))
        assert await read_framed(reader) == ONE + b" for 127.0.0.1"
        assert await ended(reader)
        assert connections.counters.bad_lengths == 1
        writer.close()


@on_uvloop
async def test_octets_win_no_time_only_questions_do() -> None:
    async with tcp(timeout_s=0.4) as (port, connections):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def dribble() -> None:
            for octet in framed(bytes(4000)):
                writer.write(bytes((octet,)))
                await asyncio.sleep(0.05)

        dribbling = asyncio.create_task(dribble())
        assert await ended(reader)
        dribbling.cancel()
        await asyncio.gather(dribbling, return_exceptions=True)
        assert connections.counters.timed_out == 1
        writer.close()


@on_uvloop
async def test_the_one_that_was_silent_longest_makes_room() -> None:
    async with tcp(most=3) as (port, connections):
        clients = []
        for number in range(3):
            clients.append(await asyncio.open_connection("127.0.0.1", port))
            clients[number][1].write(framed(ONE))
            await read_framed(clients[number][0])
        clients[0][1].write(framed(TWO))
        await read_framed(clients[0][0])
        clients.append(await asyncio.open_connection("127.0.0.1", port))
        clients[3][1].write(framed(ONE))
        await read_framed(clients[3][0])
        assert await ended(clients[1][0])
        assert (len(connections), connections.counters.crowded_out) == (3, 1)
        for number in (0, 2, 3):
            clients[number][1].write(framed(TWO))
            assert await read_framed(clients[number][0]) == TWO + b" for 127.0.0.1"
        for _, writer in clients:
            writer.close()


@on_uvloop
async def test_who_takes_no_answers_is_read_no_further() -> None:
    asked = 0

    def long(message: bytes, source: str) -> bytes:
        nonlocal asked
        asked += 1
        return bytes(60_000)

    async with tcp(long, timeout_s=PATIENCE_S) as (port, _):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=client, limit=4096)
        writer.write(framed(ONE) * 2_500_000)  # far more than the system keeps for a connection
        seen = -1
        while seen != asked or not asked:
            seen = asked
            await asyncio.sleep(0.3)
        assert asked < 2_000
        assert writer.transport.get_write_buffer_size() > 10_000_000, "what nobody reads stays with the client"
        for _ in range(asked + 50):
            assert await read_framed(reader) == bytes(60_000)
        writer.transport.abort()


@on_uvloop
async def test_clients_that_ask_thousands_of_questions_at_once_stop_nobody_else() -> None:
    turns = 0
    asked_of: Counter[int] = Counter()

    def note(message: bytes, source: str) -> bytes:
        asked_of[turns] += 1
        return message

    async with tcp(note, timeout_s=PATIENCE_S) as (port, _):
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]

        async def ask(writer: asyncio.StreamWriter) -> None:
            for number in range(3_000):
                writer.write(framed(b"%012d" % number))
            writer.write_eof()
            await writer.drain()

        async def hear(reader: asyncio.StreamReader) -> None:
            for number in range(3_000):
                assert await read_framed(reader) == b"%012d" % number
            assert await ended(reader)

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        await asyncio.gather(*(ask(writer) for _, writer in clients), *(hear(reader) for reader, _ in clients))
        turning.cancel()
        for _, writer in clients:
            writer.close()
    assert sum(asked_of.values()) == 9_000
    assert max(asked_of.values()) <= 2 * MAX_TCP_AT_ONCE


@on_uvloop
async def test_closing_sends_what_was_answered_and_cuts_off_who_does_not_take_it() -> None:
    connections = TcpConnections(TcpSettings(tcp_timeout_s=PATIENCE_S), lambda message, source: bytes(65_000))
    server = await TcpServer.start("127.0.0.1", 0, connections)
    good, bad = [await asyncio.open_connection("127.0.0.1", server.port, limit=1024) for _ in range(2)]
    good[1].write(framed(ONE))
    bad[1].write(framed(ONE) * 400)
    assert await read_framed(good[0]) == bytes(65_000)
    while len(connections) < 2:
        await asyncio.sleep(0.01)
    server.close()
    await asyncio.wait_for(connections.aclose(0.3), PATIENCE_S)
    assert await ended(good[0])
    async with asyncio.timeout(PATIENCE_S):
        while len(connections):
            await asyncio.sleep(0.01)
    for _, writer in (good, bad):
        writer.transport.abort()


@on_uvloop
async def test_both_wildcards_share_a_port_over_udp_and_tcp() -> None:
    connections = TcpConnections(TcpSettings(tcp_timeout_s=PATIENCE_S), echo)
    servers = [await TcpServer.start("0.0.0.0", 0, connections)]
    port = servers[0].port
    servers.append(await TcpServer.start("::", port, connections))
    bound = [UdpSocket.bind(host, port, echo) for host in ("0.0.0.0", "::")]
    for each in bound:
        each.start()
    for host in ("127.0.0.1", "::1"):
        with client_of(host, port) as client:
            client.send(ONE)
            assert await heard(client) == ONE + b" for " + host.encode()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(framed(TWO))
        assert await read_framed(reader) == TWO + b" for " + host.encode()
        writer.close()
    for each in bound:
        each.close()
    for server in servers:
        server.close()
    await connections.aclose(5.0)
