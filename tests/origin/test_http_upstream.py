"""HTTP servers as upstreams, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from cdn.http.response_head import ResponseHead
from cdn.origin.outbound import OutboundRule
from cdn.origin.upstream import UpstreamBroken, UpstreamFault, UpstreamRequest, UpstreamResponse, UpstreamTimeouts
from cdn.origin.upstream_limits import UpstreamLimits
from cdn.origin.upstreams import Upstreams
from tests.origin.response_bytes import BAD_CHUNKS, BAD_HEADS, CHUNKED, LENGTH, OK, UNTIL_CLOSE
from tests.origin.scripted_server import AUTHORITY, Peer, ScriptedServer, answering, serving, serving_elsewhere

QUICK = UpstreamTimeouts(connect_s=0.3, read_s=0.3)
PATIENT = UpstreamTimeouts(connect_s=10, read_s=10)
HOST = ("host", "www.example")
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"


def get(target: str = "/", *fields: tuple[str, str]) -> UpstreamRequest:
    return UpstreamRequest("GET", target, (HOST, *fields))


def ignore(head: ResponseHead) -> None:
    del head


async def read(response: UpstreamResponse) -> bytes:
    return b"".join([part async for part in response.content])


async def parts_of(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    made = Upstreams(OutboundRule(allows_private=True))
    yield made
    await made.aclose()
    assert made.open_connections == 0


async def ask(
    upstreams: Upstreams,
    server: ScriptedServer,
    request: UpstreamRequest | None = None,
    timeouts: UpstreamTimeouts = PATIENT,
    on_interim: Callable[[ResponseHead], None] = ignore,
) -> tuple[int, bytes]:
    response = await upstreams.of(server.origin, timeouts).send(request or get(), on_interim)
    return response.head.status, await read(response)


async def fault_of(
    upstreams: Upstreams,
    server: ScriptedServer,
    request: UpstreamRequest | None = None,
    timeouts: UpstreamTimeouts = PATIENT,
) -> UpstreamFault:
    with pytest.raises(UpstreamBroken) as broken:
        await ask(upstreams, server, request, timeouts)
    return broken.value.fault


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_response_comes_as_it_was_sent(upstreams: Upstreams) -> None:
    answer = (
        b"HTTP/1.1 302 Found\r\nLOCATION: /b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=\xff\r\nContent-Length: 2\r\n\r\nhi"
    )
    async with serving(answering(answer)) as server:
        response = await upstreams.of(server.origin, PATIENT).send(get(), ignore)
        assert response.head.status == 302
        assert response.head.fields.lines == (
            ("location", "/b"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=\xff"),
            ("content-length", "2"),
        )
        assert response.content.size_bytes == 2
        assert await read(response) == b"hi"
        assert await ask(upstreams, server) == (302, b"hi")
        assert server.accepted == 1


async def test_a_request_is_sent_as_it_was_given(upstreams: Upstreams) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            heads.append(await peer.head())
            await peer.say(HELLO)

    async with serving(script) as server:
        fields = (("x-a", "b\xff"), ("Expect", "100-continue"), ("Content-Length", "7"), ("connection", "x-a"))
        await ask(upstreams, server, get("/a?b=c", *fields))
        await ask(upstreams, server, UpstreamRequest("POST", "/", (HOST, ("te", "trailers"))))
        await ask(upstreams, server, UpstreamRequest("OPTIONS", "*", (HOST,)))
    assert heads[0] == b"GET /a?b=c HTTP/1.1\r\nhost: www.example\r\nx-a: b\xff\r\n\r\n"
    assert heads[1] == (
        b"POST / HTTP/1.1\r\nhost: www.example\r\nte: trailers\r\nconnection: TE\r\ncontent-length: 0\r\n\r\n"
    )
    assert heads[2] == b"OPTIONS * HTTP/1.1\r\nhost: www.example\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        UpstreamRequest("GET", "/a b", (HOST,)),
        UpstreamRequest("GET", "/a\r\nX: y", (HOST,)),
        UpstreamRequest("GET", "http://other.example/", (HOST,)),
        UpstreamRequest("GET", "", (HOST,)),
        UpstreamRequest("GET /x HTTP/1.1\r\n", "/", (HOST,)),
        UpstreamRequest("GET", "/", (HOST, ("a", "b\r\nc: d"))),
        UpstreamRequest("GET", "/", (HOST, ("a", "b\0"))),
        UpstreamRequest("GET", "/", (HOST, ("a", "\u2028"))),
        UpstreamRequest("GET", "/", (HOST, ("a b", "c"))),
        UpstreamRequest("GET", "/", (HOST, ("a\n", "c"))),
        UpstreamRequest("GET", "/", ()),
        UpstreamRequest("GET", "/", (HOST, ("Host", "b.example"))),
        UpstreamRequest("GET\n", "/", (HOST,)),
        UpstreamRequest("GET", "/\n", (HOST,)),
    ],
)
async def test_what_could_be_read_as_two_requests_is_not_sent(upstreams: Upstreams, request_: UpstreamRequest) -> None:
    async with serving(answering(HELLO)) as server:
        assert await fault_of(upstreams, server, request_) is UpstreamFault.BAD_REQUEST
        assert server.accepted == 0


async def test_interim_responses_come_before_the_final_one(upstreams: Upstreams) -> None:
    told: list[ResponseHead] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        await settled(lambda: len(told) == 1)
        await peer.say(b"HTTP/1.1 102 Processing\r\n\r\n" + HELLO)
        await peer.until_closed()

    async with serving(script) as server:
        assert await ask(upstreams, server, on_interim=told.append) == (200, b"hello")
    assert [head.status for head in told] == [103, 102]
    assert told[0].fields.get("link") == "</a.css>"


async def test_what_the_listener_of_interim_responses_raises_comes_out(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await peer.until_closed()

    def fail(head: ResponseHead) -> None:
        raise KeyError(head.status)

    async with serving(script) as server:
        with pytest.raises(KeyError):
            await ask(upstreams, server, on_interim=fail)
        assert upstreams.open_connections == 0


async def test_trailers_are_known_at_the_end(upstreams: Upstreams) -> None:
    async with serving(answering(OK + CHUNKED + b"\r\n3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n")) as server:
        response = await upstreams.of(server.origin, PATIENT).send(get(), ignore)
        assert response.content.size_bytes is None
        assert not response.content.trailers
        assert await read(response) == b"abc"
        assert response.content.trailers == (("x-sum", "9"),)
        assert upstreams.idle_connections == 1


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", OK + LENGTH + b"\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'),
    ],
)
async def test_a_response_without_content_gives_its_connection_back_at_once(
    upstreams: Upstreams, method: str, answer: bytes
) -> None:
    async with serving(answering(answer)) as server:
        response = await upstreams.of(server.origin, PATIENT).send(UpstreamRequest(method, "/", (HOST,)), ignore)
        assert upstreams.idle_connections == 1
        assert response.content.size_bytes == 0
        assert await read(response) == b""
        await response.content.aclose()


@pytest.mark.parametrize("name", BAD_HEADS)
async def test_bad_heads_are_faults(upstreams: Upstreams, name: str) -> None:
    data, fault = BAD_HEADS[name]

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(data)
        await peer.until_closed()

    async with serving(script) as server:
        assert await fault_of(upstreams, server) is fault
        assert upstreams.open_connections == 0


@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_bad_chunks_are_faults(upstreams: Upstreams, name: str) -> None:
    async with serving(answering(OK + CHUNKED + b"\r\n" + BAD_CHUNKS[name])) as server:
        assert await fault_of(upstreams, server) is UpstreamFault.MALFORMED_CONTENT
        assert upstreams.open_connections == 0


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", ["length", "chunked", "until close"])
def test_a_response_that_is_cut_at_any_offset_is_broken(
    name: str, scheme: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(cut_at_every_offset(name, scheme))


async def cut_at_every_offset(name: str, scheme: str) -> None:
    """The close of plain HTTP is clean and only ends what has no length; over TLS it comes without close_notify."""
    whole = {
        "length": b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nA: b\r\n\r\n12345678",
        "chunked": OK + CHUNKED + b"\r\n4\r\n1234\r\n4;x\r\n5678\r\n0\r\na: b\r\n\r\n",
        "until close": b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n12345678",
    }[name]
    head_bytes = whole.index(b"\r\n\r\n") + 4

    async def script(peer: Peer) -> None:
        head = await peer.head()
        peer.writer.write(whole[: int(head.split()[1][1:])])
        peer.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        await peer.until_closed()

    upstreams = upstreams_for(scheme)
    with serving_elsewhere(script, scheme) as server:
        upstream = upstreams.of(server.origin, UpstreamTimeouts(read_s=10, retries=0))
        for length in range(len(whole) + (name == "until close")):
            if name == "until close" and scheme == "http" and length >= head_bytes:
                assert await read(await upstream.send(get(f"/{length}"), ignore)) == whole[head_bytes:length]
                continue
            with pytest.raises(UpstreamBroken) as broken:
                await read(await upstream.send(get(f"/{length}"), ignore))
            assert broken.value.fault is UpstreamFault.CLOSED_EARLY, length
        assert upstreams.open_connections == 0
    await upstreams.aclose()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_over_tls_content_until_close_is_whole_after_close_notify(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(UNTIL_CLOSE["HTTP/1.1"])

    async def run() -> None:
        upstreams = upstreams_for("https")
        with serving_elsewhere(script, "https") as server:
            for _ in range(5):
                assert await ask(upstreams, server) == (200, b"abc")
        await upstreams.aclose()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def upstreams_for(scheme: str) -> Upstreams:
    return Upstreams(OutboundRule(allows_private=True), extra_ca_file=AUTHORITY if scheme == "https" else None)


@pytest.mark.parametrize("name", UNTIL_CLOSE)
async def test_content_until_close_is_whole_after_a_clean_close(upstreams: Upstreams, name: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(UNTIL_CLOSE[name])

    async with serving(script) as server:
        assert await ask(upstreams, server) == (200, b"abc")
        assert upstreams.open_connections == 0


async def test_content_until_close_is_broken_by_a_reset(upstreams: Upstreams) -> None:
    was_read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(UNTIL_CLOSE["HTTP/1.1"])
        await was_read.wait()
        linger = struct.pack("ii", 1, 0)  # a close is a reset then
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        peer.writer.transport.abort()

    async with serving(script) as server:
        response = await upstreams.of(server.origin, PATIENT).send(get(), ignore)
        parts = aiter(response.content)
        assert await anext(parts) == b"abc"
        was_read.set()
        with pytest.raises(UpstreamBroken) as broken:
            await anext(parts)
        assert broken.value.fault is UpstreamFault.CLOSED_EARLY
        assert upstreams.open_connections == 0


@pytest.mark.parametrize("extra", [b"\r\n", b"x", HELLO])
async def test_bytes_behind_a_response_cost_the_connection(upstreams: Upstreams, extra: bytes) -> None:
    async with serving(answering(HELLO + extra)) as server:
        for expected in (1, 2):
            assert await ask(upstreams, server) == (200, b"hello")
            assert upstreams.open_connections == 0
            assert server.accepted == expected


async def test_bytes_that_come_later_cost_it_too(upstreams: Upstreams) -> None:
    may_speak = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(HELLO)
        await may_speak.wait()
        await peer.say(OK + b"Content-Length: 4\r\n\r\nevil")
        await peer.until_closed()

    async with serving(script) as server:
        assert await ask(upstreams, server) == (200, b"hello")
        assert upstreams.idle_connections == 1
        may_speak.set()
        await settled(lambda: upstreams.open_connections == 0)
        assert await ask(upstreams, server) == (200, b"hello")


async def test_who_speaks_before_being_asked_is_not_understood(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"220 mail.example ESMTP\r\n")
        await peer.until_closed()

    async with serving(script) as server:
        assert await fault_of(upstreams, server) is UpstreamFault.MALFORMED_HEAD


@pytest.mark.parametrize("line", [b"Connection: close\r\n", b"Connection: Keep-Alive, Close\r\n"])
async def test_a_connection_that_is_to_be_closed_is_not_kept(upstreams: Upstreams, line: bytes) -> None:
    async with serving(answering(OK + line + b"Content-Length: 5\r\n\r\nhello")) as server:
        assert await ask(upstreams, server) == (200, b"hello")
        assert upstreams.open_connections == 0


async def test_a_head_that_dribbles_runs_into_the_timeout(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK)
        while True:
            await peer.say(b"A: b\r\n")
            await asyncio.sleep(0.02)

    async with serving(script) as server:
        assert await fault_of(upstreams, server, timeouts=QUICK) is UpstreamFault.READ_TIMEOUT
        assert upstreams.open_connections == 0


@pytest.mark.parametrize("sent", [b"", OK, OK + LENGTH + b"\r\nab", OK + CHUNKED + b"\r\n3\r\nabc\r\n"])
async def test_silence_runs_into_the_timeout(upstreams: Upstreams, sent: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(sent)
        await peer.until_closed()

    async with serving(script) as server:
        assert await fault_of(upstreams, server, timeouts=QUICK) is UpstreamFault.READ_TIMEOUT
        assert upstreams.open_connections == 0


async def test_a_slow_reader_is_no_silence_of_the_upstream(upstreams: Upstreams) -> None:
    async with serving(answering(HELLO)) as server:
        response = await upstreams.of(server.origin, UpstreamTimeouts(read_s=0.1)).send(get(), ignore)
        await asyncio.sleep(0.25)
        assert await read(response) == b"hello"


async def test_a_hundred_megabytes_of_fields_are_refused_early(upstreams: Upstreams) -> None:
    sent_bytes = 0

    async def script(peer: Peer) -> None:
        nonlocal sent_bytes
        await peer.head()
        await peer.say(OK)
        line = b"A: " + b"b" * 1000 + b"\r\n"
        for _ in range(100):
            await peer.say(line * 1000)
            sent_bytes += len(line) * 1000

    async with serving(script) as server:
        assert await fault_of(upstreams, server) is UpstreamFault.HEAD_TOO_LARGE
        await server.left.acquire()
        assert sent_bytes < 20_000_000


async def test_interim_responses_without_end_are_refused(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        while True:
            await peer.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 10)

    async with serving(script) as server:
        assert await fault_of(upstreams, server) is UpstreamFault.TOO_MANY_INTERIM
        await server.left.acquire()


@pytest.mark.parametrize("size_bytes", [11, None])
async def test_request_content_is_streamed(upstreams: Upstreams, size_bytes: int | None) -> None:
    may_go_on = asyncio.Event()
    received: list[bytes] = []

    async def script(peer: Peer) -> None:
        head = await peer.head()
        received.append(head)
        first = b"hello " if size_bytes else b"6\r\nhello \r\n"
        received.append(await peer.reader.readexactly(len(first)))
        may_go_on.set()
        rest = b"world" if size_bytes else b"5\r\nworld\r\n0\r\n\r\n"
        received.append(await peer.reader.readexactly(len(rest)))
        await peer.say(HELLO)
        await peer.until_closed()

    async def content() -> AsyncIterator[bytes]:
        yield b"hello "
        await may_go_on.wait()
        yield b""
        yield b"world"

    async with serving(script) as server:
        request = UpstreamRequest("POST", "/", (HOST,), content(), size_bytes)
        assert await ask(upstreams, server, request) == (200, b"hello")
        assert upstreams.idle_connections == 1
    line = b"content-length: 11" if size_bytes else b"transfer-encoding: chunked"
    assert received[0].endswith(b"host: www.example\r\n" + line + b"\r\n\r\n")
    assert b"".join(received[1:]) == (b"hello world" if size_bytes else b"6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n")


async def test_an_answer_may_come_before_the_request_content_is_sent(upstreams: Upstreams) -> None:
    asked = asyncio.Event()
    is_closed = False

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 413 Too Large\r\n" + LENGTH + b"\r\nabc")
        await peer.until_closed()

    async def content() -> AsyncIterator[bytes]:
        nonlocal is_closed
        try:
            yield b"begin"
            asked.set()
            await asyncio.Event().wait()
        finally:
            is_closed = True

    async with serving(script) as server:
        before = asyncio.all_tasks()
        response = await upstreams.of(server.origin, PATIENT).send(
            UpstreamRequest("POST", "/", (HOST,), content(), 1000), ignore
        )
        await asked.wait()
        assert response.head.status == 413
        assert await read(response) == b"abc"
        assert is_closed
        assert upstreams.open_connections == 0
        await settled(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})


async def test_an_upstream_that_closes_during_the_request_may_have_answered(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n" + LENGTH + b"\r\nabc")
        peer.writer.write_eof()
        await peer.until_closed()

    async def content() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0)

    async with serving(script) as server:
        request = UpstreamRequest("PUT", "/", (HOST,), content())
        assert await ask(upstreams, server, request) == (403, b"abc")


async def test_a_fault_of_the_request_content_comes_out_as_it_is(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.until_closed()

    async def content() -> AsyncIterator[bytes]:
        yield b"begin"
        raise LookupError("the client has left")

    async with serving(script) as server:
        with pytest.raises(LookupError):
            await ask(upstreams, server, UpstreamRequest("POST", "/", (HOST,), content()))
        assert upstreams.open_connections == 0
        await server.left.acquire()


@pytest.mark.parametrize("parts", [(b"abc",), (b"abc", b"def"), ()])
async def test_content_of_another_length_than_announced_is_not_sent_whole(
    upstreams: Upstreams, parts: tuple[bytes, ...]
) -> None:
    received = b""

    async def script(peer: Peer) -> None:
        nonlocal received
        await peer.head()
        received = await peer.until_closed()

    async with serving(script) as server:
        request = UpstreamRequest("POST", "/", (HOST,), parts_of(*parts), 5)
        assert await fault_of(upstreams, server, request) is UpstreamFault.BAD_REQUEST
        await server.left.acquire()
        assert len(received) < 5


async def test_an_upstream_that_takes_no_content_stops_who_sends_it(upstreams: Upstreams) -> None:
    produced_bytes = 0

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async def content() -> AsyncIterator[bytes]:
        nonlocal produced_bytes
        while True:
            produced_bytes += 65_536
            yield bytes(65_536)

    async with serving(script) as server:
        request = UpstreamRequest("POST", "/", (HOST,), content())
        assert await fault_of(upstreams, server, request, QUICK) is UpstreamFault.WRITE_TIMEOUT
        assert produced_bytes < 32_000_000
        assert upstreams.open_connections == 0


async def test_an_upstream_is_not_read_from_while_nobody_reads(upstreams: Upstreams) -> None:
    sent_bytes = 0
    is_stuck = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal sent_bytes
        await peer.head()
        await peer.say(OK + b"Content-Length: 200000000\r\n\r\n")
        for _ in range(200):
            try:
                async with asyncio.timeout(0.5):
                    await peer.say(bytes(1_000_000))
            except TimeoutError:
                is_stuck.set()
                return
            sent_bytes += 1_000_000

    async with serving(script) as server:
        response = await upstreams.of(server.origin, PATIENT).send(get(), ignore)
        async with asyncio.timeout(20):
            await is_stuck.wait()
        assert sent_bytes < 32_000_000
        await response.content.aclose()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("place", ["head", "content of the request", "content of the response"])
async def test_cancellation_leaves_nothing_behind(upstreams: Upstreams, place: str) -> None:
    reached = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        if place == "content of the response":
            await peer.say(OK + LENGTH + b"\r\na")
        else:
            reached.set()
        await peer.until_closed()

    async def content() -> AsyncIterator[bytes]:
        yield b"begin"
        await asyncio.Event().wait()

    async def reading(server: ScriptedServer, request: UpstreamRequest) -> None:
        response = await upstreams.of(server.origin, PATIENT).send(request, ignore)
        async for _ in response.content:
            reached.set()

    async with serving(script) as server:
        before = asyncio.all_tasks(), descriptors()
        request = get() if place != "content of the request" else UpstreamRequest("PUT", "/", (HOST,), content())
        asking = asyncio.create_task(reading(server, request))
        await reached.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert upstreams.open_connections == 0
        await settled(lambda: descriptors() == before[1])
        await settled(lambda: asyncio.all_tasks() <= before[0] | {asyncio.current_task()})


async def test_content_is_closed_early_without_a_trace(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK + b"Content-Length: 1000000000\r\n\r\n")
        while True:
            await peer.say(bytes(100_000))

    async with serving(script) as server:
        before = descriptors()
        response = await upstreams.of(server.origin, PATIENT).send(get(), ignore)
        assert await anext(aiter(response.content))
        await response.content.aclose()
        await response.content.aclose()
        await server.left.acquire()
        await settled(lambda: descriptors() == before)
        with pytest.raises(UpstreamBroken):
            await read(response)


async def test_content_whose_every_byte_was_read_is_whole_when_closed(upstreams: Upstreams) -> None:
    async with serving(answering(HELLO)) as server:
        response = await upstreams.of(server.origin, PATIENT).send(get(), ignore)
        assert await anext(aiter(response.content)) == b"hello"
        await response.content.aclose()
        assert upstreams.idle_connections == 1
        assert await read(response) == b""


async def test_a_kept_connection_that_was_closed_is_replaced(upstreams: Upstreams) -> None:
    """The server closes right when the second request comes: nobody can see that before."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(HELLO)
        if peer.number == 0:
            await peer.head()
            return
        await peer.until_closed()

    async with serving(script) as server:
        none = UpstreamTimeouts(retries=0)
        assert await ask(upstreams, server, timeouts=none) == (200, b"hello")
        assert await ask(upstreams, server, timeouts=none) == (200, b"hello")
        assert server.accepted == 2


@pytest.mark.parametrize(
    "request_",
    [UpstreamRequest("POST", "/", (HOST,)), UpstreamRequest("BREW", "/", (HOST,))],
    ids=lambda request: request.method,
)
async def test_what_may_not_be_done_twice_is_not_sent_twice(upstreams: Upstreams, request_: UpstreamRequest) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(HELLO)
        await peer.head()

    async with serving(script) as server:
        await ask(upstreams, server)
        assert await fault_of(upstreams, server, request_) is UpstreamFault.CLOSED_EARLY
        assert server.accepted == 1


async def test_content_is_never_sent_twice(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()

    async with serving(script) as server:
        request = UpstreamRequest("PUT", "/", (HOST,), parts_of(b"abc"), 3)
        assert await fault_of(upstreams, server, request) is UpstreamFault.CLOSED_EARLY
        assert server.accepted == 1


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_an_unanswered_request_is_sent_again_as_often_as_allowed(upstreams: Upstreams, retries: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()

    async with serving(script) as server:
        timeouts = UpstreamTimeouts(retries=retries)
        assert await fault_of(upstreams, server, timeouts=timeouts) is UpstreamFault.CLOSED_EARLY
        assert server.accepted == 1 + retries


async def test_an_answer_that_has_begun_is_not_asked_for_again(upstreams: Upstreams) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"H")

    async with serving(script) as server:
        assert await fault_of(upstreams, server) is UpstreamFault.CLOSED_EARLY
        assert server.accepted == 1


async def test_a_refused_connection_is_a_fault(upstreams: Upstreams) -> None:
    async with serving(answering(HELLO)) as server:
        pass
    assert await fault_of(upstreams, server) is UpstreamFault.CONNECT_REFUSED


async def test_requests_wait_for_a_connection_in_turn() -> None:
    limits = UpstreamLimits(max_connections_per_upstream=1, max_waiting=2)
    upstreams = Upstreams(OutboundRule(allows_private=True), limits)
    async with serving(answering(HELLO)) as server:
        first = await upstreams.of(server.origin, PATIENT).send(get(), ignore)
        waiting = [asyncio.create_task(ask(upstreams, server)) for _ in range(2)]
        await asyncio.sleep(0)
        assert await fault_of(upstreams, server) is UpstreamFault.TOO_MANY_CONNECTIONS  # at once: the queue is full
        assert await read(first) == b"hello"
        assert await asyncio.gather(*waiting) == [(200, b"hello")] * 2
        assert server.accepted == 1
        held = await upstreams.of(server.origin, PATIENT).send(get(), ignore)
        assert await fault_of(upstreams, server, timeouts=QUICK) is UpstreamFault.TOO_MANY_CONNECTIONS
        await held.content.aclose()
        assert await ask(upstreams, server) == (200, b"hello")
    await upstreams.aclose()


async def test_nothing_is_sent_after_the_end() -> None:
    upstreams = Upstreams(OutboundRule(allows_private=True))
    async with serving(answering(OK + LENGTH + b"\r\na")) as server:
        response = await upstreams.of(server.origin, PATIENT).send(get(), ignore)
        await upstreams.aclose()
        with pytest.raises(UpstreamBroken) as broken:
            await read(response)
        assert broken.value.fault is UpstreamFault.CLOSED_EARLY
        assert await fault_of(upstreams, server) is UpstreamFault.CLOSED


async def test_many_requests_at_once_share_few_connections() -> None:
    upstreams = Upstreams(OutboundRule(allows_private=True), UpstreamLimits(max_connections_per_upstream=4))
    async with serving(answering(HELLO)) as server:
        answers = await asyncio.gather(*(ask(upstreams, server) for _ in range(200)))
        assert answers == [(200, b"hello")] * 200
        assert server.accepted <= 4
    await upstreams.aclose()


async def test_after_a_kept_connection_that_died_comes_a_new_one(upstreams: Upstreams) -> None:
    """Where one died, the others may be about to."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say(HELLO)
        if peer.number < 2:
            await peer.head()
            return
        await peer.until_closed()

    async with serving(script) as server:
        held = [await upstreams.of(server.origin, PATIENT).send(get(), ignore) for _ in range(2)]
        assert [await read(response) for response in held] == [b"hello"] * 2
        assert await ask(upstreams, server, timeouts=UpstreamTimeouts(retries=0)) == (200, b"hello")
        assert (server.accepted, upstreams.idle_connections) == (3, 2)


async def test_what_may_not_be_done_twice_takes_no_connection_that_was_idle_for_long(
    upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(answering(HELLO)) as server:
        await ask(upstreams, server)
        await ask(upstreams, server, UpstreamRequest("POST", "/", (HOST,)))
        assert server.accepted == 1
        monkeypatch.setattr("cdn.origin.http_upstream.SURE_IDLE_S", 0.0)
        await ask(upstreams, server)
        assert server.accepted == 1
        await ask(upstreams, server, UpstreamRequest("POST", "/", (HOST,)))
        assert server.accepted == 2
