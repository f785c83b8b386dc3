"""Priorities (RFC 9113 section 5.3, RFC 9218)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.h2 import frames
from tests.h2.frame_client import FrameClient
from tests.h2.frames import Code, Kind, Setting
from tests.h2.rules import Rule, case, rule

Connect = Callable[[], FrameClient]
STEP = 60_000


@pytest.fixture
def waiting(connect: Connect) -> FrameClient:
    """The connection's window is used up, so that what is sent next shows the order."""
    client = connect()
    client.gives_windows = False
    client.start({Setting.INITIAL_WINDOW_SIZE: 2**20})
    first = client.request("/bytes/65535")
    client.response(first)
    return client


def next_part(client: FrameClient, size: int = STEP) -> dict[int, int]:
    """How much of each stream comes when there is room for `size`."""
    before = {stream_id: len(known.content) for stream_id, known in client.responses.items()}
    client.send(frames.window_update(0, size))
    came: dict[int, int] = {}
    while sum(came.values()) < size:
        read = client.read()
        assert read is not None
        if read.is_of(Kind.DATA):
            came[read.stream_id] = len(client.responses[read.stream_id].content) - before.get(read.stream_id, 0)
    return came


@rule("RFC 9218 10", "responses of higher urgency come first")
def test_urgency(waiting: FrameClient) -> None:
    low = waiting.request("/big", extra=[("priority", "u=7")])
    middle = waiting.request("/big")
    high = waiting.request("/big", extra=[("priority", "u=0")])
    waiting.barrier()
    assert next_part(waiting) == {high: STEP}
    waiting.send(frames.rst_stream(high))
    assert next_part(waiting) == {middle: STEP}
    waiting.send(frames.rst_stream(middle))
    assert next_part(waiting) == {low: STEP}


@rule("RFC 9218 10", "of one urgency, those that are not incremental come one after the other")
def test_one_after_the_other(waiting: FrameClient) -> None:
    first, second = waiting.request("/big"), waiting.request("/big")
    waiting.barrier()
    assert next_part(waiting) == {first: STEP}
    assert next_part(waiting) == {first: STEP}
    waiting.send(frames.rst_stream(first))
    assert next_part(waiting) == {second: STEP}


@rule("RFC 9218 10", "of one urgency, incremental ones share")
def test_incremental(waiting: FrameClient) -> None:
    streams = [waiting.request("/big", extra=[("priority", "i")]) for _ in range(3)]
    waiting.barrier()
    came = next_part(waiting, 12 * 16_384)
    assert set(came) == set(streams)
    assert max(came.values()) - min(came.values()) <= 2 * 16_384


@rule("RFC 9218 7.1", "PRIORITY_UPDATE changes what a request asked for")
def test_priority_update(waiting: FrameClient) -> None:
    first, second = waiting.request("/big"), waiting.request("/big")
    waiting.barrier()
    waiting.send(frames.priority_update(second, b"u=0"))
    waiting.barrier()
    assert next_part(waiting) == {second: STEP}
    waiting.send(frames.priority_update(first, b"u=0"), frames.priority_update(second, b"u=5, i"))
    waiting.barrier()
    assert next_part(waiting) == {first: STEP}


@rule("RFC 9218 7.1", "PRIORITY_UPDATE may come before its request, and overrides what that says")
def test_priority_update_before_the_request(waiting: FrameClient) -> None:
    first = waiting.request("/big")
    second = first + 2
    waiting.send(frames.priority_update(second, b"u=1"))
    assert waiting.request("/big", extra=[("priority", "u=7")]) == second
    waiting.barrier()
    assert next_part(waiting) == {second: STEP}


@pytest.mark.parametrize("value", ["", "u", "u=9", "u=-1", "u=a", "i=2", 'u="3"', "((", "u=1.5", "x" * 900])
@rule("RFC 9218 4", "a Priority that says nothing known is no error")
def test_values_that_say_nothing(client: FrameClient, value: str) -> None:
    extra = [("priority", value)] if value else []
    assert client.ask("/a", extra=extra).content == b"hello"
    stream_id = client.request("/a")
    client.send(frames.priority_update(stream_id, value.encode()))
    client.expect_service()


WRONG = [
    (
        "on-stream",
        "PRIORITY_UPDATE on a stream is a connection error",
        frames.priority_update(1, b"u=1", word=1),
        Code.PROTOCOL_ERROR,
    ),
    (
        "of-0",
        "PRIORITY_UPDATE of stream 0 is a connection error",
        frames.priority_update(0, b"u=1"),
        Code.PROTOCOL_ERROR,
    ),
    (
        "short",
        "PRIORITY_UPDATE too short to name a stream is a connection error of type FRAME_SIZE_ERROR",
        frames.frame(Kind.PRIORITY_UPDATE, 0, 0, b"\0\0\0"),
        Code.FRAME_SIZE_ERROR,
    ),
]


@pytest.mark.parametrize(
    ("rule", "octets", "code"),
    [case("RFC 9218 7.1", sentence, octets, code, id=name) for name, sentence, octets, code in WRONG],
)
def test_wrong(rule: Rule, client: FrameClient, octets: bytes, code: Code) -> None:
    client.send(octets)
    client.expect_connection_error(code)


@rule("RFC 9218 2.1", "SETTINGS_NO_RFC7540_PRIORITIES other than 0 and 1 is a connection error")
def test_a_wrong_setting(client: FrameClient) -> None:
    client.send(frames.settings({Setting.NO_RFC7540_PRIORITIES: 2}))
    client.expect_connection_error(Code.PROTOCOL_ERROR)


@rule("RFC 9218 7.1", "PRIORITY_UPDATE of a closed stream is no error")
def test_update_of_a_closed_stream(client: FrameClient) -> None:
    stream_id = client.request()
    client.response(stream_id)
    client.send(frames.priority_update(stream_id, b"u=1"))
    client.expect_service()


@rule("5.3.2", "priority signals of RFC 7540 are read, and reorder nothing")
def test_old_priorities(waiting: FrameClient) -> None:
    first, second = waiting.request("/big"), waiting.request("/big")
    waiting.send(frames.priority(first, second, 0), frames.priority(second, 0, 255))
    waiting.barrier()
    assert next_part(waiting) == {first: STEP}
