"""The listener on real sockets and uvloop."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import pytest
import uvloop

from cdn.edge.limits import HttpLimits
from cdn.edge.listener import Listener
from cdn.edge.trusted_proxies import TrustedProxies
from tests.edge.engine_application import EchoApplication, Stream
from tests.edge.engine_responses import read_responses

GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"


def serve(
    scene: Callable[[Listener, EchoApplication], Awaitable[None]], limits: HttpLimits | None = None, **options: Any
) -> None:
    """Play `scene` against a listener on a free port."""

    async def play() -> None:
        application = EchoApplication()
        application.remember("/a", b"hello")
        options.setdefault("cache_name", "edge")
        listener = await Listener.start("127.0.0.1", 0, application, limits or HttpLimits(), **options)
        try:
            async with asyncio.timeout(20):
                await scene(listener, application)
        finally:
            await listener.aclose()
        assert listener.open_connections == 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())


async def talk(port: int, data: bytes) -> bytes:
    """Send, end, and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_an_ordinary_client_is_served() -> None:
    def visit(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in range(4):
            connection.request("GET", "/a", headers={"User-Agent": "x"})
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"hello")
        connection.request("POST", "/echo", body=iter([b"a", b"b"]), encode_chunked=True)
        assert connection.getresponse().read().endswith(b" ab")
        connection.request("HEAD", "/a")
        response = connection.getresponse()
        assert (response.headers["Content-Length"], response.read()) == ("5", b"")
        connection.close()

    async def scene(listener: Listener, application: EchoApplication) -> None:
        await asyncio.to_thread(visit, listener.port)
        assert listener.counters.memo_hits == 2

    serve(scene)


def test_pipelined_requests_and_a_refusal() -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        answer = await talk(listener.port, GET * 3 + b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100_000)
        assert [response.status for response in read_responses(answer)] == [200, 200, 200, 400]

    serve(scene)


def test_a_large_stream_arrives_whole_at_a_slow_reader() -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        part = bytes(range(256)) * 1024
        stream = application.streams["/s"] = Stream((part,) * 40, 40 * len(part))
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=4096)
        writer.write(GET.replace(b"/a", b"/s"))
        await reader.readuntil(b"\r\n\r\n")
        assert stream.given < 40, "it waits for the reader"
        received = b"".join([await reader.readexactly(len(part)) for _ in range(40)])
        assert received == part * 40
        writer.write(GET)
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        await writer.wait_closed()

    serve(scene)


def test_drain_stops_accepting_and_ends_what_runs() -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        application.gate = asyncio.Event()
        port = listener.port
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        idle_writer.write(GET)
        await idle_reader.readuntil(b"hello")
        busy = asyncio.create_task(talk(port, GET.replace(b"/a", b"/slow")))
        while not application.answered:
            await asyncio.sleep(0)
        draining = asyncio.create_task(listener.drain(10))
        assert await idle_reader.read() == b"", "the idle one is closed at once"
        idle_writer.close()
        with socket.socket() as late:
            late.setblocking(False)
            assert late.connect_ex(("127.0.0.1", port)) != 0
        assert not draining.done()
        application.gate.set()
        (response,) = read_responses(await busy)
        assert response.closes
        await draining

    serve(scene)


def test_drain_resets_what_does_not_end_in_time() -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        application.gate = asyncio.Event()
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(GET.replace(b"/a", b"/slow"))
        while not application.answered:
            await asyncio.sleep(0)
        await listener.drain(0.01)
        assert listener.open_connections == 0
        writer.close()

    serve(scene)


def test_timeouts_strike_by_themselves() -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET / HT")
        (response,) = read_responses(await reader.read())
        assert response.status == 408
        writer.close()

    serve(scene, HttpLimits(head_timeout_s=0.01))


def test_an_ordinary_client_reads_content_of_unknown_size() -> None:
    part = bytes(range(256)) * 1024

    def visit(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in range(2):
            connection.request("GET", "/s", headers={"TE": "trailers"})
            response = connection.getresponse()
            assert (response.headers["Transfer-Encoding"], response.read()) == ("chunked", part * 8)
        connection.close()

    async def scene(listener: Listener, application: EchoApplication) -> None:
        application.streams["/s"] = Stream((part,) * 8, None, trailers=(("etag", '"a"'),))
        await asyncio.to_thread(visit, listener.port)
        answer = await talk(listener.port, GET.replace(b"/a", b"/s").replace(b"1.1", b"1.0"))
        (response,) = read_responses(answer)
        assert response.content == part * 8

    serve(scene)


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_every_client_sees_that_content_was_cut_off(version: bytes) -> None:
    """Where the content ends with the connection, only a reset says that it did not end."""

    async def scene(listener: Listener, application: EchoApplication) -> None:
        application.streams["/s"] = Stream((b"x" * 1000,) * 3, None, fails=True)
        with pytest.raises(ConnectionResetError):
            await talk(listener.port, GET.replace(b"/a", b"/s").replace(b"1.1", version))

    serve(scene)


def test_a_drain_that_has_no_more_time_cuts_off_visibly() -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        application.streams["/s"] = Stream((b"x" * (1 << 20),) * 40, None)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=4096)
        writer.write(GET.replace(b"/a", b"/s").replace(b"1.1", b"1.0"))
        await reader.readuntil(b"\r\n\r\n")
        await listener.drain(0.01)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(40 << 20)
        writer.close()

    serve(scene)


def test_the_proxy_protocol_on_a_socket() -> None:
    header = b"PROXY TCP4 198.51.100.9 192.0.2.1 1 2\r\n"

    async def scene(listener: Listener, application: EchoApplication) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in header:
            writer.write(bytes([byte]))
            await writer.drain()
        for _ in range(3):
            writer.write(GET)
            await reader.readuntil(b"hello")
        writer.write(GET.replace(b"/a", b"/echo"))
        await reader.readuntil(b"/echo None ")
        writer.close()
        assert [visitor.address for visitor in application.visitors] == ["198.51.100.9"]
        assert listener.counters.memo_hits == 1
        assert await talk(listener.port, GET) == b"", "a proxy that sends no header is left without a word"

    serve(scene, trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),)), proxy_protocol=True)


@pytest.mark.parametrize(("trusted", "client"), [("203.0.113.0/24", "127.0.0.1"), ("127.0.0.0/8", "198.51.100.9")])
def test_a_forwarder_is_believed_when_it_is_trusted(trusted: str, client: str) -> None:
    told = GET.replace(b"/a", b"/echo").replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n")

    async def scene(listener: Listener, application: EchoApplication) -> None:
        await talk(listener.port, told)
        assert [visitor.address for visitor in application.visitors] == [client]

    serve(scene, trusted_proxies=TrustedProxies((ip_network(trusted),)))


def test_an_interim_response_arrives_before_the_answer_is_made() -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        application.gate = asyncio.Event()
        application.interim["/s"] = [(103, (("link", "</a>"),))]
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(GET.replace(b"/a", b"/s"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 103 Early Hints\r\n")
        application.gate.set()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()

    serve(scene)


def test_a_proxy_that_passes_bytes_on_vouches_for_none_of_them() -> None:
    told = GET.replace(b"/a", b"/echo").replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n")

    async def scene(listener: Listener, application: EchoApplication) -> None:
        await talk(listener.port, b"PROXY UNKNOWN\r\n" + told)
        assert [visitor.address for visitor in application.visitors] == ["127.0.0.1"]

    serve(scene, trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),)), proxy_protocol=True)


def test_withdrawn_it_answers_everything_and_says_with_each_answer_that_it_closes() -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        async def visitor(path: bytes) -> bool:
            """Asks again and again until an answer says that it is the last."""
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            try:
                while True:
                    writer.write(b"GET %s HTTP/1.1\r\nHost: a.example\r\n\r\n" % path)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    await reader.readexactly(length)
                    if b"connection: close" in head.lower():
                        return await reader.read() == b""
            finally:
                writer.close()

        visitors = [asyncio.create_task(visitor(path)) for path in (b"/a", b"/a", b"/unknown")]
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", listener.port)
        while listener.counters.memo_hits < 50:
            await asyncio.sleep(0)
        listener.withdraw()
        assert await asyncio.gather(*visitors) == [True, True, True]
        assert await visitor(b"/a"), "one that comes now is answered as well"
        idle_writer.write(GET)
        assert b"connection: close" in await idle_reader.read()
        idle_writer.close()

    serve(scene)


def test_an_answer_that_could_not_say_so_any_more_is_followed_by_one_that_does() -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        gate = asyncio.Event()
        application.streams["/s"] = Stream((b"early", b"late"), None, gate=gate)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET /s HTTP/1.1\r\nHost: a.example\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"connection: close" not in head.lower()
        listener.withdraw()
        draining = asyncio.create_task(listener.drain(20))
        gate.set()
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(GET)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer
        await draining
        writer.close()

    serve(scene)
