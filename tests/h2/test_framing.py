"""Frames, field blocks and extensions (RFC 9113 sections 4 and 5.5)."""

from __future__ import annotations

from collections.abc import Callable

import hpack
import pytest

from tests.h2 import frames
from tests.h2.frame_client import FrameClient
from tests.h2.frames import END_HEADERS, END_STREAM, INITIAL_FRAME_BYTES, Code, Kind, Setting
from tests.h2.rules import Rule, case, rule

Octets = Callable[[FrameClient], bytes]

IGNORED: list[tuple[str, str, str, Octets]] = [
    ("4.1", "unknown-type", "frames of unknown types are ignored", lambda c: frames.frame(0xBA, 0xFF, 0, b"any" * 9)),
    (
        "5.1",
        "unknown-on-idle",
        "frames of unknown types are no error on an idle stream",
        lambda c: frames.frame(0xBA, 0, 99, b"x"),
    ),
    ("5.5", "unknown-empty", "frames of unknown types are discarded, empty ones too", lambda c: frames.frame(0x55)),
    (
        "5.5",
        "unknown-settings",
        "unknown settings are ignored",
        lambda c: frames.settings({0xF0F0: 1, 0: 7, 0xFFFF: 2**32 - 1}),
    ),
    ("4.1", "ping-flags", "unused flags of PING are ignored", lambda c: frames.ping(flags=0xFE)),
    ("4.1", "settings-flags", "unused flags of SETTINGS are ignored", lambda c: frames.settings(flags=0xFE)),
    (
        "4.1",
        "window-update-flags",
        "unused flags of WINDOW_UPDATE are ignored",
        lambda c: frames.frame(Kind.WINDOW_UPDATE, 0xFF, 0, b"\0\0\0\1"),
    ),
    (
        "4.1",
        "priority-flags",
        "unused flags of PRIORITY are ignored",
        lambda c: frames.frame(Kind.PRIORITY, 0xFF, 9, b"\0\0\0\0\1"),
    ),
    ("4.1", "reserved-bit", "the reserved bit is ignored", lambda c: frames.frame(Kind.PING, 0, 1 << 31, b"12345678")),
    (
        "6.9",
        "reserved-bit-of-increment",
        "the reserved bit of an increment is ignored",
        lambda c: frames.frame(Kind.WINDOW_UPDATE, 0, 0, b"\x80\0\0\1"),
    ),
]


@pytest.mark.parametrize(
    ("rule", "octets"), [case(section, sentence, octets, id=name) for section, name, sentence, octets in IGNORED]
)
def test_ignored(rule: Rule, client: FrameClient, octets: Octets) -> None:
    client.send(octets(client))
    client.expect_service()


@rule("4.1", "unused flags of HEADERS and DATA, and their reserved bits, are ignored")
def test_flags_of_requests(client: FrameClient) -> None:
    stream_id = client.next_id()
    block = client.block(client.fields("/echo", "POST"))
    client.send(
        frames.headers(stream_id, block, END_HEADERS | 0x42 | 0x80),
        frames.frame(Kind.DATA, END_STREAM | 0xF6, stream_id | 1 << 31, b"content"),
    )
    assert client.response(stream_id).content.endswith(b" content")


@rule("4.1", "frames longer than 2^14 octets are not sent to a client that has not allowed them")
@rule("4.2", "frames are no longer than the client's SETTINGS_MAX_FRAME_SIZE")
@pytest.mark.parametrize("allowed", [None, 16_384, 20_000, 2**24 - 1])
def test_the_size_of_frames(connect: Callable[[], FrameClient], allowed: int | None) -> None:
    values = {} if allowed is None else {Setting.MAX_FRAME_SIZE: allowed}
    client = connect().start({**values, Setting.INITIAL_WINDOW_SIZE: 2**30})
    client.send(frames.window_update(0, 2**30))
    for path in ("/big", "/stream", "/fields"):
        stream_id = client.request(path)
        came = client.frames_until_whole(stream_id)
        assert max(len(read.payload) for read in came) <= (allowed or INITIAL_FRAME_BYTES)


@rule("4.3", "a response whose block exceeds a frame goes on in CONTINUATION, with nothing between")
def test_a_large_response_head(client: FrameClient) -> None:
    stream_id = client.request("/fields")
    came = client.read_until(lambda read: read.stream_id == stream_id and read.has(END_STREAM))
    at = next(place for place, read in enumerate(came) if read.is_of(Kind.HEADERS, stream_id))
    assert not came[at].has(END_HEADERS)
    parts = came[at + 1 :]
    until = next(place for place, read in enumerate(parts) if read.has(END_HEADERS))
    assert all(read.is_of(Kind.CONTINUATION, stream_id) for read in parts[: until + 1])
    assert client.responses[stream_id].fields["x-59"] == "v" * 1000


@rule("4.2", "frames of 2^14 octets are received")
def test_the_largest_frames_are_received(client: FrameClient) -> None:
    stream_id = client.next_id()
    block = client.block(client.fields("/echo", "POST"))
    content = b"c" * (INITIAL_FRAME_BYTES - 1 - 255)
    client.send(
        frames.headers(stream_id, frames.padded(block, 255), END_HEADERS | frames.PADDED),
        frames.data(stream_id, frames.padded(content, 255), frames.PADDED),
        frames.data(stream_id),
    )
    assert client.response(stream_id).content.endswith(content)
    stream_id = client.next_id()
    extra = [("x-1", "v" * 8_000), ("x-2", "v" * 8_000)]
    block = frames.plain_block(client.fields("/head", extra=extra))
    block = frames.plain_block(
        client.fields("/head", extra=[*extra, ("y", "w" * (INITIAL_FRAME_BYTES - 200 - len(block)))])
    )
    exact = frames.padded(block, INITIAL_FRAME_BYTES - 1 - len(block))
    assert len(exact) == INITIAL_FRAME_BYTES
    client.send(frames.headers(stream_id, exact, END_HEADERS | END_STREAM | frames.PADDED))
    assert client.response(stream_id).status == 200


TOO_LARGE = INITIAL_FRAME_BYTES + 1
OVERSIZED: list[tuple[str, str, Octets]] = [
    ("headers", "HEADERS", lambda c: frames.frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, b"\0" * TOO_LARGE)),
    ("settings", "SETTINGS", lambda c: frames.frame(Kind.SETTINGS, 0, 0, b"\0" * (TOO_LARGE // 6 * 6 + 6))),
    ("ping", "PING", lambda c: frames.frame(Kind.PING, 0, 0, b"\0" * TOO_LARGE)),
    (
        "continuation",
        "CONTINUATION",
        lambda c: (
            frames.headers(1, c.block(c.fields()), END_STREAM)
            + frames.frame(Kind.CONTINUATION, 0, 1, b"\0" * TOO_LARGE)
        ),
    ),
    ("goaway", "GOAWAY", lambda c: frames.goaway(0, 0, b"\0" * TOO_LARGE)),
    ("unknown", "an unknown frame of the connection", lambda c: frames.frame(0xBA, 0, 0, b"\0" * TOO_LARGE)),
]


@pytest.mark.parametrize(
    ("rule", "octets"),
    [
        case(
            "4.2",
            f"{name} beyond SETTINGS_MAX_FRAME_SIZE is a connection error of type FRAME_SIZE_ERROR",
            octets,
            id=id_,
        )
        for id_, name, octets in OVERSIZED
    ],
)
def test_frames_that_are_too_large(rule: Rule, client: FrameClient, octets: Octets) -> None:
    client.send(octets(client))
    client.expect_connection_error(Code.FRAME_SIZE_ERROR)


@rule("4.2", "DATA beyond SETTINGS_MAX_FRAME_SIZE is an error of type FRAME_SIZE_ERROR")
def test_data_that_is_too_large(client: FrameClient) -> None:
    stream_id, head = client.head("/echo", "POST", is_end=False)
    client.send(head, frames.data(stream_id, b"\0" * TOO_LARGE))
    expect_either(client, stream_id, Code.FRAME_SIZE_ERROR)


@rule("4.2", "the size is judged by the frame's head: nothing of it has to come")
def test_the_size_is_judged_before_the_payload(client: FrameClient) -> None:
    client.send(frames.frame(Kind.HEADERS, END_HEADERS, 1, length=2**24 - 1))
    client.expect_connection_error(Code.FRAME_SIZE_ERROR)


ALL = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.example"), (b":path", b"/a")]
GOOD = frames.plain_block(ALL)
UNDECODABLE = [
    ("4.3", "index-0", "an index of 0", b"\x80"),
    ("4.3", "index-beyond", "an index beyond the tables", b"\xff\x80\x01"),
    ("4.3", "name-index-beyond", "the index of a name beyond the tables", b"\x7f\x80\x01\x01a"),
    ("4.3", "string-cut", "a string that the block ends in", b"\0\x05ab"),
    ("4.3", "integer-cut", "an integer that the block ends in", b"\xff"),
    ("4.3", "integer-large", "an integer of more than 32 bits", b"\xff" + b"\xff" * 10 + b"\x01"),
    ("4.3", "huffman-eos", "a string with EOS in it", b"\0\x01a\x84\xff\xff\xff\xff"),
    ("4.3", "huffman-padding", "a string with more than seven bits of padding", b"\0\x01a\x82\x1f\xff"),
    ("4.3", "huffman-zeros", "a string padded with zeros", b"\0\x01a\x81\x18"),
    ("4.3", "table-too-large", "a table larger than was allowed", b"\x3f\xe2\x1f"),
    ("4.3", "size-update-late", "a table size update behind a field", b"\x20"),
]


@pytest.mark.parametrize(
    ("rule", "octets"),
    [
        case(section, f"a block with {name} is a connection error of type COMPRESSION_ERROR", octets, id=id_)
        for section, id_, name, octets in UNDECODABLE
    ],
)
def test_blocks_that_cannot_be_decoded(rule: Rule, client: FrameClient, octets: bytes) -> None:
    block = octets + GOOD if octets[0] == 0x3F else GOOD + octets
    client.send(frames.headers(1, block))
    client.expect_connection_error(Code.COMPRESSION_ERROR)


@rule("4.3", "a block is decoded though its request is refused: later blocks refer to it")
def test_refused_requests_change_the_table(client: FrameClient) -> None:
    bad = client.request("/a", extra=[("connection", "close"), ("x-entered", "into the table")])
    client.expect_malformed(bad)
    told = client.ask("/head", extra=[("x-entered", "into the table")])
    assert b'["x-entered", "into the table"]' in told.content


@rule("4.3.1", "the dynamic table is kept from block to block, and its size may change")
def test_the_dynamic_table(client: FrameClient) -> None:
    for size in (4096, 0, 200, 4096):
        client.encoder.header_table_size = size
        for _ in range(3):
            told = client.ask("/head", extra=[("x-a", "1" * 60), ("x-b", "2" * 60)])
            assert b'["x-a", "' + b"1" * 60 in told.content


@rule("4.3.1", "blocks keep to the table size that the client acknowledged by its SETTINGS")
def test_a_client_without_a_table(connect: Callable[[], FrameClient]) -> None:
    client = connect()
    client.decoder = hpack.Decoder()
    client.decoder.max_allowed_table_size = 4096
    client.start({Setting.HEADER_TABLE_SIZE: 0})
    client.decoder.max_allowed_table_size = 0
    client.decoder.header_table_size = 0
    for path in ("/a", "/a", "/echo", "/stream"):
        assert client.ask(path).status == 200


BETWEEN: list[tuple[str, str, Octets]] = [
    ("unknown", "an extension frame", lambda c: frames.frame(0xBA, 0, 0, b"any")),
    ("unknown-of-stream", "an extension frame of the stream", lambda c: frames.frame(0xBA, 0, 1, b"any")),
]


@pytest.mark.parametrize(
    ("rule", "octets"),
    [
        case("5.5", f"{name} within a field block is a connection error", octets, id=id_)
        for id_, name, octets in BETWEEN
    ],
)
def test_extensions_within_a_block(rule: Rule, client: FrameClient, octets: Octets) -> None:
    client.send(
        frames.headers(1, client.block(client.fields()), END_STREAM), octets(client), frames.continuation(1, b"")
    )
    client.expect_connection_error(Code.PROTOCOL_ERROR)


def expect_either(client: FrameClient, stream_id: int, *codes: Code) -> None:
    """An error of the stream or of the connection, as the standard leaves open."""
    came: list[frames.Frame] = []
    while not any(read.kind in (Kind.RST_STREAM, Kind.GOAWAY) for read in came):
        read = client.read()
        assert read is not None, came
        came.append(read)
    assert came[-1].code in codes, came[-1]
    if came[-1].is_of(Kind.RST_STREAM, stream_id):
        client.expect_service()
    else:
        client.read_to_end()
