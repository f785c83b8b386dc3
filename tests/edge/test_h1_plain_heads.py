"""The quick way through a head says what the slow way says, or nothing."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdn.edge.h1 import H1Engine
from cdn.edge.head_parser import HeadParser, MessageHead
from cdn.edge.limits import HttpLimits

LIMITS = HttpLimits(max_fields=6)

NAMES = st.sampled_from(
    [
        "Host",
        "host",
        "HOST",
        "Accept",
        "Connection",
        "Cookie",
        "Range",
        "If-None-Match",
        "Content-Length",
        "X-A",
        "Transfer-Encoding",
        "Expect",
        "Upgrade",
        "X A",
        "",
        "X-é",
        "Referer",
    ]
)
VALUES = st.one_of(
    st.sampled_from(["a.example", "a.example:80", "A.Example.", "close", "keep-alive, Close", "0", "5", "chunked", ""])
    | st.sampled_from(["100-continue", "*", "bytes=0-1", "\tx ", "a\x00b", "a\rb", "a\nb", "a\x7fb", "é", '"x"']),
    st.text(st.characters(max_codepoint=255), max_size=12),
)
LINES = st.builds(
    lambda name, colon, value: f"{name}{colon}{value}", NAMES, st.sampled_from([": ", ":", " : "]), VALUES
)
REQUEST_LINES = st.sampled_from(
    [
        "GET / HTTP/1.1",
        "HEAD /a?b HTTP/1.1",
        "POST / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET http://a.example/ HTTP/1.1",
        "GET /%zz HTTP/1.1",
        "GET /a\nb HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "OPTIONS * HTTP/1.1",
        "GET /",
        "GET /é HTTP/1.1",
        "GET /../a HTTP/1.1",
        "FOO / HTTP/1.1",
        "",
    ]
)


class SlowParser(HeadParser):
    """Never takes the quick way."""

    def parse_plain(self, head: bytes, scheme: str) -> MessageHead | None:
        return None


@settings(max_examples=600, deadline=None)
@given(REQUEST_LINES, st.lists(LINES, max_size=8), st.booleans())
@example("GET / HTTP/1.1", ["Host: a.example", " folded"], True)
@example("GET / HTTP/1.1", ["Host: a.example", "Host: b.example"], True)
@example("GET / HTTP/1.1", ["Host: a.example", "Connection: close"], True)
@example("GET / HTTP/1.1", [], False)
def test_both_ways_agree(line: str, lines: list[str], comes_again: bool) -> None:
    head = ("\r\n".join([line, *lines]) + "\r\n\r\n").encode("latin-1")
    quick = HeadParser(LIMITS)
    if comes_again:
        quick.parse_plain(head, "http")
        quick.parse_plain(head, "http")
    said = H1Engine(quick, LIMITS).open(head)
    assert said == H1Engine(SlowParser(LIMITS), LIMITS).open(head)


def test_what_browsers_send_takes_the_quick_way() -> None:
    head = b"GET /a HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nCookie: a=b\r\nConnection: keep-alive\r\n\r\n"
    message = HeadParser(HttpLimits()).parse_plain(head, "http")
    assert message is not None
    assert message.is_plain
    assert message.is_persistent
    assert message.request.fields.get("cookie") == "a=b"


def test_a_line_of_spaces_with_a_fault_at_its_end_takes_linear_time() -> None:
    # Read with backtracking, one of these takes minutes, and the test's time limit ends it.
    parser = HeadParser(HttpLimits(max_fields_bytes=4_000_000))
    head = b"GET / HTTP/1.1\r\nHost: a.example\r\nX-A:" + b" " * 300_000 + b"\x01\r\n\r\n"
    assert parser.parse_plain(head, "http") is None
