"""The engine alone: input whole, byte by byte and with trailing bytes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.edge.h1 import EngineState, Event, H1Engine, MessageEnd
from cdn.edge.head_parser import HeadParser, MessageHead
from cdn.edge.limits import HttpLimits
from cdn.edge.refusal import Refused
from tests.edge.engine_bad_heads import BAD_CHUNKS, BAD_REQUESTS, HOST

LIMITS = HttpLimits()
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def read(parts: Iterable[bytes], limits: HttpLimits = LIMITS) -> list[Event]:
    """All events of the messages in `parts`, with the content of one message joined."""
    engine = H1Engine(HeadParser(limits), limits)
    events: list[Event] = []
    for part in parts:
        engine.receive(part)
        while (event := engine.next_event()) is not None:
            if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
                events[-1] += event
            else:
                events.append(event)
            if engine.state is EngineState.DONE:
                engine.start_next()
    return events


def one_by_one(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


def only_head(data: bytes, limits: HttpLimits = LIMITS) -> MessageHead:
    head, *_ = read([data], limits)
    assert isinstance(head, MessageHead), head
    return head


def facts(events: list[Event]) -> list[object]:
    """What two ways of cutting the input must agree on."""
    return [
        (event.request, event.is_persistent, event.is_plain, event.expects_continue, type(event.framing))
        if isinstance(event, MessageHead)
        else event
        for event in events
    ]


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_input_is_refused_however_it_arrives(name: str) -> None:
    data, status, detail = BAD_REQUESTS[name]
    for parts in ([data], one_by_one(data), [data + GET], [*one_by_one(data), GET], [GET + data]):
        events = read(parts)
        refused = events[-1]
        assert isinstance(refused, Refused), (name, events)
        assert refused.refusal.status == status
        assert not detail or refused.refusal.detail == detail
        if parts != [GET + data]:
            assert len(events) == 1, "no part of it was handed on"


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks_are_refused_however_they_arrive(name: str) -> None:
    data = CHUNKED + BAD_CHUNKS[name]
    for parts in ([data], one_by_one(data), [data + GET]):
        refused = read(parts)[-1]
        assert isinstance(refused, Refused), name
        assert refused.refusal.detail == "malformed-chunk"


def test_the_smallest_request() -> None:
    for parts in ([GET], one_by_one(GET)):
        head, end = read(parts)
        assert isinstance(head, MessageHead)
        assert head.request.method == "GET"
        assert head.request.target.path == "/"
        assert head.request.host == "a.example"
        assert head.request.port is None
        assert head.request.scheme == "http"
        assert head.request.fields.lines == (("host", "a.example"),)
        assert (head.is_plain, head.is_persistent, head.expects_continue) == (True, True, False)
        assert end == MessageEnd()


def test_field_values_lose_the_whitespace_around_them_and_names_their_case() -> None:
    head = only_head(b"GET / HTTP/1.1\r\nHoSt:\t a.example \t\r\nX-A:b\tc  d\r\nX-B:\r\nX-C: \xe9\r\n\r\n")
    assert head.request.fields.lines == (("host", "a.example"), ("x-a", "b\tc  d"), ("x-b", ""), ("x-c", "é"))


def test_repeated_fields_are_kept_apart_and_in_order() -> None:
    head = only_head(b"GET / HTTP/1.1\r\n" + HOST + b"A: 1\r\na: 2\r\nB: 3\r\nA: 4\r\n\r\n")
    assert head.request.fields.get_all("a") == ("1", "2", "4")
    assert head.request.fields.get("b") == "3"


def test_one_empty_line_before_a_request_is_skipped() -> None:
    data = b"\r\n" + GET + b"\r\n" + GET
    assert facts(read([data])) == facts(read(one_by_one(data))) == facts(read([GET, GET]))


def test_an_absolute_target_gives_path_and_host() -> None:
    head = only_head(b"GET http://A.example/x?y HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (head.request.host, head.request.target.path, head.request.target.query) == ("a.example", "/x", "y")
    head = only_head(b"GET http://a.example:8080/x HTTP/1.0\r\n\r\n")
    assert (head.request.host, head.request.port, head.is_persistent) == ("a.example", 8080, False)


def test_an_asterisk_is_a_target_of_options_only() -> None:
    assert only_head(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n").request.target.path == "*"


@pytest.mark.parametrize(
    ("fields", "version", "is_persistent"),
    [
        (b"", b"1.1", True),
        (b"Connection: close\r\n", b"1.1", False),
        (b"Connection: foo, Close\r\n", b"1.1", False),
        (b"Connection: foo\r\nConnection: close\r\n", b"1.1", False),
        (b"Connection: closed\r\n", b"1.1", True),
        (b"Connection: keep-alive\r\n", b"1.1", True),
        (b"", b"1.0", False),
        (b"Connection: keep-alive\r\n", b"1.0", False),
    ],
)
def test_persistence(fields: bytes, version: bytes, is_persistent: bool) -> None:
    head = only_head(b"GET / HTTP/" + version + b"\r\n" + HOST + fields + b"\r\n")
    assert head.is_persistent is is_persistent


def test_the_head_after_one_that_closes_is_still_read() -> None:
    """One parser serves all connections: nothing of a message may stay in it."""
    closing = b"GET / HTTP/1.0\r\n" + HOST + b"\r\n"
    upgrade = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    chunked = CHUNKED + b"0\r\n\r\n"
    data = closing + upgrade + chunked + closing + GET
    events = read([data])
    assert [type(event) for event in events] == [MessageHead, MessageEnd] * 5
    assert facts(read(one_by_one(data))) == facts(events)


@pytest.mark.parametrize(
    "field", [b"Range: bytes=0-1", b"If-None-Match: *", b"If-Modified-Since: x", b"If-Range: x", b"If-Match: *"]
)
def test_conditions_and_ranges_are_left_to_who_recalls(field: bytes) -> None:
    assert only_head(b"GET / HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n").is_plain
    assert only_head(b"GET / HTTP/1.1\r\n" + HOST + field + b"\r\nContent-Length: 0\r\n\r\n").is_plain


def test_only_get_and_head_are_plain() -> None:
    for method in (b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PURGE"):
        assert not only_head(method + b" / HTTP/1.1\r\n" + HOST + b"\r\n").is_plain
    assert only_head(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n").is_plain
    assert only_head(b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n").is_plain
    assert not only_head(b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\n").is_plain


def test_content_of_a_known_length() -> None:
    data = b"PUT /a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello"
    for parts in ([data + GET], one_by_one(data + GET)):
        events = read(parts)
        assert events[1:3] == [b"hello", MessageEnd()]
        assert isinstance(events[3], MessageHead)


def test_chunked_content_with_extensions_and_trailers() -> None:
    data = CHUNKED + b"5;name=value\r\nhello\r\n0006;x\r\n world\r\n0\r\nTrailer: ignored\r\nB:\r\n\r\n"
    for parts in ([data + GET], one_by_one(data + GET)):
        events = read(parts)
        assert events[1:3] == [b"hello world", MessageEnd()]
        assert isinstance(events[3], MessageHead)


def test_chunked_content_is_bounded() -> None:
    limits = HttpLimits(max_content_bytes=10)
    for data in (b"b\r\n", b"5\r\nhello\r\n6\r\n", b"fffffffffffffff\r\n"):
        refused = read([CHUNKED + data], limits)[-1]
        assert isinstance(refused, Refused)
        assert refused.refusal.status == 413


def test_an_expectation_counts_only_with_content_over_http_1_1() -> None:
    fields = HOST + b"Expect: 100-Continue\r\n"
    assert only_head(b"PUT / HTTP/1.1\r\n" + fields + b"Content-Length: 1\r\n\r\n").expects_continue
    assert not only_head(b"PUT / HTTP/1.1\r\n" + fields + b"\r\n").expects_continue
    assert not only_head(b"PUT / HTTP/1.0\r\n" + fields + b"Content-Length: 1\r\n\r\n").expects_continue


@pytest.mark.parametrize("line_bytes", [8191, 8192, 8193])
def test_the_request_line_has_an_exact_bound(line_bytes: int) -> None:
    target = b"/" + b"a" * (line_bytes - len(b"GET / HTTP/1.1"))
    data = b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    for parts in ([data], [data[:5000], data[5000:]], [data[:8194], data[8194:]]):
        event = read(parts)[0]
        assert isinstance(event, MessageHead) is (line_bytes <= 8192)


@pytest.mark.parametrize("fields_bytes", [32767, 32768, 32769])
def test_the_fields_have_an_exact_bound(fields_bytes: int) -> None:
    filling = b"a" * (fields_bytes - len(HOST) - len(b"A: \r\n"))
    data = b"GET / HTTP/1.1\r\n" + HOST + b"A: " + filling + b"\r\n\r\n"
    for parts in ([data], [data[:-1], data[-1:]], [data[:-3], data[-3:]]):
        event = read(parts)[0]
        assert isinstance(event, MessageHead) is (fields_bytes <= 32768)


def test_exactly_100_fields_pass() -> None:
    assert only_head(b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 99 + b"\r\n").is_plain


def test_a_head_is_bounded_before_it_is_whole() -> None:
    engine = H1Engine(HeadParser(LIMITS), LIMITS)
    held = 0
    for _ in range(100_000):
        engine.receive(b"a" * 64)
        if isinstance(engine.next_event(), Refused):
            break
        held = max(held, len(engine.buffer))
    assert held <= LIMITS.max_request_line_bytes + 64
    engine.receive(b"more")
    assert (len(engine.buffer), engine.next_event(), engine.state) == (0, None, EngineState.REFUSED)


def test_the_end_of_input_inside_a_message_is_a_refusal() -> None:
    for data, is_whole in ((b"", True), (GET, True), (GET[:-1], False), (CHUNKED, False)):
        engine = H1Engine(HeadParser(LIMITS), LIMITS)
        engine.receive(data)
        while engine.next_event() is not None:
            if engine.state is EngineState.DONE:
                engine.start_next()
        assert (engine.end_of_input() is None) is is_whole


VALID = [
    GET,
    b"\r\n" + GET,
    b"HEAD /a%20b?c HTTP/1.1\r\n" + HOST + b"User-Agent: x\r\n\r\n",
    b"PUT /a HTTP/1.1\r\n" + HOST + b"Content-Length: 11\r\n\r\nhello\r\n\r\nyo",
    CHUNKED + b"3\r\n\r\n\r\r\n1;a\r\nb\r\n0\r\nA: b\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
]


@settings(max_examples=150, deadline=None)
@given(
    messages=st.lists(st.sampled_from(VALID), min_size=1, max_size=5),
    bad=st.sampled_from([b"", *(data for data, _, _ in BAD_REQUESTS.values() if len(data) < 2000)]),
    data=st.data(),
)
def test_any_cut_gives_the_same_events(messages: list[bytes], bad: bytes, data: st.DataObject) -> None:
    stream = b"".join(messages) + bad
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    parts = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert facts(read(parts)) == facts(read([stream]))


@settings(max_examples=400, deadline=None)
@given(
    message=st.sampled_from(VALID),
    edits=st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(("insert", "replace", "delete")), st.binary(max_size=3)),
        min_size=1,
        max_size=4,
    ),
)
def test_no_mutation_raises_or_depends_on_the_cut(message: bytes, edits: list[tuple[int, str, bytes]]) -> None:
    mutated = bytearray(message)
    for place, kind, piece in edits:
        at = place % (len(mutated) + 1)
        if kind == "insert":
            mutated[at:at] = piece
        else:
            mutated[at : at + 1] = piece if kind == "replace" else b""
    stream = bytes(mutated) + GET
    assert facts(read([stream])) == facts(read(one_by_one(stream)))
