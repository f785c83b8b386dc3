"""The engine of HTTP/2 alone: requests in, answers out, however the octets arrive."""

from __future__ import annotations

from itertools import pairwise

import hpack
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.edge.h2_engine import H2Engine
from cdn.edge.h2_events import (
    ConnectionOver,
    ContentEnd,
    ContentPart,
    ErrorCode,
    Event,
    RequestHead,
    StreamOver,
    Writable,
)
from cdn.edge.h2_limits import H2Limits
from tests.edge import h2_engine_stage as client
from tests.edge.h2_engine_stage import ALL, FIELDS, NOW, OK, POST, PREFACE, SETTINGS_ACK, Stage, content_of, ends

EVERY_FRAME = b"".join(
    (
        PREFACE,
        client.settings({0x1: 0, 0x4: 1000}),
        client.window_update(0, 100_000),
        client.headers(1),
        client.priority(3),
        client.raw(0x1, 0x25, 3, b"\x00\x00\x00\x00\x10" + client.block()),
        client.headers(5, is_end=False, fields=POST),
        client.data(5, b"one", padding_bytes=7),
        client.raw(0x42, 0xFF, 77, b"unknown"),
        client.data(5),
        client.data(5, b"two"),
        client.headers(5, fields=(("x-trailer", "1"),)),
        client.raw(0x1, 0x01, 7, client.block()[:5]),
        client.continuation(7, b"", is_end=False),
        client.continuation(7, client.block()[5:], is_end=True),
        SETTINGS_ACK,
        client.ping(),
        client.priority_update(9, b"u=0, i"),
        client.headers(9, is_end=False, fields=POST),
        client.data(9, b"", is_end=True),
        client.headers(11),
        client.reset(11),
        client.window_update(3, 5000),
        client.goaway(),
    )
)


def read(parts: list[bytes]) -> tuple[list[Event], bytes]:
    """Events of what arrives in parts, and what is sent, with everything answered at the end."""
    engine = H2Engine(H2Limits())
    engine.start()
    events: list[Event] = []
    for part in parts:
        events += engine.receive(part, NOW)
    for event in events:
        if isinstance(event, RequestHead):
            engine.respond(event.stream_id, OK, b"y" * 2000)
    sent = b"".join(engine.output(ALL))
    return events + engine.take_events(), sent


def test_what_comes_of_every_frame_that_a_client_may_send() -> None:
    events, sent = read([EVERY_FRAME])
    assert events == [
        RequestHead(1, list(FIELDS), True),
        RequestHead(3, list(FIELDS), True),
        RequestHead(5, list(POST), False),
        ContentPart(5, b"one", 11),
        ContentPart(5, b"two", 3),
        ContentEnd(5),
        RequestHead(7, list(FIELDS), True),
        RequestHead(9, list(POST), False),
        ContentEnd(9),
        RequestHead(11, list(FIELDS), True),
        StreamOver(11, ErrorCode.CANCEL),
    ]
    frames = client.read_frames(sent)
    assert [len(content_of(frames, stream_id)) for stream_id in (1, 3, 5, 7, 9, 11)] == [
        1000,
        2000,
        1000,
        1000,
        1000,
        0,
    ]
    assert ends(frames) == [3]


def test_the_same_comes_of_it_octet_by_octet() -> None:
    whole = read([EVERY_FRAME])
    assert read([EVERY_FRAME[at : at + 1] for at in range(len(EVERY_FRAME))]) == whole


@given(cuts=st.sets(st.integers(0, len(EVERY_FRAME))))
@settings(max_examples=40, deadline=None)
def test_the_same_comes_of_it_however_it_is_cut(cuts: set[int]) -> None:
    places = [0, *sorted(cuts), len(EVERY_FRAME)]
    assert read([EVERY_FRAME[a:b] for a, b in pairwise(places)]) == read([EVERY_FRAME])


def test_the_servers_preface_says_the_limits() -> None:
    limits = H2Limits(
        max_concurrent_streams=7, stream_window_bytes=70_000, max_header_list_bytes=9000, header_table_bytes=100
    )
    engine = H2Engine(limits)
    engine.start()
    first, second = client.read_frames(b"".join(engine.output(ALL)))
    assert isinstance(first, SettingsFrame)
    assert first.settings == {0x3: 7, 0x4: 70_000, 0x6: 9000, 0x9: 1, 0x1: 100}
    assert isinstance(second, WindowUpdateFrame)
    assert (second.stream_id, second.window_increment) == (0, limits.connection_window_bytes - 65_535)


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\x16\x03\x01"]
)
def test_something_else_than_the_preface(octets: bytes) -> None:
    engine = H2Engine(H2Limits())
    engine.start()
    (over,) = engine.receive(octets, NOW)
    assert isinstance(over, ConnectionOver)
    assert over.code is ErrorCode.PROTOCOL_ERROR


def test_the_preface_is_over_with_settings() -> None:
    engine = H2Engine(H2Limits())
    engine.start()
    for octets in (PREFACE[:10], PREFACE[10:], client.settings()[:5]):
        assert engine.receive(octets, NOW) == []
        assert not engine.has_begun
    engine.receive(client.settings()[5:], NOW)
    assert engine.has_begun


def test_a_response_of_each_kind() -> None:
    stage = Stage()
    engine = stage.engine
    stage.send(*(client.headers(stream_id) for stream_id in (1, 3, 5, 7, 9)))
    engine.respond(1, OK, b"small")
    engine.respond(3, OK, b"")
    engine.send_interim(5, b"\x08\x03103")
    engine.send_head(5, OK, is_end=False)
    engine.send_content(5, b"par", is_end=False)
    engine.send_content(5, memoryview(b"ts"), is_end=False)
    engine.send_trailers(5, b"\x00\x01a\x01b")
    engine.send_head(7, OK, is_end=True)
    engine.send_head(9, OK, is_end=False)
    assert engine.open_streams == 2
    frames = stage.frames()
    engine.send_content(9, b"", is_end=True)
    frames += stage.frames()
    assert sorted(ends(frames)) == [1, 3, 5, 7, 9]
    assert content_of(frames, 1) == b"small"
    assert content_of(frames, 5) == b"parts"
    of_five = [type(frame).__name__ for frame in frames if frame.stream_id == 5]
    assert of_five == ["HeadersFrame", "HeadersFrame", "DataFrame", "DataFrame", "HeadersFrame"]
    assert engine.is_idle
    assert not engine.has_output


def test_a_block_that_is_larger_than_a_frame_is_continued() -> None:
    stage = Stage()
    stage.send(client.headers(1), client.headers(3))
    long = OK + b"".join(b"\x00\x01a\x7f\x81\x06" + b"v" * 896 for _ in range(60))
    stage.engine.respond(1, long, b"x")
    stage.engine.send_head(3, long, is_end=True)
    frames = stage.frames()
    for stream_id, kinds in (
        (1, [HeadersFrame, *[ContinuationFrame] * 3, DataFrame]),
        (3, [HeadersFrame, *[ContinuationFrame] * 3]),
    ):
        own = [frame for frame in frames if frame.stream_id == stream_id]
        assert [type(frame) for frame in own] == kinds
        assert b"".join(frame.serialize_body() for frame in own[:4]) == long
        assert ["END_HEADERS" in frame.flags for frame in own[:4]] == [False, False, False, True]
    assert all(frame.body_len <= 16_384 for frame in frames)
    assert ends(frames) == [3, 1], "content leaves after heads"


def test_answers_to_a_stream_that_is_over_go_nowhere() -> None:
    stage = Stage()
    engine = stage.engine
    stage.send(client.headers(1), client.headers(3))
    engine.respond(1, OK, b"x")
    stage.send(client.reset(3))
    stage.frames()
    for stream_id in (1, 3, 5):
        engine.respond(stream_id, OK, b"again")
        engine.send_interim(stream_id, OK)
        engine.send_head(stream_id, OK, is_end=False)
        engine.send_content(stream_id, b"again", is_end=True)
        engine.send_trailers(stream_id, b"")
        engine.reset(stream_id, ErrorCode.CANCEL)
        engine.consumed(stream_id, 100)
        assert engine.may_send(stream_id)
        assert engine.is_answered(stream_id)
    assert not engine.has_output


def test_nothing_is_said_after_the_end_of_a_response() -> None:
    stage = Stage()
    engine = stage.engine
    stage.send(client.headers(1, is_end=False, fields=POST))
    engine.respond(1, OK, b"early")
    engine.respond(1, OK, b"twice")
    engine.send_content(1, b"more", is_end=True)
    engine.send_trailers(1, b"\x00\x01a\x01b")
    frames = stage.frames()
    assert content_of(frames, 1) == b"early"
    assert ends(frames) == [1]
    assert engine.open_streams == 1, "the request goes on"
    assert stage.send(client.data(1, b"rest", is_end=True)) == [ContentPart(1, b"rest", 4), ContentEnd(1)]
    assert engine.open_streams == 0


def test_a_reset_by_the_application_drops_what_is_queued() -> None:
    stage = Stage(client_settings={0x4: 10})
    stage.send(client.headers(1))
    stage.engine.respond(1, OK, b"x" * 100)
    assert len(content_of(stage.frames(), 1)) == 10
    stage.engine.reset(1, ErrorCode.INTERNAL_ERROR)
    (frame,) = stage.frames()
    assert isinstance(frame, RstStreamFrame)
    assert frame.error_code == ErrorCode.INTERNAL_ERROR
    assert stage.engine.is_idle
    assert stage.send(client.window_update(1, 1000)) == [], "it was under way"
    assert not stage.engine.has_output


def test_content_that_the_client_was_sending_into_a_reset_is_ignored_and_given_back() -> None:
    stage = Stage(H2Limits(connection_window_bytes=80_000))
    stage.send(client.headers(1, is_end=False, fields=POST))
    stage.engine.reset(1, ErrorCode.NO_ERROR)
    stage.frames()
    assert stage.send(*(client.data(1, b"x" * 10_000) for _ in range(5))) == []
    assert stage.send(client.headers(1, fields=(("x-trailer", "1"),)), client.reset(1)) == []
    (frame,) = stage.frames()
    assert isinstance(frame, WindowUpdateFrame)
    assert (frame.stream_id, frame.window_increment) == (0, 40_000)


def test_a_table_that_the_client_does_not_keep_is_not_used() -> None:
    """RFC 7541 section 4.2: the first block after the client has made its table smaller says so."""
    stage = Stage(client_settings={0x1: 0})
    stage.send(client.headers(1), client.headers(3))
    stage.engine.respond(1, OK, b"a")
    stage.engine.respond(3, OK, b"b")
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 0
    heads = [bytes(frame.data) for frame in stage.frames() if isinstance(frame, HeadersFrame)]
    assert [[str(value) for _, value in decoder.decode(head)] for head in heads] == [["200"], ["200"]]


def test_a_graceful_end_answers_what_was_on_its_way() -> None:
    stage = Stage()
    engine = stage.engine
    stage.send(client.headers(1))
    engine.drain()
    first, question = stage.frames()
    assert isinstance(first, GoAwayFrame)
    assert (first.last_stream_id, first.error_code) == (2**31 - 1, 0)
    assert isinstance(question, PingFrame)
    assert [type(event) for event in stage.send(client.headers(3))] == [RequestHead]
    assert stage.send(client.ping(bytes(question.opaque_data), is_ack=True)) == []
    assert stage.send(client.headers(5), client.headers(7, is_end=False), client.data(7, b"late")) == [], (
        "sent too late"
    )
    (last,) = stage.frames()
    assert isinstance(last, GoAwayFrame)
    assert (last.last_stream_id, last.error_code) == (3, 0)
    engine.respond(3, OK, b"three")
    engine.respond(1, OK, b"one")
    assert not engine.is_over
    assert ends(stage.frames()) == [3, 1]
    assert engine.take_events() == [ConnectionOver(ErrorCode.NO_ERROR, "")]
    assert engine.is_over


def test_a_graceful_end_of_a_client_that_does_not_answer() -> None:
    stage = Stage()
    stage.engine.drain()
    stage.engine.drain()
    frames = stage.frames()
    assert [frame.last_stream_id for frame in frames if isinstance(frame, GoAwayFrame)] == [2**31 - 1, 0]
    assert stage.engine.take_events() == [ConnectionOver(ErrorCode.NO_ERROR, "")]


def test_a_client_that_goes_away_still_gets_its_answers() -> None:
    stage = Stage(client_settings={0x4: 10})
    assert [type(event) for event in stage.send(client.headers(1), client.goaway())] == [RequestHead]
    stage.engine.respond(1, OK, b"x" * 30)
    assert content_of(stage.frames(), 1) == b"x" * 10
    assert stage.engine.take_events() == []
    stage.send(client.window_update(1, 1000))
    *_, last, goodbye = stage.frames()
    assert ends([last]) == [1]
    assert isinstance(goodbye, GoAwayFrame)
    assert stage.engine.take_events() == [ConnectionOver(ErrorCode.NO_ERROR, "")]


def test_going_away_is_the_last_frame() -> None:
    stage = Stage()
    stage.send(client.headers(1), client.headers(3))
    stage.engine.respond(1, OK, b"x")
    stage.engine.go_away(ErrorCode.INTERNAL_ERROR, "why")
    *_, goodbye = stage.frames()
    assert isinstance(goodbye, GoAwayFrame)
    assert (goodbye.last_stream_id, goodbye.error_code, goodbye.additional_data) == (3, 2, b"why")
    assert stage.engine.take_events() == [ConnectionOver(ErrorCode.INTERNAL_ERROR, "why")]
    stage.engine.drain()
    stage.engine.go_away(ErrorCode.NO_ERROR, "")
    assert not stage.engine.has_output


def test_room_for_content_that_the_application_feeds() -> None:
    stage = Stage(H2Limits(max_queued_bytes=100), client_settings={0x4: 50})
    engine = stage.engine
    stage.send(client.headers(1), client.headers(3), client.headers(5))
    engine.send_head(1, OK, is_end=False)
    engine.send_head(3, OK, is_end=False)
    engine.respond(5, OK, b"z" * 1000)
    assert engine.may_send(1)
    engine.send_content(1, b"x" * 150, is_end=False)
    assert not engine.may_send(1)
    assert engine.may_send(3), "one part of each may wait"
    engine.send_content(3, b"y" * 10, is_end=False)
    assert not engine.may_send(3)
    stage.frames()
    assert engine.take_events() == [Writable(3)], "100 of the first wait for its window"
    stage.send(client.window_update(1, 1))
    stage.frames()
    assert engine.take_events() == [Writable(1)]
    assert engine.take_events() == []
    assert engine.may_send(1)


def test_a_stream_that_is_over_is_not_writable_any_more() -> None:
    stage = Stage(H2Limits(max_queued_bytes=100), client_settings={0x4: 0})
    engine = stage.engine
    stage.send(client.headers(1), client.headers(3))
    engine.send_head(1, OK, is_end=False)
    engine.send_head(3, OK, is_end=False)
    engine.send_content(1, b"x" * 150, is_end=False)
    engine.send_content(3, b"x" * 150, is_end=False)
    assert not engine.may_send(1)
    assert not engine.may_send(3)
    assert stage.send(client.reset(1)) == [StreamOver(1, ErrorCode.CANCEL)]
    stage.frames()
    assert engine.take_events() == []
    engine.reset(3, ErrorCode.CANCEL)
    stage.send(client.headers(5))
    engine.send_head(5, OK, is_end=False)
    engine.send_content(5, b"x", is_end=False)
    assert engine.may_send(5), "what was dropped counts no more"


def test_content_is_not_copied_before_it_is_sent() -> None:
    stage = Stage()
    stage.send(client.headers(1))
    content = bytearray(40_000)
    view = memoryview(content)
    stage.engine.respond(1, OK, view)
    content[39_999] = 1
    assert content_of(stage.frames(), 1)[-1] == 1


@pytest.mark.parametrize("begun", [client.headers(1)[:12], client.raw(0x1, 0x1, 1, client.block())])
def test_half_a_request_is_not_idle(begun: bytes) -> None:
    engine = Stage().engine
    states = [engine.is_idle]
    engine.receive(begun, NOW)
    assert [*states, engine.is_idle] == [True, False]
    assert engine.open_streams == 0


@pytest.mark.parametrize("behind", [client.headers(3), client.raw(0x0, 0, 0), b"\xff" * 9])
def test_nothing_is_read_behind_the_end(behind: bytes) -> None:
    """Whether it comes in the same read or not."""
    stage = Stage()
    assert stage.send(client.goaway() + behind) == [ConnectionOver(ErrorCode.NO_ERROR, "")]
    stage = Stage()
    stage.engine.drain()
    question = stage.frames()[1]
    assert isinstance(question, PingFrame)
    answer = client.ping(bytes(question.opaque_data), is_ack=True)
    assert stage.send(answer + behind) == [ConnectionOver(ErrorCode.NO_ERROR, "")]
    stage = Stage()
    stage.send(client.headers(1), client.goaway())
    assert stage.send(client.reset(1) + behind)[1:] == [ConnectionOver(ErrorCode.NO_ERROR, "")]


def test_a_connection_has_a_place_for_each_attribute_and_no_dictionary() -> None:
    assert not hasattr(H2Engine(H2Limits()), "__dict__")
