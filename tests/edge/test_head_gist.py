"""A head that is answered by its gist is answered, and written into the log, as if all of it had been judged anew."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdn.edge.access_log import AccessLog
from cdn.edge.access_log_settings import AccessLogSettings
from cdn.edge.head_gist import MAX_KNOWN_LINES, UNTELLING, GistReader
from cdn.edge.head_parser import CONDITIONS
from cdn.edge.limits import HttpLimits
from cdn.edge.prepared import Prepared, Validators
from cdn.edge.recall import DEBUG_FIELD
from cdn.edge.traffic import Traffic
from cdn.http.request import Request
from tests.edge.engine_application import EchoApplication, prepared_of
from tests.edge.engine_responses import read_responses
from tests.edge.engine_transport import Client

LIMITS = HttpLimits(max_fields=9)


class Choosy(EchoApplication):
    """Recalls by what hits may be chosen by, and sends those who want none of them the long way."""

    def recall(self, request: Request, now: float) -> Prepared | None:
        fields = request.fields
        if DEBUG_FIELD in fields or "cache-control" in fields:
            return None
        if request.target.path == "/coded" and "gzip" in (fields.get("accept-encoding") or ""):
            return self.memory["/gzip"]
        if request.target.path == "/spoken":
            return self.memory["/de" if fields.get("accept-language") == "de" else "/en"]
        if request.target.path == "/baked":
            return self.memory["/ann" if fields.get("cookie") == "ann" else "/anybody"]
        return super().recall(request, now)


def choosy() -> Choosy:
    application = Choosy()
    for path in ("/a", "/coded", "/gzip", "/de", "/en", "/ann", "/anybody"):
        application.memory[path] = prepared_of(path.encode() * 3, site=application.site, validators=Validators.ALL)
    for path in ("/de", "/en"):
        application.memory[path].selecting = ("accept-language",)
    for path in ("/ann", "/anybody"):
        application.memory[path].selecting = ("cookie",)
    return application


class Clients:
    """One whose connection remembers heads, and others that never saw one, all with a log."""

    def __init__(self, *, comes_again: bool = True) -> None:
        self.comes_again = comes_again
        self.client = self.new()

    def new(self) -> Client:
        client = Client(choosy(), LIMITS)
        log = AccessLog(AccessLogSettings(), _no_file(), wall=lambda: 1_700_000_000.0)
        client.service.traffic = Traffic(log)
        return client

    def answers(self, head: bytes) -> tuple[bytes, bool, int, list[Any]]:
        client = self.client if self.comes_again else self.new()
        connection = client.reconnect()
        before = client.service.counters.answered
        client.send(head)
        log = client.service.traffic.access_log
        assert log is not None
        lines = [json.loads(line) for line in bytes(log.buffer).splitlines()]
        connection.abort()
        connection.connection_lost(None)
        log.buffer.clear()
        return client.transport.sent, client.transport.has_ended, client.service.counters.answered - before, lines


def _no_file() -> Any:
    return None


def head_of(request_line: str, lines: list[str]) -> bytes:
    return ("\r\n".join([request_line, *lines]) + "\r\n\r\n").encode("latin-1")


TELLING = [
    "Host: a.example",
    "Host: b.example",
    "host: a.example",
    "Accept-Encoding: gzip",
    "Accept-Encoding: br",
    "Cache-Control: no-cache",
    "CDN-Debug: 1",
    "Connection: close",
    "Connection: keep-alive",
    "Content-Length: 0",
    "Content-Length: 2",
    "Transfer-Encoding: chunked",
    "If-None-Match: *",
    'If-None-Match: "x"',
    "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    "Range: bytes=0-1",
    "Expect: 100-continue",
    "X-Forwarded-For: 192.0.2.1",
    "X-A: b",
    " folded",
    "",
    "Cookie : a=b",
    "no colon",
]
UNTOLD = st.builds(
    lambda name, value: f"{name}: {value}",
    st.sampled_from(("Cookie", "cookie", "Referer", "User-Agent", "Accept", "Accept-Language", "Sec-Fetch-Mode")),
    st.sampled_from(("", "a", "de", '"\\/', "é", "\x7f", "\x00", "a\rb", "a\nb", "\t", "  a ", "a" * 3000))
    | st.text(st.characters(max_codepoint=255), max_size=6),
)
HEADS = st.builds(
    head_of,
    st.sampled_from(
        [f"{method} HTTP/1.1" for method in ("GET /a", "HEAD /a", "GET /coded", "GET /spoken", "GET /baked", "POST /a")]
    ),
    st.builds(
        lambda host, lines: lines if host is None else [host, *lines],
        st.sampled_from(("Host: a.example", "Host: a.example", "Host: a.example", None)),
        st.lists(UNTOLD | UNTOLD | st.sampled_from(TELLING), max_size=6),
    ),
)


COOKIES: tuple[tuple[str, ...], ...] = ((), ("ann",), ("bob",), ("",), ("ann", "bob"), ("a\x00b",), ("a\rb",))


@settings(max_examples=150, deadline=None)
@given(st.lists(HEADS, min_size=1, max_size=12))
@example([head_of("GET /a HTTP/1.1", ["Host: a.example", f"Cookie: {n}"]) for n in range(4)])
@example(
    [head_of("GET /a HTTP/1.1", ["Host: a.example", f"Cookie: {value}"]) for value in ("1", "2", "3", "\x00", "a\rb")]
)
@example([head_of("GET /a HTTP/1.1", ["Host: a.example", *["Accept: a"] * count]) for count in (1, 2, 3, 8, 9)])
@example(
    [
        head_of("GET /a HTTP/1.1", ["Host: a.example", *lines])
        for lines in (
            [],
            ["Cookie: 1"],
            ["Cookie: 2"],
            ["User-Agent: a"],
            ["User-Agent: a", "User-Agent: b"],
            ["Referer: a", "Referer: b"],
            ["Referer: ", "Referer: b"],
            ["User-Agent: \t", "User-Agent: b", "Referer: "],
        )
    ]
)
@example([head_of("GET /spoken HTTP/1.1", ["Host: a.example", f"Accept-Language: {said}"]) for said in "eefg"])
@example(
    [head_of("GET /baked HTTP/1.1", ["Host: a.example", *[f"Cookie: {who}" for who in whose]]) for whose in COOKIES]
)
@example(
    [
        head_of("GET /a HTTP/1.1", ["Host: a.example", *["Accept: a"] * count, *[f"Cookie: {who}" for who in whose]])
        for count in (7, 8)
        for whose in COOKIES
    ]
)
@example(
    [
        head_of("GET /a HTTP/1.1", ["Host: a.example", f"Cookie: {who}", f"User-Agent: {who}", "Referer: r"])
        for who in ("a", "b", "a", "b")
    ]
)
@example(
    [head_of("GET /a HTTP/1.1", ["Host: a.example", "Referer: r", "User-Agent: a", f"Cookie: {n}"]) for n in range(4)]
)
def test_by_its_gist_a_head_is_answered_as_by_itself(heads: list[bytes]) -> None:
    async def compare() -> None:  # what is not recalled begins a task
        remembering, fresh = Clients(), Clients(comes_again=False)
        for head in heads * 3:
            assert remembering.answers(head) == fresh.answers(head)

    asyncio.run(compare())


def test_heads_that_never_repeat_are_not_judged_twice_anew() -> None:
    client = Client(choosy())
    for number in range(10):
        client.send(head_of("GET /a HTTP/1.1", ["Host: a.example", "User-Agent: x", f"Cookie: a={number}"]))
    assert client.service.counters.recalled == 2
    assert client.service.counters.memo_hits == 8


def test_conditions_are_told_by_their_gist() -> None:
    client = Client(choosy())
    for number in range(10):
        client.send(head_of("GET /a HTTP/1.1", ["Host: a.example", "If-None-Match: *", f"Cookie: a={number}"]))
    assert client.transport.sent.count(b"HTTP/1.1 304 ") == 10
    assert client.service.counters.memo_hits == 8


def test_ranges_are_answered_from_memory_and_large_ones_are_not_remembered() -> None:
    application = choosy()
    application.memory["/a"] = prepared_of(b"abcdef" * 10_000, site=application.site, validators=Validators.ALL)
    client = Client(application)
    for last, recalled in ((2, 2), (20_000, 6)):
        head = head_of("GET /a HTTP/1.1", ["Host: a.example", f"Range: bytes=1-{last}"])
        before = len(client.transport.sent)
        for _ in range(4):
            client.send(head)
        responses = read_responses(client.transport.sent[before:])
        assert [response.fields["content-range"] for response in responses] == [f"bytes 1-{last}/60000"] * 4
        assert {response.content for response in responses} == {(b"abcdef" * 10_000)[1 : last + 1]}
        assert client.service.counters.recalled == recalled


def test_a_gist_ends_with_the_generation() -> None:
    application = choosy()
    client = Client(application)

    def ask(number: int) -> None:
        client.send(head_of("GET /a HTTP/1.1", ["Host: a.example", f"Cookie: a={number}"]))

    for number in range(4):
        ask(number)
    application.site.generation += 1
    application.memory["/a"] = prepared_of(b"new", site=application.site)
    before = len(client.transport.sent)
    for number in range(4, 8):
        ask(number)
    assert client.transport.sent[before:].count(b"new") == 4
    assert client.service.counters.recalled == 3, "its gist is remembered again at once"


def test_nothing_that_recall_or_the_engine_looks_at_is_left_out() -> None:
    looked_at = CONDITIONS | {"host", "connection", "content-length", "transfer-encoding", "expect", "upgrade", "te"}
    assert UNTELLING.isdisjoint(looked_at | {"accept-encoding", "cache-control", "pragma", DEBUG_FIELD})
    assert UNTELLING.isdisjoint({"x-forwarded-for", "authorization"})


def test_known_lines_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = GistReader(HttpLimits())
    for number in range(MAX_KNOWN_LINES + 10):
        gist = reader.read(head_of("GET / HTTP/1.1", [f"Accept: {number}", f"Cookie: {number}", f"X-A: {number}"]))
        assert gist is not None
        assert gist[0] == b"GET / HTTP/1.1\r\nX-A: %d" % number
    assert len(reader._known) <= MAX_KNOWN_LINES
    reader.read(head_of("GET / HTTP/1.1", ["Accept: " + "a" * 2000]))
    assert max(map(len, reader._known)) <= 1024
