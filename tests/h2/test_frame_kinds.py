"""Each kind of frame (RFC 9113 section 6): where it may stand, how long it is, what it does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.h2 import frames
from tests.h2.frame_client import FrameClient
from tests.h2.frames import ACK, END_HEADERS, END_STREAM, INITIAL_WINDOW, PADDED, PRIORITY, Code, Kind, Setting
from tests.h2.rules import Rule, case, rule
from tests.h2.served import BIG_BYTES, pattern
from tests.h2.serving import Serving
from tests.h2.test_framing import expect_either

Octets = Callable[[FrameClient], bytes]
P, S = Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR


def opened(client: FrameClient, *rest: bytes, flags: int = END_HEADERS) -> bytes:
    """A request that goes on on stream 1, and what follows."""
    return frames.headers(1, client.block(client.fields("/echo", "POST")), flags) + b"".join(rest)


def unended(client: FrameClient, *rest: bytes) -> bytes:
    """A block on stream 1 that is not at its end, and what follows."""
    return opened(client, *rest, flags=END_STREAM)


WRONG: list[tuple[str, str, str, Octets, Code]] = [
    ("6.1", "data-on-0", "DATA on stream 0 is a connection error", lambda c: frames.data(0, b"x"), P),
    (
        "6.1",
        "data-padding",
        "padding as long as the payload of DATA is a connection error",
        lambda c: opened(c, frames.data(1, b"\x05hello", PADDED | END_STREAM).replace(b"\x05hello", b"\x06hello")),
        P,
    ),
    (
        "6.1",
        "data-no-pad-length",
        "DATA with PADDED and no pad length is a connection error",
        lambda c: opened(c, frames.data(1, b"", PADDED)),
        S,
    ),
    (
        "6.2",
        "headers-on-0",
        "HEADERS on stream 0 are a connection error",
        lambda c: frames.headers(0, c.block(c.fields())),
        P,
    ),
    (
        "6.2",
        "headers-padding",
        "padding as long as the payload of HEADERS is a connection error",
        lambda c: frames.headers(1, b"\x05abcd", END_HEADERS | END_STREAM | PADDED),
        P,
    ),
    (
        "6.2",
        "headers-padding-priority",
        "padding that leaves no room for the priority of HEADERS is a connection error",
        lambda c: frames.headers(1, b"\x03\0\0\0\0\0\0\0", END_HEADERS | END_STREAM | PADDED | PRIORITY),
        P,
    ),
    (
        "6.2",
        "headers-short-priority",
        "HEADERS too short for their priority are a connection error",
        lambda c: frames.headers(1, b"\0\0\0", END_HEADERS | END_STREAM | PRIORITY),
        S,
    ),
    (
        "6.2",
        "headers-then-data",
        "HEADERS without END_HEADERS and then DATA are a connection error",
        lambda c: unended(c, frames.data(1, b"x")),
        P,
    ),
    (
        "6.2",
        "headers-then-headers",
        "HEADERS without END_HEADERS and then HEADERS are a connection error",
        lambda c: unended(c, frames.headers(3, c.block(c.fields()))),
        P,
    ),
    (
        "6.2",
        "headers-then-ping",
        "HEADERS without END_HEADERS and then PING are a connection error",
        lambda c: unended(c, frames.ping()),
        P,
    ),
    (
        "6.2",
        "headers-then-settings",
        "HEADERS without END_HEADERS and then SETTINGS are a connection error",
        lambda c: unended(c, frames.settings()),
        P,
    ),
    (
        "6.2",
        "headers-then-rst",
        "HEADERS without END_HEADERS and then RST_STREAM are a connection error",
        lambda c: unended(c, frames.rst_stream(1)),
        P,
    ),
    (
        "6.2",
        "headers-then-window",
        "HEADERS without END_HEADERS and then WINDOW_UPDATE are a connection error",
        lambda c: unended(c, frames.window_update(0, 1)),
        P,
    ),
    (
        "6.3",
        "headers-then-priority",
        "PRIORITY within a field block is a connection error",
        lambda c: unended(c, frames.priority(1)),
        P,
    ),
    (
        "6.2",
        "headers-then-other-stream",
        "CONTINUATION of another stream is a connection error",
        lambda c: unended(c, frames.continuation(3, b"")),
        P,
    ),
    ("6.3", "priority-on-0", "PRIORITY on stream 0 is a connection error", lambda c: frames.priority(0), P),
    ("6.4", "rst-on-0", "RST_STREAM on stream 0 is a connection error", lambda c: frames.rst_stream(0), P),
    ("6.4", "rst-on-idle", "RST_STREAM on an idle stream is a connection error", lambda c: frames.rst_stream(9), P),
    (
        "6.4",
        "rst-short",
        "RST_STREAM of less than 4 octets is a connection error of type FRAME_SIZE_ERROR",
        lambda c: opened(c, frames.frame(Kind.RST_STREAM, 0, 1, b"\0\0\0")),
        S,
    ),
    (
        "6.4",
        "rst-long",
        "RST_STREAM of more than 4 octets is a connection error of type FRAME_SIZE_ERROR",
        lambda c: opened(c, frames.frame(Kind.RST_STREAM, 0, 1, b"\0\0\0\0\0")),
        S,
    ),
    (
        "6.5",
        "ack-with-payload",
        "an acknowledgement with settings is a connection error of type FRAME_SIZE_ERROR",
        lambda c: frames.settings({Setting.ENABLE_PUSH: 0}, flags=ACK),
        S,
    ),
    ("6.5", "settings-on-stream", "SETTINGS on a stream are a connection error", lambda c: frames.settings(word=1), P),
    (
        "6.5",
        "ack-on-stream",
        "an acknowledgement on a stream is a connection error",
        lambda c: frames.settings(flags=ACK, word=1),
        P,
    ),
    (
        "6.5",
        "settings-length",
        "SETTINGS whose length is no multiple of 6 are a connection error of type FRAME_SIZE_ERROR",
        lambda c: frames.frame(Kind.SETTINGS, 0, 0, b"\0\3\0\0\0"),
        S,
    ),
    (
        "6.5.2",
        "push-2",
        "SETTINGS_ENABLE_PUSH other than 0 and 1 is a connection error",
        lambda c: frames.settings({Setting.ENABLE_PUSH: 2}),
        P,
    ),
    (
        "6.5.2",
        "push-large",
        "SETTINGS_ENABLE_PUSH of 2^32-1 is a connection error",
        lambda c: frames.settings({Setting.ENABLE_PUSH: 2**32 - 1}),
        P,
    ),
    (
        "6.5.2",
        "window-large",
        "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1 is a connection error of type FLOW_CONTROL_ERROR",
        lambda c: frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**31}),
        Code.FLOW_CONTROL_ERROR,
    ),
    (
        "6.5.2",
        "frame-size-small",
        "SETTINGS_MAX_FRAME_SIZE below 2^14 is a connection error",
        lambda c: frames.settings({Setting.MAX_FRAME_SIZE: 16_383}),
        P,
    ),
    (
        "6.5.2",
        "frame-size-large",
        "SETTINGS_MAX_FRAME_SIZE above 2^24-1 is a connection error",
        lambda c: frames.settings({Setting.MAX_FRAME_SIZE: 2**24}),
        P,
    ),
    (
        "6.5.3",
        "wrong-then-right",
        "settings are processed in their order: a wrong value counts though a right one follows",
        lambda c: frames.settings([(Setting.MAX_FRAME_SIZE, 1), (Setting.MAX_FRAME_SIZE, 16_384)]),
        P,
    ),
    (
        "8.4",
        "push",
        "PUSH_PROMISE of a client is a connection error",
        lambda c: opened(c, frames.push_promise(1, 2, frames.plain_block(c.fields()))),
        P,
    ),
    ("6.6", "push-on-0", "PUSH_PROMISE on stream 0 is a connection error", lambda c: frames.push_promise(0, 2, b""), P),
    (
        "6.7",
        "ping-on-stream",
        "PING on a stream is a connection error",
        lambda c: frames.frame(Kind.PING, 0, 1, b"12345678"),
        P,
    ),
    (
        "6.7",
        "ping-short",
        "PING of less than 8 octets is a connection error of type FRAME_SIZE_ERROR",
        lambda c: frames.ping(b"1234567"),
        S,
    ),
    (
        "6.7",
        "ping-long",
        "PING of more than 8 octets is a connection error of type FRAME_SIZE_ERROR",
        lambda c: frames.ping(b"123456789"),
        S,
    ),
    (
        "6.7",
        "pong-short",
        "an answer to PING of another length is a connection error of type FRAME_SIZE_ERROR",
        lambda c: frames.ping(b"", ACK),
        S,
    ),
    (
        "6.8",
        "goaway-on-stream",
        "GOAWAY on a stream is a connection error",
        lambda c: frames.frame(Kind.GOAWAY, 0, 1, b"\0" * 8),
        P,
    ),
    (
        "4.2",
        "goaway-short",
        "GOAWAY too short for its fields is a connection error of type FRAME_SIZE_ERROR",
        lambda c: frames.frame(Kind.GOAWAY, 0, 0, b"\0" * 7),
        S,
    ),
    (
        "6.10",
        "continuation-on-0",
        "CONTINUATION on stream 0 is a connection error",
        lambda c: unended(c, frames.continuation(0, b"")),
        P,
    ),
    (
        "6.10",
        "continuation-first",
        "CONTINUATION that follows nothing is a connection error",
        lambda c: frames.continuation(1, c.block(c.fields())),
        P,
    ),
    (
        "6.10",
        "continuation-behind-end",
        "CONTINUATION behind END_HEADERS is a connection error",
        lambda c: opened(c, frames.continuation(1, b"")),
        P,
    ),
    (
        "6.10",
        "continuation-behind-continuation",
        "CONTINUATION behind one with END_HEADERS is a connection error",
        lambda c: unended(c, frames.continuation(1, b""), frames.continuation(1, b"")),
        P,
    ),
    (
        "6.10",
        "continuation-behind-data",
        "CONTINUATION behind DATA is a connection error",
        lambda c: opened(c, frames.data(1, b"x", 0), frames.continuation(1, b"")),
        P,
    ),
    (
        "6.10",
        "continuation-then-data",
        "CONTINUATION without END_HEADERS and then DATA are a connection error",
        lambda c: unended(c, frames.continuation(1, b"", 0), frames.data(1)),
        P,
    ),
    (
        "6.10",
        "continuation-then-other",
        "CONTINUATION without END_HEADERS and then one of another stream are a connection error",
        lambda c: unended(c, frames.continuation(1, b"", 0), frames.continuation(3, b"")),
        P,
    ),
]


EITHER = {
    "DATA with PADDED and no pad length is a connection error": (P,),
    "padding that leaves no room for the priority of HEADERS is a connection error": (S,),
}
"""Too short for what must stand in it, and too much padding: both are so."""


@pytest.mark.parametrize(
    ("rule", "octets", "code"),
    [case(section, sentence, octets, code, id=name) for section, name, sentence, octets, code in WRONG],
)
def test_wrong(rule: Rule, client: FrameClient, octets: Octets, code: Code) -> None:
    client.send(octets(client))
    client.expect_connection_error(code, *EITHER.get(rule.sentence, ()))


@pytest.mark.parametrize("padding", [0, 1, 255])
@rule("6.1", "padding of DATA is no content")
def test_padding_of_data(client: FrameClient, padding: int) -> None:
    stream_id, head = client.head("/echo", "POST", is_end=False)
    client.send(
        head,
        frames.data(stream_id, frames.padded(b"one", padding), PADDED),
        frames.data(stream_id, frames.padded(b"two", padding), PADDED | END_STREAM),
    )
    assert client.response(stream_id).content.endswith(b" onetwo")


@rule("6.1", "DATA may be all padding")
def test_nothing_but_padding(client: FrameClient) -> None:
    stream_id, head = client.head("/echo", "POST", is_end=False)
    client.send(head, frames.data(stream_id, frames.padded(b"", 9), PADDED | END_STREAM))
    assert client.response(stream_id).status == 200


@pytest.mark.parametrize("padding", [None, 0, 255])
@pytest.mark.parametrize("has_priority", [False, True])
@rule("6.2", "padding and priority of HEADERS are no part of the block")
def test_padding_and_priority_of_headers(client: FrameClient, padding: int | None, has_priority: bool) -> None:
    stream_id = client.next_id()
    payload = (b"\x80\0\0\x09\xff" if has_priority else b"") + client.block(client.fields())
    flags = END_HEADERS | END_STREAM | (PRIORITY if has_priority else 0)
    if padding is not None:
        payload, flags = frames.padded(payload, padding), flags | PADDED
    client.send(frames.headers(stream_id, payload, flags))
    assert client.response(stream_id).content == b"hello"


@rule("6.2", "END_STREAM on HEADERS holds though CONTINUATION follows")
@rule("6.10", "any cut of a block into CONTINUATION is the same block")
def test_blocks_in_pieces(client: FrameClient) -> None:
    for parts in (1, 2, 5, 12):
        stream_id = client.next_id()
        block = client.block(client.fields("/head", extra=[("x-cut", str(parts)), ("x-long", "z" * 200)]))
        step = len(block) // parts + 1
        cut = [block[at : at + step] for at in range(0, len(block), step)]
        client.send(
            frames.headers(stream_id, b"", END_STREAM),
            *(frames.continuation(stream_id, part, 0) for part in cut),
            frames.continuation(stream_id, b""),
        )
        assert b'["x-cut", "%d"]' % parts in client.response(stream_id).content


@pytest.mark.parametrize("size", [0, 4, 6])
@rule("6.3", "PRIORITY of another length than 5 octets is an error of type FRAME_SIZE_ERROR")
def test_the_length_of_priority(client: FrameClient, size: int) -> None:
    stream_id = client.request("/held/priority")
    client.send(frames.frame(Kind.PRIORITY, 0, stream_id, b"\0" * size))
    expect_either(client, stream_id, Code.FRAME_SIZE_ERROR)


@rule("6.3", "PRIORITY changes nothing, whatever it depends on")
def test_priority_changes_nothing(client: FrameClient) -> None:
    stream_id = client.request()
    client.send(frames.priority(stream_id, stream_id), frames.priority(stream_id + 40, 2**31 - 1 | 1 << 31, 255))
    client.send(frames.priority(stream_id, 0, 0))
    assert client.response(stream_id).content == b"hello"
    client.expect_service()


@pytest.mark.parametrize(
    "values", [[(1, 0)], [(2, 0)], [(2, 1)], [(3, 0)], [(4, 0), (4, 65_535)], [(5, 2**24 - 1)], [(6, 1)], [(9, 1)]]
)
@rule("6.5", "all settings of the standard are taken")
def test_settings_are_taken(client: FrameClient, values: list[tuple[int, int]]) -> None:
    client.send(frames.settings(values))
    client.expect_service()


@rule("6.5.3", "each SETTINGS is acknowledged, in their order, without waiting")
def test_many_settings(client: FrameClient) -> None:
    client.send(*(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1000 + at}) for at in range(20)))
    came = client.barrier()
    assert sum(read.is_of(Kind.SETTINGS) and read.has(ACK) for read in came) == 20
    client.gives_windows = False
    stream_id = client.request("/big")
    assert client.content_of(stream_id, 1019) == 1019, "the last value holds"


@rule("6.5.3", "settings are applied before what follows them")
def test_settings_hold_at_once(client: FrameClient) -> None:
    client.gives_windows = False
    stream_id, head = client.head("/big")
    client.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 7}), head)
    assert client.content_of(stream_id, 7) == 7


@rule("6.5.2", "what the server says in SETTINGS is allowed, and it never enables push")
@rule("RFC 9218 2.1", "the server says that it ignores the priorities of RFC 7540")
def test_the_servers_settings(client: FrameClient) -> None:
    said = client.server_settings
    assert said.get(Setting.ENABLE_PUSH, 0) == 0
    assert 16_384 <= said.get(Setting.MAX_FRAME_SIZE, 16_384) < 2**24
    assert said.get(Setting.INITIAL_WINDOW_SIZE, INITIAL_WINDOW) < 2**31
    assert said[Setting.NO_RFC7540_PRIORITIES] == 1


@rule("6.7", "PING is answered by the same octets with ACK")
def test_ping(client: FrameClient) -> None:
    client.send(frames.ping(b"abcdefgh"), frames.ping(b"\0" * 8))
    pongs = [read for read in client.barrier() if read.is_of(Kind.PING)][:2]
    assert [(read.payload, read.flags, read.word) for read in pongs] == [(b"abcdefgh", ACK, 0), (b"\0" * 8, ACK, 0)]


@rule("6.7", "PING with ACK is not answered")
def test_pong(client: FrameClient) -> None:
    client.send(frames.ping(b"abcdefgh", ACK))
    assert [read.payload for read in client.barrier() if read.is_of(Kind.PING)] != [b"abcdefgh"]
    client.expect_service()


@rule("6.7", "PING is answered before content that waits")
def test_ping_goes_before_content(client: FrameClient) -> None:
    client.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**30}), frames.window_update(0, 2**30))
    asked = [client.head("/big") for _ in range(3)]
    streams = [stream_id for stream_id, _ in asked]
    client.send(*(head for _, head in asked), frames.ping(b"in front"))
    came = client.read_until(lambda read: read.is_of(Kind.PING))
    assert sum(len(read.payload) for read in came if read.is_of(Kind.DATA)) < len(streams) * BIG_BYTES
    assert all(client.response(stream_id).content == pattern(BIG_BYTES) for stream_id in streams)


@rule("6.8", "after the client's GOAWAY what it asked for is answered")
def test_goaway_of_the_client(client: FrameClient, serving: Serving, transport: str) -> None:
    held, big = client.request(f"/held/goaway-{transport}"), client.request("/big")
    client.send(frames.goaway())
    assert client.response(big).content == pattern(BIG_BYTES)
    serving.connect().start().ask(f"/release/goaway-{transport}")
    assert client.response(held).content == b"held"


@pytest.mark.parametrize("code", [0xFF, 2**32 - 1])
@rule("7", "unknown error codes mean nothing special")
def test_unknown_codes(client: FrameClient, code: int) -> None:
    stream_id = client.request("/held/code")
    client.send(frames.rst_stream(stream_id, code))
    client.expect_service()
