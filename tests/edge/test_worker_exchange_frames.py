"""The connection between a worker and its node: frames however they are cut, places, and the socket itself."""

from __future__ import annotations

import asyncio
import math
import socket
import stat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.edge.prepared import Prepared
from cdn.edge.pull_memory import PullMemory
from cdn.edge.recall import BundlePlace, Recall
from cdn.edge.response import Response
from cdn.edge.worker_ask import (
    Ask,
    End,
    Lent,
    Streamed,
    Whole,
    ask_of,
    decode_from_node,
    decode_from_worker,
    encode,
    request_of,
)
from cdn.edge.worker_asking import MAX_WAITING_BYTES, Asking
from cdn.edge.worker_channel import Channel
from cdn.edge.worker_exchange import ExchangeServer
from cdn.edge.worker_frames import FrameFault, encode_frame_head, encode_message_frame
from cdn.errors import InvalidInput
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.journal.record import SiteCreated, SiteRemoved
from tests.edge.engine_application import TEXT, EchoApplication
from tests.edge.engine_transport import RecordingTransport
from tests.edge.pull_stage import NoContent
from tests.edge.worker_stage import NoHints, WorkerStage, ask, exchanged, record_of, socket_folder, until

FRAMES = st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=6)


class Heard:
    """A Receiver that remembers."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.content = b""
        self.ended = 0

    def message_came(self, raw: bytes) -> None:
        self.messages.append(raw)

    def content_came(self, part: bytes) -> None:
        self.content += part

    def gone(self) -> None:
        self.ended += 1


@given(FRAMES, st.lists(st.integers(1, 50), max_size=30))
def test_frames_however_they_are_cut(frames: list[tuple[bool, bytes]], cuts: list[int]) -> None:
    wire = b"".join(encode_frame_head(len(each), is_content=is_content) + each for is_content, each in frames)
    heard = Heard()
    channel = Channel(heard)
    for size in (*cuts, len(wire) or 1):
        channel.data_received(wire[:size])
        wire = wire[size:]
    assert heard.messages == [each for is_content, each in frames if not is_content]
    assert heard.content == b"".join(each for is_content, each in frames if is_content)


@pytest.mark.parametrize("wire", [b"\x07\0\0\0\1x", b"\x01\xff\xff\xff\xff", b"\0\xff\xff\xff\xff"])
def test_what_is_no_frame_ends_the_connection(wire: bytes, caplog: pytest.LogCaptureFixture) -> None:
    channel = Channel(Heard())
    transport = RecordingTransport()
    channel.connection_made(transport)
    channel.data_received(wire)
    assert transport.is_closing()
    assert "is given up" in caplog.text


def test_what_is_no_message() -> None:
    for decode in (decode_from_node, decode_from_worker):
        for raw in (b"", b"\xc1", encode([99]), encode("x")):
            with pytest.raises(FrameFault):
                decode(raw)


def test_a_request_goes_over_whole() -> None:
    target = Target("/%C3%A9", "a=b", "/\xe9")
    request = Request("GET", target, "a.example", 81, Fields((("x-a", "caf\xe9"), ("x-a", "2"))), "https")
    asked = decode_from_worker(encode(ask_of(request, None, "192.0.2.1")))
    assert isinstance(asked, Ask)
    assert request_of(asked) == request
    assert (asked.address, asked.size_bytes, asked.is_plain) == ("192.0.2.1", None, False)


async def test_a_connection_is_used_again_though_content_was_left_unread() -> None:
    """All of it had come: nothing of it can be mistaken for what belongs to the next request."""
    asking = Asking(lambda ended: None)
    transport = RecordingTransport()
    asking.channel.connection_made(transport)
    request = Request("GET", Target("/", None, "/"), "a.example", None, Fields(()), "http")
    coming = asyncio.create_task(asking.ask(ask_of(request, 0, "192.0.2.1"), NoContent(), _nobody()))
    await asyncio.sleep(0)
    part = b"x" * MAX_WAITING_BYTES
    wire = encode_message_frame(encode(Streamed(200, TEXT, len(part))))
    wire += encode_frame_head(len(part), is_content=True) + part + encode_message_frame(encode(End(())))
    asking.channel.data_received(wire)
    head = await coming
    assert isinstance(head, Streamed)
    assert transport.is_reading_paused
    await asking.stream(head).aclose()
    assert asking.let_go()
    assert not transport.is_reading_paused


async def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    asking = Asking(lambda ended: None)
    transport = RecordingTransport()
    asking.channel.connection_made(transport)
    asking.channel.data_received(encode_message_frame(encode(Whole(200, TEXT, b"", None))))
    assert transport.is_closing()


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize(
    "answer",
    [
        encode_message_frame(encode(Whole(200, TEXT, b"x", None))),
        encode_message_frame(encode(Streamed(200, TEXT, MAX_WAITING_BYTES)))
        + encode_frame_head(MAX_WAITING_BYTES, is_content=True)
        + b"x" * MAX_WAITING_BYTES
        + encode_message_frame(encode(End(()))),
        encode_message_frame(encode(Streamed(200, TEXT, 5))) + encode_message_frame(encode(Lent("/nowhere", 5, 0, 5))),
    ],
    ids=["whole", "streamed", "lent"],
)
async def test_an_answer_to_a_visitor_who_has_just_gone_is_no_fault(
    answer: bytes, is_whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients bring it about at will, by resets of HTTP/2."""
    asking = Asking(lambda ended: None)
    transport = RecordingTransport()
    asking.channel.connection_made(transport)
    coming = asyncio.create_task(asking.ask(ask_of(_request(), 0, "192.0.2.1"), NoContent(), _nobody()))
    await asyncio.sleep(0)
    coming.cancel()
    asking.channel.data_received(answer if is_whole else answer[:-1])
    assert not transport.is_closing()
    with pytest.raises(asyncio.CancelledError):
        await coming
    is_over = is_whole and b"/nowhere" not in answer
    assert asking.let_go() is is_over, "the next request may follow where nothing of this one can still come"
    assert transport.is_closing() is not is_over
    assert not transport.is_reading_paused
    assert not caplog.records


async def test_a_second_request_before_the_first_is_answered_ends_the_connection() -> None:
    application = EchoApplication(gate=asyncio.Event())
    async with exchanged(application) as stage:
        reader, writer = await asyncio.open_unix_connection(stage.path)
        request = Request("GET", Target("/x", None, "/x"), "a.example", None, Fields(()), "http")
        writer.write(encode_message_frame(encode(ask_of(request, 0, "192.0.2.1"))) * 2)
        assert await reader.read() == b""
        writer.close()
        await stage.idle()
        assert application.cancelled in ([], ["/x"])


# The socket


async def test_the_socket_is_this_user_s_alone_and_replaces_a_dead_one() -> None:
    async with socket_folder() as folder:
        path = folder / "exchange.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        server = ExchangeServer(EchoApplication(), NoHints())
        await server.start(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await server.aclose()
        assert not path.exists()
        path.write_text("something else")
        with pytest.raises(OSError, match="in use"):
            await server.start(path)
        with pytest.raises(InvalidInput, match="shorter data_dir"):
            await server.start(folder / ("x" * 120))
        await server.aclose()
        assert path.read_text() == "something else"


# Sites of bundles


class Bundles(EchoApplication):
    """A node's pipeline, for hits of bundles."""

    def __init__(self, worker: WorkerStage) -> None:
        super().__init__()
        self.hints = Recall(worker.view, worker.tier, PullMemory(worker.tier))

    def recall(self, request: Request, now: float) -> Prepared | None:
        return self.hints.find(request, now)


async def test_hits_of_bundles() -> None:
    path_of_nothing: Any = None
    async with exchanged(EchoApplication()) as outer:
        node = WorkerStage(path_of_nothing, outer.clocks)  # its view and memory stand for a node's
        application = Bundles(node)
        async with exchanged(application, application.hints, clocks=outer.clocks) as stage:
            worker = await stage.add_worker()

            def apply(sequence: int, change: SiteCreated | SiteRemoved) -> None:
                for each in (node, worker):
                    each.apply(record_of(sequence, change))

            def prepare(text: bytes) -> None:
                runtime = node.view.runtime("b1")
                prepared = Prepared(
                    status=200,
                    fields=(*TEXT, ("cache-control", "public, max-age=60, x=1"), ("cache-status", "edge; hit")),
                    content=text,
                    base_age_at=node.clocks.monotonic(),
                    site=runtime,
                    generation=runtime.generation,
                    fresh_until=math.inf,
                    extends_max_age=60,
                    wall_clock=node.clocks.wall,
                )
                node.tier.put(("b1", "production", "/f"), prepared)

            apply(1, SiteCreated("b1", "blog", {}))
            asked = "GET /f\nHost: blog.cdn.localhost"
            assert (await ask(worker.port, asked)).content.startswith(b"GET ")
            prepare(b"one")
            assert application.hints.place(_request()) == BundlePlace("b1", "production", "/f")
            first, second = await ask(worker.port, asked), await ask(worker.port, asked)
            assert (first.content, second.content) == (b"one", b"one")
            assert first.fields["cache-control"] == second.fields["cache-control"] == "public, max-age=60, x=1"
            assert stage.server.counters.asked == 2, "the third time it had it itself"
            assert (await ask(worker.port, "HEAD /f\nHost: blog.cdn.localhost")).fields["content-length"] == "3"
            assert stage.server.counters.asked == 2
            apply(2, SiteRemoved("b1"))
            worker.application.drop_site("b1")
            node.tier.drop_site("b1")
            assert (await ask(worker.port, asked)).content.startswith(b"GET ")
            assert stage.server.counters.asked == 3


def _request() -> Request:
    return Request("GET", Target("/f", None, "/f"), "blog.cdn.localhost", None, Fields(()), "http")


def _nobody() -> Any:
    return None


async def test_a_response_with_nothing_in_it() -> None:
    application = EchoApplication()
    application.responses["/e"] = Response(200, TEXT)
    async with exchanged(application) as stage:
        worker = await stage.add_worker()
        assert (await ask(worker.port, "GET /e")).content == b""
        await until(lambda: not worker.application.under_way)
