"""The bounds of an HTTP/2 connection: each with what is answered beyond it."""

from __future__ import annotations

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame, WindowUpdateFrame

from cdn.edge.h2_events import ConnectionOver, ErrorCode, RequestHead
from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_sender import MAX_DIRECT_BYTES
from tests.edge import h2_engine_stage as client
from tests.edge.h2_engine_stage import FIELDS, OK, POST, Stage, ends

CALM = ErrorCode.ENHANCE_YOUR_CALM


def heads(stage: Stage, *octets: bytes) -> list[int]:
    """Streams of the requests that are told."""
    return [event.stream_id for event in stage.send(*octets) if isinstance(event, RequestHead)]


def refused(stage: Stage) -> list[int]:
    found = [frame for frame in stage.frames() if isinstance(frame, RstStreamFrame)]
    assert all(frame.error_code == ErrorCode.REFUSED_STREAM for frame in found)
    return [frame.stream_id for frame in found]


def test_concurrent_streams() -> None:
    stage = Stage(H2Limits(max_concurrent_streams=3))
    assert heads(stage, *(client.headers(stream_id) for stream_id in range(1, 11, 2))) == [1, 3, 5]
    assert refused(stage) == [7, 9]
    stage.engine.respond(3, OK, b"x")
    assert heads(stage, client.headers(11), client.headers(13)) == [11]
    assert refused(stage) == [13]


def test_content_of_a_refused_stream_is_ignored() -> None:
    stage = Stage(H2Limits(max_concurrent_streams=1))
    assert heads(stage, client.headers(1), client.headers(3, is_end=False), client.data(3, b"x", is_end=True)) == [1]
    assert refused(stage) == [3]
    assert not stage.engine.is_over


def test_the_table_stays_in_step_when_a_stream_is_refused() -> None:
    stage = Stage(H2Limits(max_concurrent_streams=1))
    named = client.block() + b"\x40\x01a\x01b"
    stage.send(client.headers(1), client.headers(3, content=named))
    stage.engine.respond(1, OK, b"")
    (head,) = stage.send(client.headers(5, content=client.block() + b"\xbe"))
    assert isinstance(head, RequestHead)
    assert head.fields[-1] == ("a", "b")


def test_streams_that_wait_for_windows_count() -> None:
    stage = Stage(H2Limits(max_concurrent_streams=2), client_settings={0x4: 10})
    stage.send(client.headers(1), client.headers(3))
    for stream_id in (1, 3):
        stage.engine.respond(stream_id, OK, b"x" * 100)
    stage.frames()
    assert heads(stage, client.headers(5)) == []
    assert refused(stage) == [5]


def test_rapid_reset() -> None:
    stage = Stage(H2Limits(max_resets=10))
    for stream_id in range(1, 21, 2):
        assert heads(stage, client.headers(stream_id), client.reset(stream_id)) == [stream_id]
    assert stage.error(client.headers(21), client.reset(21)) is CALM


def test_resets_are_counted_over_time() -> None:
    stage = Stage(H2Limits(max_resets=10, fault_window_s=5.0))
    for stream_id in range(1, 101, 2):
        stage.now += 0.6
        stage.send(client.headers(stream_id), client.reset(stream_id))
    assert not stage.engine.is_over


def test_streams_that_are_reset_after_their_answer_began_count_too() -> None:
    stage = Stage(H2Limits(max_resets=10), client_settings={0x4: 10})
    for stream_id in range(1, 21, 2):
        stage.send(client.headers(stream_id))
        stage.engine.respond(stream_id, OK, b"x" * 100)
        stage.frames()
        stage.send(client.reset(stream_id))
    stage.send(client.headers(21))
    assert stage.error(client.reset(21)) is CALM


@pytest.mark.parametrize(
    "fault",
    [
        lambda stream_id: client.window_update(stream_id, 2**31 - 1),
        lambda stream_id: client.raw(0x8, 0, stream_id, bytes(4)),
        lambda stream_id: client.raw(0x2, 0, stream_id, b"1234"),
        lambda stream_id: client.data(stream_id, b"x"),
        client.headers,
    ],
)
def test_resets_that_the_client_brings_about(fault: object) -> None:
    """CVE-2025-8671: what makes the server reset streams counts as if the client did."""
    assert callable(fault)
    stage = Stage(H2Limits(max_resets=10))
    for stream_id in range(1, 21, 2):
        stage.send(client.headers(stream_id), fault(stream_id))
        assert not stage.engine.is_over
    assert stage.error(client.headers(21), fault(21)) is CALM


def test_streams_that_are_refused_count_as_resets() -> None:
    stage = Stage(H2Limits(max_concurrent_streams=1, max_resets=10))
    stage.send(client.headers(1))
    stage.send(*(client.headers(stream_id) for stream_id in range(3, 23, 2)))
    assert not stage.engine.is_over
    assert stage.error(client.headers(23)) is CALM


def test_resets_of_malformed_requests_count() -> None:
    """The engine does not judge fields: whoever does resets with this code."""
    stage = Stage(H2Limits(max_resets=10))
    for stream_id in range(1, 21, 2):
        stage.send(client.headers(stream_id))
        stage.engine.reset(stream_id, ErrorCode.PROTOCOL_ERROR)
    assert not stage.engine.is_over
    stage.send(client.headers(21))
    stage.engine.reset(21, ErrorCode.PROTOCOL_ERROR)
    (over,) = stage.engine.take_events()
    assert isinstance(over, ConnectionOver)
    assert over.code is CALM
    assert stage.engine.is_over


def test_resets_for_reasons_of_the_server_do_not_count() -> None:
    stage = Stage(H2Limits(max_resets=3))
    for stream_id in range(1, 100, 2):
        stage.send(client.headers(stream_id))
        stage.engine.reset(stream_id, (ErrorCode.INTERNAL_ERROR, ErrorCode.NO_ERROR, ErrorCode.CANCEL)[stream_id % 3])
    assert not stage.engine.is_over


NOTHING_ASKED = {
    "PING": client.ping(),
    "an answer to PING": client.ping(is_ack=True),
    "SETTINGS": client.settings(),
    "an acknowledgement": client.SETTINGS_ACK,
    "PRIORITY": client.priority(3),
    "PRIORITY_UPDATE": client.priority_update(1, b"u=1"),
    "PRIORITY_UPDATE of a stream to come": client.priority_update(99, b"u=1"),
    "empty DATA": client.data(1),
    "DATA of padding": client.data(1, padding_bytes=5),
    "WINDOW_UPDATE": client.window_update(0, 1),
    "WINDOW_UPDATE of a stream": client.window_update(1, 1),
    "WINDOW_UPDATE of a closed stream": client.window_update(3, 1),
    "RST_STREAM of a closed stream": client.reset(3),
    "DATA of a reset stream": client.data(5, b"x"),
    "HEADERS of a reset stream": client.headers(5),
    "unknown": client.raw(0x77, 0, 0),
    "GOAWAY": client.goaway(),
}


@pytest.mark.parametrize("name", NOTHING_ASKED)
def test_a_flood_of_frames_that_ask_for_nothing(name: str) -> None:
    limits = H2Limits(max_control_frames=100, fault_window_s=10.0)
    stage = Stage(limits)
    opened = b"".join(client.headers(stream_id, is_end=stream_id == 3, fields=POST) for stream_id in (1, 3, 5))
    stage.send(opened)
    stage.engine.respond(3, OK, b"")
    stage.engine.reset(5, ErrorCode.NO_ERROR)
    stage.frames()
    for _ in range(95):
        stage.send(NOTHING_ASKED[name])
        stage.frames()
    assert not stage.engine.is_over
    stage.now += 10.1
    for _ in range(95):
        stage.send(NOTHING_ASKED[name])
        stage.frames()
    assert not stage.engine.is_over, "counted over time"
    assert stage.error(NOTHING_ASKED[name] * 20) is CALM


def test_windows_for_what_was_sent_are_no_flood() -> None:
    stage = Stage(H2Limits(max_control_frames=10))
    for stream_id in range(1, 400, 2):
        stage.send(client.headers(stream_id))
        stage.engine.respond(stream_id, OK, b"x" * 100)
        stage.frames()
        stage.send(client.window_update(0, 100), client.window_update(stream_id, 100))
    assert not stage.engine.is_over


def test_windows_for_large_content_are_no_flood() -> None:
    stage = Stage(H2Limits(max_control_frames=10))
    stage.send(client.headers(1), client.window_update(0, 2**24), client.window_update(1, 2**24))
    stage.engine.respond(1, OK, b"x" * 2**20)
    parts = [frame for frame in stage.frames() if isinstance(frame, DataFrame)]
    for part in parts:
        stage.send(client.window_update(0, part.flow_controlled_length), client.ping())
    assert not stage.engine.is_over
    assert len(parts) == 64


def test_streams_that_were_passed_over_bring_no_frames() -> None:
    stage = Stage(H2Limits(max_control_frames=10))
    stage.send(client.ping())
    assert stage.error(client.headers(2**31 - 1), client.ping() * 50) is CALM


def test_continuations() -> None:
    parts = [client.continuation(1, b"", is_end=False)] * 16
    stage = Stage(H2Limits(max_continuations=16))
    assert heads(
        stage, client.raw(0x1, 0x1, 1, client.block()), *parts[1:], client.continuation(1, b"", is_end=True)
    ) == [1]
    stage = Stage(H2Limits(max_continuations=16))
    assert (
        stage.error(client.raw(0x1, 0x1, 1, client.block()), *parts, client.continuation(1, b"", is_end=False)) is CALM
    )


def test_a_block_that_is_too_large() -> None:
    stage = Stage(H2Limits(max_header_block_bytes=20_000))
    first = client.raw(0x1, 0x1, 1, b"\x00" * 10_000)
    assert stage.send(first, client.continuation(1, b"\x00" * 10_000, is_end=False)) == []
    assert stage.error(client.continuation(1, b"\x00", is_end=False)) is CALM


def test_a_list_that_is_too_large_is_told_and_the_connection_goes_on() -> None:
    stage = Stage(H2Limits(max_header_list_bytes=1000))
    (head,) = stage.send(client.headers(1, fields=(*FIELDS, ("x-long", "v" * 1000), ("last", "1"))))
    assert isinstance(head, RequestHead)
    assert head.is_too_large
    assert ("x-long", "v" * 1000) not in head.fields
    assert heads(stage, client.headers(3)) == [3]


def test_a_bomb_of_references_is_told_as_too_large() -> None:
    """4 KB in the table, named 16,000 times."""
    stage = Stage()
    stage.send(client.headers(1, content=client.block() + b"\x40\x01a\x7f\x81\x1e" + b"v" * 3968))
    (head,) = stage.send(client.headers(3, content=client.block() + b"\xbe" * 16_000))
    assert isinstance(head, RequestHead)
    assert head.is_too_large
    assert sum(len(value) for _, value in head.fields) <= 40_000


def test_answers_that_nobody_reads() -> None:
    limits = H2Limits(max_unsent_answers_bytes=1000, max_control_frames=10**6)
    stage = Stage(limits)
    for _ in range(200):
        stage.send(client.ping() * 50)
        stage.frames()
    assert not stage.engine.is_over, "they are read"
    stage.send(client.ping() * 50)
    events = stage.send(client.ping() * 50)
    assert isinstance(events[-1], ConnectionOver)
    assert events[-1].code is CALM
    assert len(stage.output()) < 1100


def test_answers_to_a_client_that_reads_nothing_are_bounded() -> None:
    """Whatever the answers are, there are no more than streams once much is ready."""
    stage = Stage(H2Limits(max_concurrent_streams=20, max_resets=10**6), client_settings={0x4: 2**30})
    stage.send(client.window_update(0, 2**30))
    answered = 0
    content = b"x" * 10_000
    for stream_id in range(1, 2001, 2):
        for event in stage.send(client.headers(stream_id)):
            if isinstance(event, RequestHead):
                answered += 1
                stage.engine.respond(
                    stream_id, OK + b"\x00\x01a\x7f\x81\x06" + b"v" * 896, content if answered % 2 else b""
                )
        stage.engine._unsent_answers_bytes = 0  # the resets of what is refused are bounded by themselves
    head_bytes = 1000
    assert answered < (MAX_DIRECT_BYTES + 20 * head_bytes) / head_bytes
    frames = stage.frames()
    assert len(ends(frames)) == answered
    assert (
        sum(frame.body_len for frame in frames if not isinstance(frame, RstStreamFrame))
        < MAX_DIRECT_BYTES + 20 * 11_000
    )
    assert stage.engine.open_streams == 0
    assert heads(stage, client.headers(2001)) == [2001]


def test_what_is_remembered_of_resets_is_bounded() -> None:
    stage = Stage(H2Limits(max_resets=5))
    for stream_id in range(1, 41, 2):
        stage.send(client.headers(stream_id, is_end=False))
        stage.engine.reset(stream_id, ErrorCode.NO_ERROR)
    assert stage.send(client.data(39, b"x"), client.data(31, b"x")) == []
    assert stage.error(client.data(29, b"x")) is ErrorCode.STREAM_CLOSED


def test_what_is_remembered_of_priorities_to_come_is_bounded() -> None:
    stage = Stage(H2Limits(max_concurrent_streams=4))
    stage.send(*(client.priority_update(stream_id, b"u=0") for stream_id in range(1, 200, 2)))
    assert len(stage.engine._foretold) == 4
    stage.send(client.headers(101))
    assert not stage.engine._foretold, "streams that were passed over never come"


@pytest.mark.parametrize("window_bytes", [100, 65_535, 100_000])
def test_content_beyond_the_window_of_a_stream(window_bytes: int) -> None:
    stage = Stage(H2Limits(stream_window_bytes=window_bytes, connection_window_bytes=300_000))
    stage.send(client.headers(1, is_end=False, fields=POST))
    sizes = [min(16_384, window_bytes - at) for at in range(0, window_bytes, 16_384)]
    stage.send(*(client.data(1, b"x" * size) for size in sizes))
    assert stage.stream_error(1, client.data(1, b"x")) is ErrorCode.FLOW_CONTROL_ERROR


def test_padding_counts_in_windows() -> None:
    stage = Stage(H2Limits(stream_window_bytes=100))
    stage.send(client.headers(1, is_end=False, fields=POST), client.data(1, b"x", padding_bytes=90))
    assert stage.stream_error(1, client.data(1, b"x", padding_bytes=7)) is ErrorCode.FLOW_CONTROL_ERROR


def test_content_beyond_the_window_of_the_connection() -> None:
    stage = Stage(H2Limits(connection_window_bytes=80_000))
    stage.send(client.headers(1, is_end=False, fields=POST), client.headers(3, is_end=False, fields=POST))
    for stream_id in (1, 3):
        stage.send(*[client.data(stream_id, b"x" * 10_000)] * 4)
    assert stage.error(client.data(1, b"x")) is ErrorCode.FLOW_CONTROL_ERROR


def test_heads_are_bounded_by_streams_not_by_bytes() -> None:
    stage = Stage(H2Limits(max_concurrent_streams=5))
    assert len(heads(stage, *(client.headers(stream_id) for stream_id in range(1, 21, 2)))) == 5
    for stream_id in (1, 3, 5, 7, 9):
        stage.engine.respond(stream_id, OK, b"")
    frames = [frame for frame in stage.frames() if isinstance(frame, HeadersFrame | WindowUpdateFrame)]
    assert len(frames) == 5


def test_many_settings_in_one_frame_count_as_many_frames() -> None:
    stage = Stage(H2Limits(max_control_frames=100))
    values = client.raw(0x4, 0, 0, b"\xf0\x00\x00\x00\x00\x01" * 2000)
    assert stage.send(values) == []
    assert stage.error(values) is CALM
