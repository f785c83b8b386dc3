"""What a client of HTTP/2 does wrong, and the error of the connection or of the stream that answers it (RFC 9113)."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.edge.h2_engine import H2Engine
from cdn.edge.h2_events import ConnectionOver, ContentPart, ErrorCode, RequestHead, StreamOver
from cdn.edge.h2_frames import MAX_STREAM_ID, FrameType
from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_streams import NEXT, VERDICTS, Step, StreamState
from tests.edge import h2_engine_stage as client
from tests.edge.h2_engine_stage import ALL, NOW, OK, POST, PREFACE, Stage

P, S, C, F = (
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.FRAME_SIZE_ERROR,
    ErrorCode.COMPRESSION_ERROR,
    ErrorCode.FLOW_CONTROL_ERROR,
)
CLOSED = ErrorCode.STREAM_CLOSED
OPEN = client.headers(1, is_end=False, fields=POST)
HALF = client.headers(1)

CONNECTION_FAULTS: dict[str, tuple[bytes, ErrorCode]] = {
    "4.2 a frame that is too large": (client.raw(0x0, 0, 1, b"x" * 16_385), S),
    "4.2 an unknown frame that is too large": (client.raw(0x77, 0, 0, b"x" * 16_385), S),
    "4.3 a block that cannot be decoded": (client.raw(0x1, 0x5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"), C),
    "4.3 a block of trailers that cannot be decoded": (OPEN + client.raw(0x1, 0x5, 1, b"\x80"), C),
    "5.1 DATA on an idle stream": (client.data(1, b"x"), P),
    "5.1 RST_STREAM on an idle stream": (client.reset(1), P),
    "5.1 WINDOW_UPDATE on an idle stream": (client.window_update(1, 1), P),
    "5.1 DATA on a closed stream": (OPEN + client.reset(1) + client.data(1, b"x"), CLOSED),
    "5.1 HEADERS on a closed stream": (OPEN + client.reset(1) + client.headers(1), CLOSED),
    "5.1 DATA on a stream that was passed over": (client.headers(5) + client.data(3, b"x"), CLOSED),
    "5.1.1 an even stream": (client.headers(2), P),
    "5.1.1 DATA on an even stream": (client.data(2, b"x"), P),
    "5.1.1 a stream that was passed over": (client.headers(5) + client.headers(3), P),
    "5.1.1 the first stream was passed over": (client.headers(5) + client.headers(1), P),
    "6.1 DATA without a stream": (client.raw(0x0, 0, 0, b"x"), P),
    "6.1 padding as long as the frame": (OPEN + client.raw(0x0, 0x8, 1, b"\x04abc"), P),
    "6.1 padding without its length": (OPEN + client.raw(0x0, 0x8, 1), S),
    "6.2 HEADERS without a stream": (client.raw(0x1, 0x5, 0, client.block()), P),
    "6.2 padding longer than the frame": (client.raw(0x1, 0xD, 1, b"\xff" + client.block()), P),
    "6.2 a priority that is cut": (client.raw(0x1, 0x25, 1, b"abcd"), S),
    "6.3 PRIORITY without a stream": (client.raw(0x2, 0, 0, b"12345"), P),
    "6.3 PRIORITY of a wrong size on an idle stream": (client.raw(0x2, 0, 1, b"1234"), S),
    "6.4 RST_STREAM without a stream": (client.raw(0x3, 0, 0, b"1234"), P),
    "6.4 RST_STREAM of a wrong size": (HALF + client.raw(0x3, 0, 1, b"123"), S),
    "6.5 SETTINGS with a stream": (client.raw(0x4, 0, 1), P),
    "6.5 SETTINGS of a wrong size": (client.raw(0x4, 0, 0, b"12345"), S),
    "6.5 an acknowledgement with content": (client.raw(0x4, 0x1, 0, b"123456"), S),
    "6.5.2 ENABLE_PUSH": (client.settings({0x2: 2}), P),
    "6.5.2 INITIAL_WINDOW_SIZE": (client.raw(0x4, 0, 0, b"\x00\x04\x80\x00\x00\x00"), F),
    "6.5.2 MAX_FRAME_SIZE below": (client.raw(0x4, 0, 0, b"\x00\x05\x00\x00\x3f\xff"), P),
    "6.5.2 MAX_FRAME_SIZE above": (client.raw(0x4, 0, 0, b"\x00\x05\x01\x00\x00\x00"), P),
    "9218 2.1 NO_RFC7540_PRIORITIES": (client.raw(0x4, 0, 0, b"\x00\x09\x00\x00\x00\x02"), P),
    "6.6 PUSH_PROMISE": (OPEN + client.raw(0x5, 0x4, 1, b"\x00\x00\x00\x02" + client.block()), P),
    "6.7 PING with a stream": (client.raw(0x6, 0, 1, b"12345678"), P),
    "6.7 PING of a wrong size": (client.raw(0x6, 0, 0, b"1234567"), S),
    "6.8 GOAWAY with a stream": (client.raw(0x7, 0, 1, b"12345678"), P),
    "6.8 GOAWAY of a wrong size": (client.raw(0x7, 0, 0, b"1234567"), S),
    "6.9 WINDOW_UPDATE of a wrong size": (client.raw(0x8, 0, 0, b"123"), S),
    "6.9 WINDOW_UPDATE of nothing": (client.raw(0x8, 0, 0, b"\x00\x00\x00\x00"), P),
    "6.9.1 a window that is too large": (client.window_update(0, 2**31 - 1), F),
    "6.10 CONTINUATION of nothing": (client.continuation(1, b"", is_end=True), P),
    "6.10 CONTINUATION after the end of a block": (HALF + client.continuation(1, b"", is_end=True), P),
    "6.10 CONTINUATION of another stream": (client.raw(0x1, 0x1, 1) + client.continuation(3, b"", is_end=True), P),
    "6.10 another frame within a block": (client.raw(0x1, 0x1, 1, client.block()) + client.ping(), P),
    "6.10 an unknown frame within a block": (client.raw(0x1, 0x1, 1, client.block()) + client.raw(0x77, 0, 1), P),
    "6.10 HEADERS within a block": (client.raw(0x1, 0x1, 1) + client.headers(3), P),
    "6.10 whole HEADERS within a block": (HALF + client.raw(0x1, 0x1, 3) + client.headers(3), P),
    "9218 7.1 PRIORITY_UPDATE with a stream": (client.raw(0x10, 0, 1, b"\x00\x00\x00\x01u=1"), P),
    "9218 7.1 PRIORITY_UPDATE of a wrong size": (client.raw(0x10, 0, 0, b"\x00\x00\x01"), S),
    "9218 7.1 PRIORITY_UPDATE of no stream": (client.priority_update(0, b"u=1"), P),
    "9218 7.1 PRIORITY_UPDATE of a pushed stream": (client.priority_update(2, b"u=1"), P),
}

STREAM_FAULTS: dict[str, tuple[bytes, ErrorCode]] = {
    "5.1 DATA after the end": (HALF + client.data(1, b"x"), CLOSED),
    "5.1 HEADERS after the end": (HALF + client.headers(1), CLOSED),
    "5.1 DATA after the end by DATA": (OPEN + client.data(1, is_end=True) + client.data(1, b"x"), CLOSED),
    "6.3 PRIORITY of a wrong size": (OPEN + client.raw(0x2, 0, 1, b"1234"), S),
    "6.9 WINDOW_UPDATE of nothing": (HALF + client.raw(0x8, 0, 1, b"\x00\x00\x00\x00"), P),
    "6.9.1 a window that is too large": (HALF + client.window_update(1, 2**31 - 1), F),
    "8.1 HEADERS in the middle of content": (OPEN + client.headers(1, is_end=False, fields=(("x-a", "b"),)), P),
    "8.1 a pseudo-field among trailers": (OPEN + client.headers(1, fields=((":path", "/"),)), P),
    "8.2 a trailer in upper case": (OPEN + client.headers(1, fields=(("X-Trailer", "b"),)), P),
}


@pytest.mark.parametrize("name", CONNECTION_FAULTS)
def test_an_error_of_the_connection(name: str) -> None:
    octets, code = CONNECTION_FAULTS[name]
    assert Stage().error(octets) is code
    assert Stage().error(octets + client.headers(7) * 3) is code
    stage = Stage()
    events = [event for at in range(len(octets)) for event in stage.send(octets[at : at + 1])]
    assert isinstance(events[-1], ConnectionOver)
    assert events[-1].code is code


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_an_error_of_a_stream(name: str) -> None:
    octets, code = STREAM_FAULTS[name]
    assert Stage().stream_error(1, octets) is code
    stage = Stage()
    events = stage.send(octets)
    assert isinstance(events[0], RequestHead)
    assert events[-1] == StreamOver(1, code)
    assert stage.engine.open_streams == 0


@pytest.mark.parametrize(
    "octets",
    [
        client.ping(),
        client.headers(1),
        client.window_update(0, 1),
        client.SETTINGS_ACK,
        client.raw(0x77, 0, 0),
    ],
)
def test_a_connection_begins_with_settings(octets: bytes) -> None:
    engine = H2Engine(H2Limits())
    engine.start()
    (over,) = engine.receive(PREFACE + octets, NOW)
    assert isinstance(over, ConnectionOver)
    assert over.code is P


def test_a_stream_that_never_was_and_one_that_was_answered() -> None:
    """HEADERS again on a stream of its own, and on one that was passed over: two different errors."""
    stage = Stage()
    stage.send(client.headers(1))
    stage.engine.respond(1, OK, b"x")
    assert stage.error(client.headers(1)) is CLOSED
    stage = Stage()
    stage.send(*(client.headers(stream_id) for stream_id in range(101, 300, 6)))
    assert stage.error(client.headers(297)) is P


def test_what_may_be_under_way_to_a_closed_stream_is_ignored() -> None:
    stage = Stage()
    stage.send(client.headers(1))
    stage.engine.respond(1, OK, b"x")
    stage.frames()
    assert stage.send(client.window_update(1, 5), client.reset(1), client.priority(1)) == []
    assert stage.send(client.priority_update(1, b"u=1"), client.raw(0x8, 0, 1, bytes(4))) == []
    assert not stage.engine.has_output


def test_reserved_bits_and_unknown_flags_are_ignored() -> None:
    stage = Stage()
    octets = client.raw(0x1, 0x5 | 0xC2 & ~0x08, 0x80000001, client.block())
    assert [type(event) for event in stage.send(octets)] == [RequestHead]
    assert stage.send(client.raw(0x8, 0xFF, 0x80000001, b"\x80\x00\x00\x05")) == []
    assert stage.send(client.raw(0x6, 0xFE, 0x80000000, b"12345678")) == []
    assert [frame.type for frame in stage.frames()] == [FrameType.PING]


def test_settings_that_nobody_knows_are_ignored() -> None:
    stage = Stage()
    assert stage.send(client.raw(0x4, 0, 0, b"\x12\x34\xff\xff\xff\xff\x00\x03\x00\x00\x00\x00")) == []
    (frame,) = stage.frames()
    assert "ACK" in frame.flags


def test_the_largest_identifier() -> None:
    stage = Stage()
    assert [type(event) for event in stage.send(client.headers(MAX_STREAM_ID))] == [RequestHead]


def test_padding_is_no_content() -> None:
    stage = Stage()
    padded = client.raw(0x1, 0xC, 1, b"\x05" + client.block(POST) + bytes(5))
    (head, part) = stage.send(padded, client.data(1, b"abc", padding_bytes=200))
    assert isinstance(head, RequestHead)
    assert head.fields == list(POST)
    assert part == ContentPart(1, b"abc", 204)


def test_every_state_says_what_each_frame_means() -> None:
    kinds = (FrameType.DATA, FrameType.HEADERS, FrameType.RST_STREAM, FrameType.WINDOW_UPDATE)
    assert set(VERDICTS) == set(product(StreamState, kinds))


def test_a_closed_stream_stays_closed() -> None:
    after_end = (StreamState.IDLE, StreamState.CLOSED, StreamState.RESET, StreamState.SKIPPED)
    assert not [pair for pair in NEXT if pair[0] in after_end]
    assert set(NEXT.values()) <= set(StreamState) - {StreamState.IDLE, StreamState.SKIPPED, StreamState.OPEN}
    assert {state for state, step in NEXT if step is Step.SENT_RESET} == set(StreamState) - set(after_end)


frames = st.builds(
    client.raw,
    st.one_of(st.sampled_from(list(FrameType)), st.integers(0, 255)),
    st.one_of(st.sampled_from([0, 1, 4, 5, 8, 0xC, 0x25]), st.integers(0, 255)),
    st.sampled_from([0, 1, 2, 3, 5, 7, MAX_STREAM_ID]),
    st.one_of(
        st.sampled_from(
            [b"", client.block(), b"\x00\x00\x00\x01", b"12345678", b"\x00\x04\x00\x00\x00\x05", b"\x7f" * 4]
        ),
        st.binary(max_size=40),
    ),
)


@given(octets=st.lists(frames, max_size=12).map(b"".join), junk=st.binary(max_size=30), size=st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_no_input_is_too_strange(octets: bytes, junk: bytes, size: int) -> None:
    """Whatever comes is read the same way whole and octet by octet, and what is sent is always frames."""
    told = []
    for cuts in ([octets + junk], [(octets + junk)[at : at + 1] for at in range(len(octets + junk))]):
        stage = Stage()
        events = [event for part in cuts for event in stage.send(part)]
        for event in events:
            if isinstance(event, RequestHead):
                stage.engine.respond(event.stream_id, OK, b"x" * size)
        stage.frames(ALL)
        told.append(events)
        codes = [event.code for event in events if isinstance(event, ConnectionOver)]
        assert len(codes) == stage.engine.is_over
    assert told[0] == told[1]
