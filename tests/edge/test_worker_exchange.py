"""What a visitor of a worker gets is what a visitor of the node itself gets."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from cdn.edge.clocks import Clocks
from cdn.edge.limits import HttpLimits
from cdn.edge.listener import Listener
from cdn.edge.response import Response, Unsent
from tests.edge.engine_application import TEXT, EchoApplication, Stream
from tests.edge.engine_responses import Received, read_responses
from tests.edge.worker_stage import Exchanged, WorkerStage, ask, exchanged, reset, talk, until

LINK = (("link", "</a.css>; rel=preload; as=style"),)
PART = bytes(range(256)) * 1024


class Everything(EchoApplication):
    """An EchoApplication that has one of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.remember("/prepared", b"hello")
        self.remember("/large", b"0123456789" * 20_000)
        self.interim["/interim"] = [(103, LINK), (102, ()), (100, ())]
        self.responses["/empty"] = Response(200, TEXT)
        self.responses["/unsent"] = Response(200, TEXT, Unsent(17))
        self.responses["/unknown"] = Response(200, TEXT, Unsent(None))
        self.responses["/many"] = Response(200, (*TEXT, ("date", "x")), b"1" * 300_000)
        for name, size_bytes in (("/sized", 3 * len(PART)), ("/unsized", None), ("/short", 4 * len(PART))):
            self.streams[name] = Stream((PART, b"", PART, PART), size_bytes)
        self.streams["/trailed"] = Stream((b"a", b"b"), None, trailers=(("x-sum", "1"),))
        self.streams["/huge-part"] = Stream((b"z" * 3_000_000,), 3_000_000)
        self.streams["/breaks"] = Stream((PART, b"b"), None, fails=True)
        self.streams["/breaks-sized"] = Stream((PART, b"b"), 2 * len(PART), fails=True)
        self.streams["/nothing-of-it"] = Stream((), 0)


@pytest.fixture
def application() -> Everything:
    return Everything()


@pytest.fixture
async def stage(application: Everything) -> AsyncIterator[Exchanged]:
    clock = asyncio.get_running_loop().time()
    async with exchanged(application, clocks=Clocks(lambda: clock, lambda: 1_700_000_000.0)) as stage:
        yield stage


@pytest.fixture
async def worker(stage: Exchanged) -> WorkerStage:
    return await stage.add_worker()


@pytest.fixture
async def alone(application: Everything, stage: Exchanged) -> AsyncIterator[Listener]:
    """The same application in one process."""
    clocks = stage.clocks
    listener = await Listener.start(
        "127.0.0.1", 0, application, HttpLimits(), cache_name="edge", monotonic=clocks.monotonic, wall=clocks.wall
    )
    yield listener
    await listener.aclose()


PATHS = (
    *("/prepared", "/large", "/interim", "/empty", "/many", "/sized", "/unsized", "/trailed", "/huge-part"),
    *("/nothing-of-it", "/unread", "/nothing", "/same", "/echo", "/fails", "/splits", "/a%20b?c=d"),
    *("/short", "/breaks", "/breaks-sized"),
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_the_same_bytes_as_without_workers(
    path: str,
    method: str,
    version: str,
    stage: Exchanged,
    worker: WorkerStage,
    alone: Listener,
    application: Everything,
) -> None:
    sent = b"Content-Length: 3\r\n\r\nabc" if method == "POST" else b"\r\n"
    head = f"{method} {path} HTTP/{version}\r\nHost: a.example\r\nTE: trailers\r\nConnection: close\r\n".encode()
    answers: list[list[Received] | None] = []
    for port in (alone.port, worker.port):
        try:
            answers.append(read_responses(await talk(port, head + sent), [method]))
        except ConnectionResetError:
            answers.append(None)
    assert answers[0] == answers[1]
    await stage.idle()
    if path in application.streams:
        assert application.streams[path].closed == 2


async def test_head_gets_what_is_not_there_to_be_sent(worker: WorkerStage) -> None:
    assert (await ask(worker.port, "HEAD /unsent")).fields["content-length"] == "17"
    assert "content-length" not in (await ask(worker.port, "HEAD /unknown")).fields


@pytest.mark.parametrize("fields", ["Range: bytes=0-1", "If-None-Match: *", "If-Modified-Since: x", "If-Range: x"])
async def test_what_is_prepared_does_not_answer_ranges_and_conditions(
    fields: str, worker: WorkerStage, application: Everything
) -> None:
    await ask(worker.port, f"GET /prepared\n{fields}")
    assert (application.recalled, application.answered) == ([], ["/prepared"])


async def test_several_requests_share_a_connection(stage: Exchanged, worker: WorkerStage) -> None:
    raw = b"GET /echo HTTP/1.1\r\nHost: a.example\r\n\r\n"
    upload = b"POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc"
    answer = await talk(worker.port, raw * 5 + upload * 3 + raw)
    assert len(read_responses(answer)) == 9
    assert stage.server.counters.connections == 1
    assert stage.server.counters.asked == 9


async def test_visitor_and_request_arrive_whole(worker: WorkerStage, application: Everything) -> None:
    application.responses["/x"] = Response(200, TEXT, b"x")
    received = await ask(worker.port, "GET /x?y=%20z\nHost: B.example:81\nX-A: caf\xe9\nX-A: 2")
    assert received.status == 200
    assert application.visitors[0].address == "127.0.0.1"
    echoed = await ask(worker.port, "OPTIONS /%C3%A9?q\nHost: B.example:81")
    assert echoed.content == b"OPTIONS b.example /%C3%A9 q "


# Interim responses


async def test_interim_responses_are_sent_at_once(worker: WorkerStage, application: Everything) -> None:
    application.gate = asyncio.Event()
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    writer.write(b"GET /interim HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 103 ")
    application.gate.set()
    rest = read_responses(await reader.read())
    assert [each.status for each in rest] == [102, 200]
    writer.close()


async def test_an_interim_response_that_breaks_out_of_its_line_fails_in_the_application(
    worker: WorkerStage, application: Everything
) -> None:
    application.interim["/echo"] = [(103, (("a", "b\r\nc: d"),))]
    assert (await ask(worker.port, "GET /echo")).status == 500
    assert (await ask(worker.port, "GET /prepared")).status == 200


# Content of requests


async def test_large_content_arrives_whole_and_in_turn(worker: WorkerStage, application: Everything) -> None:
    application.max_content_bytes = 1 << 24
    for content in (PART * 20, b"", b"x" * 65_537):
        received = await ask(worker.port, f"POST /echo\nContent-Length: {len(content)}", content)
        assert received.content.removeprefix(b"POST a.example /echo None ") == content


async def test_chunked_content(worker: WorkerStage) -> None:
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b"ab", PART, b"c")) + b"0\r\n\r\n"
    received = await ask(worker.port, "PUT /echo\nTransfer-Encoding: chunked", chunked)
    assert received.content == b"PUT a.example /echo None ab" + PART + b"c"


async def test_no_more_is_on_its_way_than_the_application_makes_room_for(
    worker: WorkerStage, application: Everything
) -> None:
    """An application that reads nothing for now gets nothing: it stays with the client."""
    application.max_content_bytes = 1 << 24
    application.gate = asyncio.Event()
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    size_bytes = 12 << 20
    writer.write(b"POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % size_bytes)
    sending = asyncio.create_task(_send_all(writer, b"x" * size_bytes))
    await until(lambda: application.answered)
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert not sending.done()
    application.gate.set()
    await sending
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert (await reader.readexactly(size_bytes + 26)).count(b"x") == size_bytes + 1
    writer.close()


async def _send_all(writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(content)
    await writer.drain()


async def test_continue_is_said_when_the_application_wants_content(
    worker: WorkerStage, application: Everything
) -> None:
    application.gate = asyncio.Event()
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    head = b"POST %s HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    writer.write(head % b"/echo")
    await until(lambda: application.answered)
    application.gate.set()
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"abc")
    assert (await reader.readuntil(b"abc")).startswith(b"HTTP/1.1 200 ")
    writer.write(head % b"/unread")
    (unread,) = read_responses(await reader.read())
    assert (unread.status, unread.closes) == (405, True), "nobody asked for it"
    writer.close()


async def test_content_that_nobody_reads_is_thrown_away(
    stage: Exchanged, worker: WorkerStage, application: Everything
) -> None:
    one = b"POST /unread HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    answers = read_responses(await talk(worker.port, one * 3))
    assert [each.status for each in answers] == [405] * 3
    assert stage.server.counters.connections == 1


async def test_content_larger_than_the_application_takes(stage: Exchanged, worker: WorkerStage) -> None:
    received = await ask(worker.port, f"POST /echo\nContent-Length: {2 << 20}", b"x" * (2 << 20))
    assert received.status == 413
    await stage.idle()
    assert (await ask(worker.port, "POST /echo\nContent-Length: 3", b"abc")).content.endswith(b" abc")


async def test_content_that_breaks_off(stage: Exchanged, worker: WorkerStage, application: Everything) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    writer.write(b"POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    await until(lambda: application.answered)
    writer.write(b"no chunk\r\n")
    assert read_responses(await reader.read())[0].status == 400
    writer.close()
    await stage.idle()


async def test_a_response_before_the_content_was_read_to_its_end(
    stage: Exchanged, worker: WorkerStage, application: Everything
) -> None:
    """The rest is thrown away, and the next request is not confused by it."""

    class Early(Everything):
        async def answer(self, request, content, visitor):  # type: ignore[no-untyped-def]
            if request.method == "POST":
                async for _ in content:
                    return Response(200, TEXT, b"enough")
            return await super().answer(request, content, visitor)

    stage.server.application = Early()
    one = b"POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
    answers = read_responses(await talk(worker.port, (one + b"GET /echo HTTP/1.1\r\nHost: a.example\r\n\r\n") * 3))
    assert [each.content for each in answers] == [b"enough", b"GET a.example /echo None "] * 3


# Streams, and who leaves


async def test_a_slow_visitor_holds_the_stream_back(
    stage: Exchanged, worker: WorkerStage, application: Everything
) -> None:
    stream = application.streams["/slow"] = Stream((PART,) * 100, 100 * len(PART))
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port, limit=4096)
    writer.write(b"GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    for _ in range(50):
        await asyncio.sleep(0.002)
    assert stream.given < 100
    received = b"".join([await reader.readexactly(len(PART)) for _ in range(100)])
    assert received == PART * 100
    await stage.idle()
    assert stream.closed == 1
    assert worker.application.open_connections == 1
    writer.write(b"GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("size_bytes", [100 * len(PART), None])
async def test_a_visitor_who_leaves_in_the_middle(
    size_bytes: int | None, stage: Exchanged, worker: WorkerStage, application: Everything
) -> None:
    stream = application.streams["/slow"] = Stream((PART,) * 100, size_bytes)
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port, limit=4096)
    writer.write(b"GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    reset(writer)
    await stage.idle()
    assert stream.closed == 1
    assert stream.given < 100
    assert stage.server.counters.cancelled == 1
    await until(lambda: stage.server.open_connections == 0)


async def test_a_visitor_who_leaves_before_the_answer(
    stage: Exchanged, worker: WorkerStage, application: Everything
) -> None:
    application.gate = asyncio.Event()
    for sent in (
        b"GET /echo HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", worker.port)
        writer.write(sent)
        await until(lambda: stage.server.under_way)
        reset(writer)
        await stage.idle()
    assert application.cancelled == ["/echo", "/echo"]


async def test_a_visitor_who_leaves_while_the_content_is_closed(
    stage: Exchanged, worker: WorkerStage, application: Everything
) -> None:
    """It is closed to its end, once."""
    gate = asyncio.Event()

    class Reluctant(Stream):
        ended = 0

        async def aclose(self) -> None:
            self.closed += 1
            await gate.wait()
            self.ended += 1

    stream = application.streams["/s"] = Reluctant((PART,) * 100, None)
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port, limit=4096)
    writer.write(b"GET /s HTTP/1.1\r\nHost: a.example\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    reset(writer)
    await until(lambda: stream.closed)
    closing = asyncio.create_task(stage.server.aclose())
    await asyncio.sleep(0.01)
    gate.set()
    await closing
    assert (stream.closed, stream.ended) == (1, 1)


async def test_the_node_dies_in_the_middle(stage: Exchanged, worker: WorkerStage, application: Everything) -> None:
    stream = application.streams["/slow"] = Stream((PART,) * 100, None)
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port, limit=4096)
    writer.write(b"GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await stage.server.aclose()
    with pytest.raises(ConnectionResetError):
        await reader.read(-1)
    writer.close()
    assert stream.closed == 1
    gone = await ask(worker.port, "GET /echo")
    assert (gone.status, gone.fields["cache-status"]) == (503, "edge; detail=node-away")
    await stage.server.start(stage.path)
    assert (await ask(worker.port, "GET /echo")).status == 200


async def test_the_node_dies_before_it_answered(stage: Exchanged, worker: WorkerStage, application: Everything) -> None:
    application.gate = asyncio.Event()
    asked = asyncio.create_task(ask(worker.port, "POST /echo\nContent-Length: 3", b"abc"))
    await until(lambda: application.answered)
    await stage.server.aclose()
    assert (await asked).status == 503
    assert application.cancelled == ["/echo"]


async def test_no_more_than_so_many_at_one_time(stage: Exchanged, application: Everything) -> None:
    application.gate = asyncio.Event()
    worker = await stage.add_worker(max_exchanges=4, max_idle=1)
    running = [asyncio.create_task(ask(worker.port, "GET /echo")) for _ in range(2)]
    await until(lambda: stage.server.under_way == 2)
    busy = await ask(worker.port, "GET /echo")
    assert (busy.status, busy.fields["cache-status"]) == (503, "edge; detail=too-many-exchanges")
    assert worker.application.counters.busy == 1
    application.gate.set()
    assert [(await each).status for each in running] == [200, 200]
    await until(lambda: stage.server.open_connections == 1)
    assert (await ask(worker.port, "GET /echo")).status == 200


async def test_a_node_that_has_no_room_for_another_connection(application: Everything) -> None:
    application.gate = asyncio.Event()
    async with exchanged(application, max_connections=1) as stage:
        worker = await stage.add_worker()
        running = asyncio.create_task(ask(worker.port, "GET /echo"))
        await until(lambda: stage.server.under_way)
        assert (await ask(worker.port, "GET /echo")).status == 503
        assert stage.server.counters.refused == 1
        application.gate.set()
        assert (await running).status == 200


async def test_many_at_once(stage: Exchanged, worker: WorkerStage) -> None:
    answers = await asyncio.gather(*(ask(worker.port, f"GET /echo?{number}") for number in range(200)))
    assert [each.content for each in answers] == [b"GET a.example /echo %d " % number for number in range(200)]
    assert worker.application.under_way == 0
    assert worker.application.open_connections <= 64


SCENES = (
    test_several_requests_share_a_connection,
    test_interim_responses_are_sent_at_once,
    test_large_content_arrives_whole_and_in_turn,
    test_no_more_is_on_its_way_than_the_application_makes_room_for,
    test_continue_is_said_when_the_application_wants_content,
    test_content_larger_than_the_application_takes,
    test_a_response_before_the_content_was_read_to_its_end,
    test_a_slow_visitor_holds_the_stream_back,
    test_a_visitor_who_leaves_before_the_answer,
    test_a_visitor_who_leaves_while_the_content_is_closed,
    test_the_node_dies_in_the_middle,
    test_the_node_dies_before_it_answered,
    test_no_more_than_so_many_at_one_time,
    test_many_at_once,
)


@pytest.mark.parametrize("scene", SCENES)
def test_on_the_loop_of_a_node(scene: Callable[..., Awaitable[None]]) -> None:
    async def play() -> None:
        application = Everything()
        async with exchanged(application) as stage:
            given = {"application": application, "stage": stage, "worker": await stage.add_worker()}
            await scene(**{name: given[name] for name in inspect.signature(scene).parameters})

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())
