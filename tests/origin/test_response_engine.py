"""The client's engine for HTTP/1.1: what is accepted, what is broken, and that cuts of the input change nothing."""

from __future__ import annotations

import itertools
import time

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.fields import FieldLines
from cdn.origin.http1.engine import EngineState, MessageEnd, ResponseEngine
from cdn.origin.http1.framing import Broken
from cdn.origin.http1.response_head import MessageHead, read_response_head
from cdn.origin.upstream import UpstreamFault
from cdn.origin.upstream_limits import UpstreamLimits
from tests.origin.response_bytes import BAD_CHUNKS, BAD_HEADS, CHUNKED, LENGTH, OK, UNTIL_CLOSE, WHOLE

LIMITS = UpstreamLimits()


class Reading:
    """What one engine said of one response."""

    def __init__(self, method: str = "GET", limits: UpstreamLimits = LIMITS) -> None:
        self.engine = ResponseEngine(limits)
        self.engine.start(method)
        self.interim: list[int] = []
        self.status = 0
        self.content = b""
        self.trailers: FieldLines = ()
        self.fault: UpstreamFault | None = None
        self.is_whole = False

    def feed(self, data: bytes) -> Reading:
        self.engine.receive(data)
        return self.look()

    def end(self, *, is_clean: bool) -> Reading:
        self.engine.end_of_input(is_clean=is_clean)
        return self.look()

    def look(self) -> Reading:
        while not self.is_whole and self.fault is None:
            match self.engine.next_event():
                case None:
                    break
                case MessageHead() as head if head.is_interim:
                    self.interim.append(head.head.status)
                case MessageHead() as head:
                    self.status = head.head.status
                case MessageEnd(trailers=trailers):
                    self.trailers = trailers
                    self.is_whole = True
                case Broken(fault=fault):
                    self.fault = fault
                case part:
                    assert part
                    self.content += part
        return self

    def verdict(self) -> tuple[object, ...]:
        return (self.interim, self.status, self.content, self.trailers, self.fault, self.is_whole)


def read(data: bytes, method: str = "GET") -> Reading:
    return Reading(method).feed(data)


def read_in_pieces(data: bytes, cuts: list[int], method: str = "GET") -> Reading:
    reading = Reading(method)
    edges = [0, *sorted(cuts), len(data)]
    for start, stop in itertools.pairwise(edges):
        reading.feed(data[start:stop])
    return reading


@pytest.mark.parametrize("name", BAD_HEADS)
def test_a_bad_head_breaks_the_response(name: str) -> None:
    data, fault = BAD_HEADS[name]
    reading = read(data)
    assert (reading.fault, reading.status, reading.content) == (fault, 0, b"")
    assert not reading.engine.may_start
    assert not reading.engine.buffer


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks_break_the_content(name: str) -> None:
    reading = read(OK + CHUNKED + b"\r\n" + BAD_CHUNKS[name])
    assert (reading.fault, reading.is_whole) == (UpstreamFault.MALFORMED_CONTENT, False)
    assert not reading.engine.may_start


@pytest.mark.parametrize("name", WHOLE)
def test_good_responses_are_read_whole(name: str) -> None:
    method, data, status, content = WHOLE[name]
    reading = read(data, method)
    assert (reading.status, reading.content, reading.is_whole, reading.fault) == (status, content, True, None)


@pytest.mark.parametrize("name", [*BAD_HEADS, *WHOLE])
def test_cuts_of_the_input_change_nothing(name: str) -> None:
    method, data = ("GET", BAD_HEADS[name][0]) if name in BAD_HEADS else WHOLE[name][:2]
    expected = read(data, method).verdict()
    assert read_in_pieces(data, list(range(1, min(len(data), 500))), method).verdict() == expected
    for cut in range(1, min(len(data), 200)):
        assert read_in_pieces(data, [cut], method).verdict() == expected


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_cuts_of_bad_chunks_change_nothing_but_what_came_before(name: str) -> None:
    data = OK + CHUNKED + b"\r\n" + BAD_CHUNKS[name]
    expected = read(data).verdict()
    assert read_in_pieces(data, list(range(1, min(len(data), 500)))).verdict() == expected


@pytest.mark.parametrize("is_clean", [True, False])
@pytest.mark.parametrize("name", WHOLE)
def test_an_end_at_any_offset_is_no_whole_response(name: str, is_clean: bool) -> None:
    method, data, _, content = WHOLE[name]
    for length in range(len(data)):
        reading = Reading(method).feed(data[:length]).end(is_clean=is_clean)
        assert (reading.is_whole, reading.fault) == (False, UpstreamFault.CLOSED_EARLY), length
        assert content.startswith(reading.content)
    assert Reading(method).feed(data).end(is_clean=is_clean).is_whole


@pytest.mark.parametrize("name", UNTIL_CLOSE)
def test_content_until_close_is_whole_only_by_a_clean_close(name: str) -> None:
    data = UNTIL_CLOSE[name]
    head_bytes = data.index(b"\r\n\r\n") + 4
    for length in range(len(data) + 1):
        cut = Reading().feed(data[:length]).end(is_clean=False)
        assert (cut.is_whole, cut.fault) == (False, UpstreamFault.CLOSED_EARLY), length
        ended = Reading().feed(data[:length]).end(is_clean=True)
        assert ended.is_whole is (length >= head_bytes), length
        if ended.is_whole:
            assert ended.content == data[head_bytes:length]
        assert not ended.engine.may_start
    assert not Reading().feed(data).is_whole


def test_the_first_word_about_the_end_counts() -> None:
    reading = Reading().feed(UNTIL_CLOSE["HTTP/1.1"])
    reading.engine.end_of_input(is_clean=True)
    assert reading.end(is_clean=False).is_whole
    reading = Reading().feed(UNTIL_CLOSE["HTTP/1.1"])
    reading.engine.end_of_input(is_clean=False)
    assert not reading.end(is_clean=True).is_whole


def test_trailers_are_collected_but_for_those_that_would_deceive() -> None:
    tail = b"0\r\nServer-Timing: a\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\nX-Sum:  1 \r\n\r\n"
    reading = read(OK + CHUNKED + b"\r\n3\r\nabc\r\n" + tail)
    assert reading.is_whole
    assert reading.trailers == (("server-timing", "a"), ("x-sum", "1"))
    assert reading.engine.may_start


def test_a_connection_is_used_again_only_after_a_whole_response_with_nothing_behind_it() -> None:
    assert read(OK + LENGTH + b"\r\nabc").engine.may_start
    assert not read(OK + LENGTH + b"\r\nabcd").engine.may_start
    assert not read(OK + LENGTH + b"\r\nabc\r\n").engine.may_start
    assert not read(OK + LENGTH + b"\r\nab").engine.may_start
    assert not read(OK + b"Connection: close\r\n" + LENGTH + b"\r\nabc").engine.may_start
    assert not read(OK + b"Connection: a, CLOSE\r\n" + LENGTH + b"\r\nabc").engine.may_start
    assert not read(b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\nabc").engine.may_start
    assert not read(OK + LENGTH + b"\r\n\r\nabc", "HEAD").engine.may_start
    assert not read(b"HTTP/1.1 304 Not Modified\r\n\r\nabc").engine.may_start


def test_responses_follow_one_another() -> None:
    engine = ResponseEngine(LIMITS)
    for number in range(3):
        engine.start("GET")
        assert not engine.has_begun
        engine.receive(OK + b"Content-Length: 1\r\n\r\n%d" % number)
        events = [engine.next_event() for _ in range(4)]
        assert events[1:] == [b"%d" % number, MessageEnd(()), None]
        assert engine.may_start


def test_what_came_before_the_request_breaks_it() -> None:
    engine = ResponseEngine(LIMITS)
    engine.receive(OK + LENGTH + b"\r\nabc")
    assert engine.next_event() is None
    assert not engine.may_start
    engine.start("GET")
    assert isinstance(engine.next_event(), Broken)
    assert engine.state is EngineState.BROKEN
    assert engine.next_event() == engine.next_event()


def test_an_end_before_any_byte_is_told_from_one_within_an_answer() -> None:
    silent = Reading().end(is_clean=True)
    assert (silent.fault, silent.engine.has_begun) == (UpstreamFault.CLOSED_EARLY, False)
    begun = Reading().feed(b"H").end(is_clean=True)
    assert (begun.fault, begun.engine.has_begun) == (UpstreamFault.CLOSED_EARLY, True)


def test_what_is_held_is_bounded_while_nobody_reads_events() -> None:
    engine = ResponseEngine(LIMITS)
    engine.start("GET")
    engine.receive(OK + b"A: b\r\n" * 100_000)
    assert isinstance(engine.next_event(), Broken)
    engine.receive(b"x" * 1_000_000)
    assert not engine.buffer


@pytest.mark.parametrize(
    "line",
    [b"a:" + b" " * 60_000 + b"\x01", b"a" * 60_000, b"a: " + b"b " * 30_000 + b"\0", b"a" * 30_000 + b" :" * 15_000],
)
def test_hostile_lines_take_linear_time(line: bytes) -> None:
    started = time.process_time()
    assert read(OK + line + b"\r\n\r\n").fault is UpstreamFault.MALFORMED_HEAD
    assert time.process_time() - started < 0.5


def test_a_megabyte_of_tiny_chunks_takes_linear_time() -> None:
    count = 170_000
    started = time.process_time()
    reading = read(OK + CHUNKED + b"\r\n" + b"1\r\na\r\n" * count + b"0\r\n\r\n")
    assert reading.content == b"a" * count
    assert reading.is_whole
    assert time.process_time() - started < 3


@given(
    st.sampled_from([entry[1] for entry in WHOLE.values()] + [entry[0] for entry in BAD_HEADS.values()]),
    st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=0, max_size=3)), max_size=3),
    st.lists(st.integers(0, 300), max_size=4),
)
def test_no_input_raises_and_no_cut_matters(seed: bytes, changes: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = seed[:2000]
    for at, put in changes:
        data = data[:at] + put + data[at + 1 :]
    expected = read(data)
    got = read_in_pieces(data, [min(cut, len(data)) for cut in cuts])
    assert got.verdict() == expected.verdict()


_VALUE = st.binary(max_size=12).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
_NAME = st.sampled_from([b"A", b"x-y", b"Content-Type", b"a b", b"", b"a:", b"\x80", b"Connection", b"!#$"])


@given(st.lists(st.tuples(_NAME, st.sampled_from([b":", b": ", b" :", b":\t"]), _VALUE), max_size=5))
def test_no_field_is_accepted_that_another_strict_parser_reads_differently(
    lines: list[tuple[bytes, bytes, bytes]],
) -> None:
    raw = OK + b"".join(b"".join(line) + b"\r\n" for line in lines) + b"\r\n"
    judged = read_response_head(raw, "HEAD", LIMITS)
    if isinstance(judged, Broken):
        return
    found: list[tuple[bytes, bytes]] = []

    class Sink:
        def on_header(self, name: bytes, value: bytes) -> None:
            found.append((name, value))

    httptools.HttpResponseParser(Sink()).feed_data(raw)
    assert judged.head.fields.lines == tuple(
        (name.decode("latin-1").lower(), value.strip(b" \t").decode("latin-1")) for name, value in found
    )
