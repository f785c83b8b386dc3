"""Windows of both sides of an HTTP/2 connection (RFC 9113 section 6.9)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hyperframe.frame import DataFrame, WindowUpdateFrame
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cdn.edge.h2_engine import H2Engine
from cdn.edge.h2_events import ContentEnd, ContentPart, ErrorCode, RequestHead, StreamOver
from cdn.edge.h2_limits import H2Limits
from tests.edge import h2_engine_stage as client
from tests.edge.h2_engine_stage import OK, POST, Stage, content_of, ends

RATE = 1024


def updates(stage: Stage) -> list[tuple[int, int]]:
    found = [frame for frame in stage.frames() if isinstance(frame, WindowUpdateFrame)]
    return [(frame.stream_id, frame.window_increment) for frame in found]


def test_content_stops_at_the_window_of_its_stream() -> None:
    stage = Stage(client_settings={0x4: 100})
    stage.send(client.headers(1), client.headers(3))
    stage.engine.respond(1, OK, b"a" * 250)
    stage.engine.respond(3, OK, b"b" * 100)
    frames = stage.frames()
    assert (content_of(frames, 1), content_of(frames, 3)) == (b"a" * 100, b"b" * 100)
    assert ends(frames) == [3]
    assert not stage.engine.has_output
    stage.send(client.window_update(1, 149))
    assert content_of(stage.frames(), 1) == b"a" * 149
    stage.send(client.window_update(1, 1))
    assert ends(stage.frames()) == [1]


def test_content_stops_at_the_window_of_the_connection() -> None:
    stage = Stage(client_settings={0x4: 2**20})
    stage.send(client.headers(1), client.headers(3))
    stage.engine.respond(1, OK, b"a" * 65_000)
    stage.engine.respond(3, OK, b"b" * 1000)
    frames = stage.frames()
    assert (len(content_of(frames, 1)), len(content_of(frames, 3))) == (65_000, 535)
    assert not stage.engine.has_output
    stage.send(client.window_update(3, 1000))
    assert not stage.engine.has_output
    stage.send(client.window_update(0, 465))
    assert ends(stage.frames()) == [3]


def test_heads_and_ends_need_no_window() -> None:
    stage = Stage(client_settings={0x4: 0})
    stage.send(client.headers(1), client.headers(3), client.headers(5))
    stage.engine.respond(1, OK, b"")
    stage.engine.send_head(3, OK, is_end=False)
    stage.engine.send_content(3, b"", is_end=True)
    stage.engine.send_head(5, OK, is_end=False)
    stage.engine.send_trailers(5, b"\x00\x01a\x01b")
    assert ends(stage.frames()) == [1, 3, 5]


def test_a_new_initial_window_counts_for_open_streams() -> None:
    stage = Stage(client_settings={0x4: 100})
    stage.send(client.headers(1), client.headers(3))
    stage.engine.respond(1, OK, b"a" * 300)
    assert len(content_of(stage.frames(), 1)) == 100
    stage.send(client.settings({0x4: 40}))
    assert len(content_of(stage.frames(), 1)) == 0, "60 too many were sent"
    stage.send(client.window_update(1, 60))
    assert not stage.engine.has_output
    stage.send(client.window_update(1, 5))
    assert len(content_of(stage.frames(), 1)) == 5
    stage.engine.respond(3, OK, b"b" * 300)
    assert len(content_of(stage.frames(), 3)) == 40, "it had sent nothing"
    stage.send(client.settings({0x4: 1000}))
    assert ends(stage.frames()) == [1, 3]


def test_windows_move_once_for_all_that_one_frame_says(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(client_settings={0x4: 0})
    stage.send(client.headers(1))
    stage.engine.respond(1, OK, b"0123456789")
    stage.frames()
    moved: list[int] = []
    move = H2Engine._move_windows

    def note(engine: H2Engine, initial_bytes: int) -> None:
        moved.append(initial_bytes)
        move(engine, initial_bytes)

    monkeypatch.setattr(H2Engine, "_move_windows", note)
    sizes = [10, 0] * 10 + [4]
    stage.send(client.raw(0x4, 0, 0, b"".join(b"\0\4" + size.to_bytes(4, "big") for size in sizes)))
    assert content_of(stage.frames(), 1) == b"0123"
    assert moved == [4]


def test_a_window_that_was_widened_before_the_answer() -> None:
    stage = Stage(client_settings={0x4: 100})
    stage.send(client.headers(1), client.window_update(1, 50))
    stage.engine.respond(1, OK, b"a" * 200)
    assert len(content_of(stage.frames(), 1)) == 150


def test_an_initial_window_that_makes_another_too_large() -> None:
    stage = Stage()
    stage.send(client.headers(1), client.window_update(1, 2**31 - 1 - 65_535))
    assert stage.error(client.settings({0x4: 65_536})) is ErrorCode.FLOW_CONTROL_ERROR


def test_windows_as_large_as_they_may_be() -> None:
    stage = Stage(client_settings={0x4: 2**31 - 1})
    stage.send(client.window_update(0, 2**31 - 1 - 65_535), client.headers(1))
    stage.engine.respond(1, OK, bytes(2**20))
    assert ends(stage.frames()) == [1]


def test_output_takes_about_as_much_as_asked() -> None:
    stage = Stage(client_settings={0x4: 2**20})
    stage.send(client.window_update(0, 2**20), client.headers(1))
    stage.engine.respond(1, OK, b"a" * 100_000)
    sizes = []
    while stage.engine.has_output:
        sizes.append(len(content_of(stage.frames(20_000), 1)))
    assert sum(sizes) == 100_000
    assert sizes == [32_768, 32_768, 32_768, 1696], "frames are not cut for it"


@pytest.mark.parametrize("max_bytes", [1, 20_000, 65_536])
def test_answers_that_leave_at_once_leave_in_parts_too(max_bytes: int) -> None:
    whole, parts = Stage(client_settings={0x4: 2**20}), Stage(client_settings={0x4: 2**20})
    for stage in (whole, parts):
        stage.send(client.window_update(0, 2**20), *(client.headers(stream_id) for stream_id in range(1, 41, 2)))
        for stream_id in range(1, 41, 2):
            stage.engine.respond(stream_id, OK, bytes([stream_id]) * 16_000)
    sent = []
    while parts.engine.has_output:
        sent.append(parts.output(max_bytes))
    assert b"".join(sent) == whole.output()
    assert all(0 < len(part) <= max_bytes + 16_384 + 200 for part in sent)
    assert parts.engine.is_idle


def test_windows_are_given_back_as_content_is_read() -> None:
    stage = Stage(H2Limits(stream_window_bytes=65_536, connection_window_bytes=131_072))
    stage.send(client.headers(1, is_end=False, fields=POST), *[client.data(1, b"x" * 16_000)] * 4)
    assert updates(stage) == []
    stage.engine.consumed(1, 32_000)
    assert updates(stage) == [], "less than half"
    stage.engine.consumed(1, 16_000)
    assert updates(stage) == [(1, 48_000)]
    stage.send(client.data(1, b"x" * 16_000), client.data(1, b"x" * 16_000))
    stage.engine.consumed(1, 48_000)
    assert updates(stage) == [(0, 96_000), (1, 48_000)]


def test_what_nobody_reads_is_given_back_to_the_connection_at_the_end() -> None:
    stage = Stage(H2Limits(connection_window_bytes=70_000))
    for stream_id, close in ((1, client.reset(1)), (3, client.data(3, is_end=True)), (5, b"")):
        stage.send(client.headers(stream_id, is_end=False, fields=POST), *[client.data(stream_id, b"x" * 10_000)] * 4)
        stage.send(close)
        if stream_id == 3:
            stage.engine.respond(3, OK, b"x")
        if stream_id == 5:
            stage.engine.reset(5, ErrorCode.CANCEL)
        assert updates(stage) == [(0, 40_000)]
        stage.engine.consumed(stream_id, 40_000)
        assert updates(stage) == [], "once"


def test_no_window_is_given_for_a_request_that_is_whole() -> None:
    stage = Stage(H2Limits(stream_window_bytes=1000))
    stage.send(client.headers(1, is_end=False, fields=POST), client.data(1, b"x" * 1000, is_end=True))
    stage.engine.consumed(1, 1000)
    assert updates(stage) == []


def test_padding_is_given_back_at_once() -> None:
    stage = Stage(H2Limits(stream_window_bytes=300))
    stage.send(client.headers(1, is_end=False, fields=POST), client.data(1, padding_bytes=200))
    assert updates(stage) == [(1, 201)]


def test_a_window_that_the_client_does_not_know_yet() -> None:
    """Until our SETTINGS are acknowledged the window of a stream is 65,535."""
    stage = Stage(H2Limits(stream_window_bytes=100_000), is_acknowledged=False)
    stage.send(client.headers(1, is_end=False, fields=POST), client.headers(3, is_end=False, fields=POST))
    stage.send(*[client.data(1, b"x" * 13_107)] * 5)
    assert stage.stream_error(1, client.data(1, b"x")) is ErrorCode.FLOW_CONTROL_ERROR
    stage.send(client.SETTINGS_ACK)
    parts = stage.send(*[client.data(3, b"x" * 10_000)] * 10)
    assert sum(part.flow_bytes for part in parts if isinstance(part, ContentPart)) == 100_000
    assert stage.stream_error(3, client.data(3, b"x")) is ErrorCode.FLOW_CONTROL_ERROR


def test_a_stream_whose_window_stays_shut_is_told() -> None:
    stage = Stage(client_settings={0x4: 100})
    stage.send(client.headers(1), client.headers(3))
    stage.engine.respond(1, OK, b"a" * 10_000)
    stage.frames()
    assert stage.engine.stalled_since(10.0, RATE) == {1: 10.0}
    stage.send(client.window_update(1, 50))
    stage.frames()
    assert stage.engine.stalled_since(11.0, RATE) == {1: 10.0}, "that is no rate"
    stage.send(client.window_update(1, 5000))
    stage.frames()
    assert stage.engine.stalled_since(12.0, RATE) == {1: 12.0}
    stage.send(client.window_update(1, 5000))
    stage.frames()
    assert stage.engine.stalled_since(13.0, RATE) == {}


def test_a_stream_that_waits_for_others_is_not_stalled() -> None:
    stage = Stage(client_settings={0x4: 2**20})
    stage.send(client.headers(1), client.headers(3))
    for stream_id in (1, 3):
        stage.engine.respond(stream_id, OK, b"a" * 50_000)
    stage.frames(20_000)
    assert stage.engine.stalled_since(10.0, RATE) == {}, "the transport takes no more"
    stage.frames()
    assert stage.engine.stalled_since(11.0, RATE) == {0: 11.0}
    stage.send(client.window_update(0, 100))
    stage.frames()
    assert stage.engine.stalled_since(12.0, RATE) == {0: 11.0}
    stage.send(client.window_update(0, 2**20))
    stage.frames()
    assert stage.engine.stalled_since(13.0, RATE) == {}


def test_a_stall_is_forgotten_when_nothing_waits() -> None:
    stage = Stage(client_settings={0x4: 100})
    stage.send(client.headers(1))
    stage.engine.send_head(1, OK, is_end=False)
    stage.engine.send_content(1, b"a" * 150, is_end=False)
    stage.frames()
    assert stage.engine.stalled_since(10.0, RATE) == {1: 10.0}
    stage.send(client.window_update(1, 50))
    stage.frames()
    assert stage.engine.stalled_since(11.0, RATE) == {}
    stage.engine.send_content(1, b"a" * 50, is_end=True)
    assert stage.engine.stalled_since(99.0, RATE) == {1: 99.0}


@dataclass
class Answer:
    """What a stream is to send, and what the client knows of its window."""

    content: bytes
    window_bytes: int
    sent: bytearray = field(default_factory=bytearray)
    is_over: bool = False


class Windows(RuleBasedStateMachine):
    """A plain model of windows: content that leaves never exceeds them, and leaves whenever they allow it."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = H2Limits(
            max_control_frames=10**6, max_resets=10**6, stream_window_bytes=2000, connection_window_bytes=70_000
        )
        self.stage = Stage(self.limits, client_settings={0x4: 500})
        self.initial_bytes = 500
        self.window_bytes = 65_535
        self.next_id = 1
        self.answers: dict[int, Answer] = {}
        self.uploads: dict[int, int] = {}
        self.unread: dict[int, int] = {}
        self.upload_window_bytes = 70_000

    @rule(size=st.integers(0, 3000), widened_bytes=st.sampled_from([0, 1, 700]), is_fed=st.booleans())
    def ask(self, size: int, widened_bytes: int, is_fed: bool) -> None:
        stream_id, self.next_id = self.next_id, self.next_id + 2
        widening = client.window_update(stream_id, widened_bytes) if widened_bytes else b""
        (head,) = self.stage.send(client.headers(stream_id), widening)
        assert isinstance(head, RequestHead)
        content = stream_id.to_bytes(4, "big") * (size // 4)
        self.answers[stream_id] = Answer(content, self.initial_bytes + widened_bytes)
        if is_fed:
            self.stage.engine.send_head(stream_id, OK, is_end=False)
            self.stage.engine.send_content(stream_id, content[:100], is_end=False)
            self.stage.engine.send_content(stream_id, content[100:], is_end=True)
        else:
            self.stage.engine.respond(stream_id, OK, content)

    def open_answers(self) -> list[int]:
        return [stream_id for stream_id, answer in self.answers.items() if not answer.is_over]

    @precondition(lambda self: self.open_answers())
    @rule(pick=st.randoms(use_true_random=False), more_bytes=st.integers(1, 2000))
    def widen(self, pick: object, more_bytes: int) -> None:
        stream_id = pick.choice(self.open_answers())  # type: ignore[attr-defined]
        assert self.stage.send(client.window_update(stream_id, more_bytes)) == []
        self.answers[stream_id].window_bytes += more_bytes

    @precondition(lambda self: self.open_answers())
    @rule(pick=st.randoms(use_true_random=False))
    def give_up(self, pick: object) -> None:
        stream_id = pick.choice(self.open_answers())  # type: ignore[attr-defined]
        assert self.stage.send(client.reset(stream_id)) == [StreamOver(stream_id, ErrorCode.CANCEL)]
        self.answers[stream_id].is_over = True

    @rule(more_bytes=st.integers(1, 5000))
    def widen_all(self, more_bytes: int) -> None:
        assert self.stage.send(client.window_update(0, more_bytes)) == []
        self.window_bytes += more_bytes

    @rule(initial_bytes=st.integers(0, 2000))
    def move(self, initial_bytes: int) -> None:
        assert self.stage.send(client.settings({0x4: initial_bytes})) == []
        for answer in self.answers.values():
            answer.window_bytes += initial_bytes - self.initial_bytes
        self.initial_bytes = initial_bytes

    @rule(max_bytes=st.one_of(st.just(1 << 30), st.integers(0, 3000)))
    def send(self, max_bytes: int) -> None:
        for frame in self.stage.frames(max_bytes):
            answer = self.answers.get(frame.stream_id)
            if isinstance(frame, WindowUpdateFrame):
                if frame.stream_id:
                    self.uploads[frame.stream_id] += frame.window_increment
                else:
                    self.upload_window_bytes += frame.window_increment
            elif isinstance(frame, DataFrame):
                assert answer is not None
                assert frame.data == b"" or answer.window_bytes >= len(frame.data) <= self.window_bytes
                answer.sent += frame.data
                answer.window_bytes -= len(frame.data)
                self.window_bytes -= len(frame.data)
            if answer is not None and "END_STREAM" in frame.flags:
                assert answer.sent == answer.content
                answer.is_over = True
        if max_bytes == 1 << 30:
            for answer in self.answers.values():
                is_blocked = answer.window_bytes <= 0 or self.window_bytes <= 0
                assert answer.is_over or is_blocked, "nothing is held back"

    @rule()
    def upload(self) -> None:
        stream_id, self.next_id = self.next_id, self.next_id + 2
        self.stage.send(client.headers(stream_id, is_end=False, fields=POST))
        self.uploads[stream_id], self.unread[stream_id] = 2000, 0

    @precondition(lambda self: self.uploads)
    @rule(
        pick=st.randoms(use_true_random=False), size=st.integers(0, 2500), padding_bytes=st.sampled_from([None, 0, 99])
    )
    def upload_part(self, pick: object, size: int, padding_bytes: int | None) -> None:
        stream_id = pick.choice(list(self.uploads))  # type: ignore[attr-defined]
        flow_bytes = size + (0 if padding_bytes is None else padding_bytes + 1)
        if flow_bytes > self.upload_window_bytes:
            return
        events = self.stage.send(client.data(stream_id, b"x" * size, padding_bytes=padding_bytes))
        self.upload_window_bytes -= flow_bytes
        if flow_bytes > self.uploads[stream_id]:
            assert events == [StreamOver(stream_id, ErrorCode.FLOW_CONTROL_ERROR)]
            del self.uploads[stream_id], self.unread[stream_id]
            self.frames_of_end()
            return
        self.uploads[stream_id] -= flow_bytes
        if size:
            assert events == [ContentPart(stream_id, b"x" * size, flow_bytes)]
            self.unread[stream_id] += flow_bytes

    def frames_of_end(self) -> None:
        self.send(0)

    @precondition(lambda self: self.uploads)
    @rule(pick=st.randoms(use_true_random=False), share=st.floats(0, 1))
    def read(self, pick: object, share: float) -> None:
        stream_id = pick.choice(list(self.uploads))  # type: ignore[attr-defined]
        size = int(self.unread[stream_id] * share)
        self.stage.engine.consumed(stream_id, size)
        self.unread[stream_id] -= size

    @precondition(lambda self: self.uploads)
    @rule(pick=st.randoms(use_true_random=False))
    def end_upload(self, pick: object) -> None:
        stream_id = pick.choice(list(self.uploads))  # type: ignore[attr-defined]
        assert self.stage.send(client.data(stream_id, is_end=True)) == [ContentEnd(stream_id)]
        self.send(0)
        self.stage.engine.respond(stream_id, OK, b"")
        del self.uploads[stream_id], self.unread[stream_id]

    @invariant()
    def windows_come_back(self) -> None:
        """Of what was read, less than half a window is held back."""
        self.send(0)
        assert self.upload_window_bytes + sum(self.unread.values()) > 70_000 - 35_000
        for stream_id, left_bytes in self.uploads.items():
            assert left_bytes + self.unread[stream_id] > 1000
        assert self.stage.engine.open_streams == len(self.open_answers()) + len(self.uploads)
        assert not self.stage.engine.is_over


Windows.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestWindows = Windows.TestCase
