"""Requests and responses (RFC 9113 section 8)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.h2 import frames
from tests.h2.frame_client import AUTHORITY, FrameClient
from tests.h2.frames import ACK, END_HEADERS, END_STREAM, Code, Kind
from tests.h2.rules import Rule, case, rule
from tests.h2.served import BIG_BYTES, pattern

Lines = list[tuple[str, str]]

OUTSIDE_NAMES = [*range(0x21), *range(0x41, 0x5B), *range(0x7F, 0x100)]
"""Octets that no field name has (section 8.2.1)."""

PER_CONNECTION = 32
"""Malformed requests count against their connection."""


def send(
    client: FrameClient, fields: Lines, *rest: Callable[[int], bytes], flags: int = END_HEADERS | END_STREAM
) -> int:
    """A request of just these fields; `rest` are frames that follow on its stream."""
    stream_id = client.next_id()
    client.send(frames.headers(stream_id, frames.plain_block(fields), flags), *(one(stream_id) for one in rest))
    return stream_id


@rule("8.1", "a request is a head, content and trailers; trailers end it")
def test_a_whole_request(client: FrameClient) -> None:
    stream_id, head = client.head("/echo", "POST", [("content-type", "text/plain")], is_end=False)
    trailers = frames.headers(stream_id, client.block([("x-sum", "1")]))
    client.send(head, frames.data(stream_id, b"one ", 0), frames.data(stream_id, b"two", 0), trailers)
    assert client.response(stream_id).content.endswith(b" one two")


@rule("8.1", "a response is a head, then its content, and its last frame ends the stream")
@pytest.mark.parametrize("path", ["/a", "/big", "/stream", "/sized", "/bytes/70000"])
def test_a_whole_response(client: FrameClient, path: str) -> None:
    known = client.ask(path)
    assert known.status == 200
    whole = pattern(BIG_BYTES)
    expected = {"/a": b"hello", "/bytes/70000": whole[:70_000]}.get(path, whole)
    assert known.content == expected
    assert known.fields.get("content-length", str(len(expected))) == str(len(expected))


@rule("8.1", "trailers of a response come in HEADERS behind its content and end the stream")
def test_trailers_of_a_response(client: FrameClient) -> None:
    known = client.ask("/trailers", extra=[("te", "trailers")])
    assert (known.content, known.trailers) == (b"ab", {"x-sum": "ab"})


@rule("8.1", "interim responses come before the final one and do not end the stream")
@rule("8.3.2", "interim responses too have :status")
def test_interim_responses(client: FrameClient) -> None:
    known = client.ask("/interim")
    assert [(one[":status"], one["link"]) for one in known.interim] == [("103", "</a>; rel=preload")]
    assert (known.status, known.content) == (200, b"final")


@rule("8.1", "Expect: 100-continue is answered before the content comes")
def test_continue(client: FrameClient) -> None:
    stream_id, head = client.head("/echo", "POST", [("expect", "100-continue")], is_end=False)
    client.send(head)
    client.read_until(lambda read: read.is_of(Kind.HEADERS, stream_id))
    assert [one[":status"] for one in client.responses[stream_id].interim] == ["100"]
    client.send(frames.data(stream_id, b"content"))
    assert client.response(stream_id).content.endswith(b" content")


@rule("8.1", "a whole response may come before the request's end; then the stream is reset without an error")
def test_an_answer_before_the_content(client: FrameClient) -> None:
    stream_id, head = client.head("/unread", "POST", is_end=False)
    client.send(head)
    known = client.response(stream_id)
    assert (known.status, known.content) == (405, b"not read")
    client.barrier()
    assert known.reset in (None, Code.NO_ERROR)
    if known.reset is None:
        client.send(frames.data(stream_id, b"late"))
    client.expect_service()


@rule("8.1", "a response to HEAD has no content, though its length is told")
def test_head(client: FrameClient) -> None:
    for path, size in (("/a", "5"), ("/big", str(BIG_BYTES)), ("/sized", str(BIG_BYTES))):
        known = client.ask(path, "HEAD")
        assert (known.status, known.content, known.fields["content-length"]) == (200, b"", size)


@rule("8.1", "content that breaks off is a reset, never an end")
def test_content_that_breaks_off(client: FrameClient) -> None:
    known = client.ask("/breaks")
    assert known.reset == Code.INTERNAL_ERROR
    assert not known.is_whole
    client.expect_service()


@rule("8.1", "204 and 304 have no content")
def test_responses_without_content(client: FrameClient) -> None:
    for path, status in (("/nothing", 204), ("/same", 304)):
        known = client.ask(path)
        assert (known.status, known.content, known.is_whole) == (status, b"", True)


BEHIND: list[tuple[str, str, str, list[Callable[[int], bytes]]]] = [
    (
        "8.1",
        "pseudo-in-trailers",
        "pseudo-header fields in trailers make a request malformed",
        [lambda at: frames.data(at, b"x", 0), lambda at: frames.headers(at, frames.plain_block([(":method", "GET")]))],
    ),
    (
        "8.3",
        "status-in-trailers",
        "pseudo-header fields of responses do so too",
        [lambda at: frames.headers(at, frames.plain_block([(":status", "200")]))],
    ),
    (
        "8.1",
        "trailers-without-end",
        "a second head that does not end the stream makes a request malformed",
        [
            lambda at: frames.data(at, b"x", 0),
            lambda at: frames.headers(at, frames.plain_block([("x-a", "1")]), END_HEADERS),
        ],
    ),
    (
        "8.2",
        "upper-case-trailer",
        "an upper-case name in trailers makes a request malformed",
        [lambda at: frames.headers(at, frames.plain_block([("X-A", "1")]))],
    ),
    (
        "8.2.2",
        "connection-in-trailers",
        "connection-specific fields in trailers make a request malformed",
        [lambda at: frames.headers(at, frames.plain_block([("connection", "close")]))],
    ),
]


@pytest.mark.parametrize(
    ("rule", "rest"), [case(section, sentence, rest, id=name) for section, name, sentence, rest in BEHIND]
)
def test_malformed_behind_the_head(rule: Rule, client: FrameClient, rest: list[Callable[[int], bytes]]) -> None:
    client.expect_malformed(send(client, client.fields("/echo", "POST"), *rest, flags=END_HEADERS))


LENGTHS: list[tuple[str, str, list[str], list[bytes]]] = [
    ("more", "less content than content-length says", ["10"], [b"hello"]),
    ("less", "more content than content-length says", ["3"], [b"hello"]),
    ("less-in-parts", "more content than content-length says, in several frames", ["6"], [b"hello", b"you"]),
    ("none", "a content-length other than 0 and no content", ["1"], []),
    ("empty", "a content-length other than 0 and empty DATA", ["1"], [b""]),
    ("zero", "content though content-length is 0", ["0"], [b"x"]),
    ("two", "two values of content-length", ["5", "6"], [b"hello"]),
    ("list", "a list as content-length", ["5, 5"], [b"hello"]),
    ("sign", "a signed content-length", ["+5"], [b"hello"]),
    ("word", "a content-length that is no number", ["five"], [b"hello"]),
    ("blank", "an empty content-length", [""], [b"hello"]),
]


@pytest.mark.parametrize(
    ("rule", "values", "parts"),
    [
        case("8.1.1", f"{sentence}: the request is malformed", values, parts, id=name)
        for name, sentence, values, parts in LENGTHS
    ],
)
def test_content_length(rule: Rule, client: FrameClient, values: list[str], parts: list[bytes]) -> None:
    fields = client.fields("/echo", "POST", [("content-length", value) for value in values])
    if not parts:
        stream_id = send(client, fields)
    else:
        last = len(parts) - 1
        rest = [
            lambda at, part=part, flags=END_STREAM if place == last else 0: frames.data(at, part, flags)
            for place, part in enumerate(parts)
        ]
        stream_id = send(client, fields, *rest, flags=END_HEADERS)
    client.expect_malformed(stream_id)


@rule("8.1.1", "content as long as content-length says is taken, whatever the frames and the padding")
def test_content_length_that_is_so(client: FrameClient) -> None:
    stream_id, head = client.head("/echo", "POST", [("content-length", "10")], is_end=False)
    client.send(
        head, frames.data(stream_id, frames.padded(b"hello", 9), frames.PADDED), frames.data(stream_id, b"world")
    )
    assert client.response(stream_id).content.endswith(b" helloworld")


MALFORMED: list[tuple[str, str, str, Callable[[Lines], Lines]]] = [
    ("8.2", "upper-case", "upper-case names", lambda base: [*base, ("X-Upper", "1")]),
    ("8.2.1", "colon-in-name", "a colon in a name", lambda base: [*base, ("x:y", "1")]),
    ("8.2.1", "colon-at-end", "a colon behind a name", lambda base: [*base, ("host:", "1")]),
    ("8.2.1", "empty-name", "an empty name", lambda base: [*base, ("", "1")]),
    ("8.2.1", "nul", "NUL in a value", lambda base: [*base, ("x-a", "1\x002")]),
    ("8.2.1", "lf", "LF in a value", lambda base: [*base, ("x-a", "1\n2")]),
    ("8.2.1", "cr", "CR in a value", lambda base: [*base, ("x-a", "1\r2")]),
    ("8.2.1", "crlf", "CR LF in a value", lambda base: [*base, ("x-a", "1\r\nx-b: 2")]),
    ("8.2.1", "sp-first", "SP before a value", lambda base: [*base, ("x-a", " 1")]),
    ("8.2.1", "sp-last", "SP behind a value", lambda base: [*base, ("x-a", "1 ")]),
    ("8.2.1", "tab-first", "HTAB before a value", lambda base: [*base, ("x-a", "\t1")]),
    ("8.2.1", "tab-last", "HTAB behind a value", lambda base: [*base, ("x-a", "1\t")]),
    ("8.2.2", "connection", "Connection", lambda base: [*base, ("connection", "keep-alive")]),
    ("8.2.2", "proxy-connection", "Proxy-Connection", lambda base: [*base, ("proxy-connection", "keep-alive")]),
    ("8.2.2", "keep-alive", "Keep-Alive", lambda base: [*base, ("keep-alive", "timeout=5")]),
    ("8.2.2", "transfer-encoding", "Transfer-Encoding", lambda base: [*base, ("transfer-encoding", "chunked")]),
    ("8.2.2", "upgrade", "Upgrade", lambda base: [*base, ("upgrade", "websocket")]),
    ("8.2.2", "te", "TE other than trailers", lambda base: [*base, ("te", "gzip")]),
    ("8.2.2", "te-list", "TE with more than trailers", lambda base: [*base, ("te", "trailers, gzip")]),
    ("8.3", "unknown-pseudo", "unknown pseudo-header fields", lambda base: [*base, (":unknown", "1")]),
    ("8.3", "protocol", ":protocol, which was not negotiated", lambda base: [*base, (":protocol", "websocket")]),
    ("8.3", "status", "pseudo-header fields of responses", lambda base: [*base, (":status", "200")]),
    (
        "8.3",
        "pseudo-late",
        "a pseudo-header field behind another field",
        lambda base: [*base[:3], ("x-a", "1"), base[3]],
    ),
    ("8.3", "method-twice", "two :method", lambda base: [base[0], *base]),
    ("8.3", "scheme-twice", "two :scheme", lambda base: [base[1], *base]),
    ("8.3", "authority-twice", "two :authority", lambda base: [base[2], *base]),
    ("8.3", "path-twice", "two :path", lambda base: [base[3], *base]),
    ("8.3.1", "no-method", "no :method", lambda base: base[1:]),
    ("8.3.1", "no-scheme", "no :scheme", lambda base: [base[0], *base[2:]]),
    ("8.3.1", "no-path", "no :path", lambda base: base[:3]),
    ("8.3.1", "nothing", "no fields at all", lambda base: []),
    ("8.3.1", "no-pseudo", "no pseudo-header fields", lambda base: [("host", AUTHORITY)]),
    ("8.3.1", "empty-path", "an empty :path", lambda base: [*base[:3], (":path", "")]),
    ("8.3.1", "empty-method", "an empty :method", lambda base: [(":method", ""), *base[1:]]),
    ("8.3.1", "method-with-space", "a :method that is none", lambda base: [(":method", "GET /b"), *base[1:]]),
    ("8.3.1", "relative-path", "a :path that begins with no slash", lambda base: [*base[:3], (":path", "a")]),
    ("8.3.1", "absolute-path", "a whole URI as :path", lambda base: [*base[:3], (":path", "http://a.example/a")]),
    (
        "8.3.1",
        "asterisk",
        "an asterisk as :path of another method than OPTIONS",
        lambda base: [*base[:3], (":path", "*")],
    ),
    ("10.3", "path-with-space", "a :path with SP", lambda base: [*base[:3], (":path", "/a b")]),
    ("10.3", "path-with-crlf", "a :path with CR LF", lambda base: [*base[:3], (":path", "/a\r\nx: y")]),
    ("10.3", "path-with-fragment", "a :path with a fragment", lambda base: [*base[:3], (":path", "/a#b")]),
    (
        "10.3",
        "authority-with-path",
        "an :authority with more than host and port",
        lambda base: [*base[:2], (":authority", "a.example/b"), base[3]],
    ),
    (
        "10.3",
        "authority-with-crlf",
        "an :authority with CR LF",
        lambda base: [*base[:2], (":authority", "a.example\r\nx: y"), base[3]],
    ),
    (
        "8.3.1",
        "userinfo",
        "an :authority with userinfo",
        lambda base: [*base[:2], (":authority", "me@a.example"), base[3]],
    ),
    ("8.3.1", "different-host", "a Host that differs from :authority", lambda base: [*base, ("host", "b.example")]),
    ("8.3.1", "host-twice", "two Host fields", lambda base: [*base, ("host", AUTHORITY), ("host", "b.example")]),
    ("8.3.1", "no-host", "neither :authority nor Host", lambda base: [base[0], base[1], base[3]]),
    ("8.5", "connect-with-path", "CONNECT with :scheme and :path", lambda base: [(":method", "CONNECT"), *base[1:]]),
    ("8.5", "connect-without-authority", "CONNECT without :authority", lambda base: [(":method", "CONNECT")]),
]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        case(section, f"{sentence}: the request is malformed", change, id=name)
        for section, name, sentence, change in MALFORMED
    ],
)
def test_malformed(rule: Rule, client: FrameClient, change: Callable[[Lines], Lines]) -> None:
    client.expect_malformed(send(client, change(client.fields())))


@rule("8.2.1", "no octet that may not stand in a name is taken, wherever it stands")
def test_octets_outside_of_names(connect: Callable[[], FrameClient]) -> None:
    for at in range(0, len(OUTSIDE_NAMES), PER_CONNECTION):
        client = connect().start()
        names = [name for octet in OUTSIDE_NAMES[at : at + PER_CONNECTION] for name in placed(chr(octet))]
        streams = {send(client, [*client.fields(), (name, "1")]): name for name in names}
        for stream_id, name in streams.items():
            known = client.response(stream_id)
            assert known.reset == Code.PROTOCOL_ERROR or known.status == 400, repr(name)
        client.expect_service()
        client.close()


def placed(octet: str) -> tuple[str, ...]:
    """First, last and between."""
    return (f"{octet}x", f"x{octet}", f"x{octet}y")


@rule("8.2.2", "TE: trailers is taken")
def test_te_trailers(client: FrameClient) -> None:
    assert client.ask("/a", extra=[("te", "trailers")]).status == 200


@rule("8.2.2", "responses have no connection-specific fields")
@pytest.mark.parametrize("path", ["/a", "/stream", "/trailers", "/nothing", "/echo", "/unread", "/fails"])
def test_responses_say_nothing_of_the_connection(client: FrameClient, path: str) -> None:
    known = client.ask(path)
    assert not known.fields.keys() & {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
    assert not any(name != name.lower() for name in known.fields)


@rule("8.2", "names of response fields are lower-case")
@rule("8.3.2", "a response has :status, first, and no other pseudo-header field")
@pytest.mark.parametrize("path", ["/a", "/echo", "/nothing", "/fails"])
def test_pseudo_fields_of_responses(client: FrameClient, path: str) -> None:
    known = client.ask(path)
    assert [name for name in known.fields if name.startswith(":")] == [":status"]
    assert next(iter(known.fields)) == ":status"
    assert all(name == name.lower() for name in known.fields)


@rule("8.2.3", "crumbs of Cookie are joined by '; ' before the application sees them")
def test_cookies_are_joined(client: FrameClient) -> None:
    crumbs = [("cookie", "a=b"), ("x-between", "1"), ("cookie", "c=d; e=f"), ("cookie", "g=h")]
    told = json.loads(client.ask("/head", extra=crumbs).content)
    assert [value for name, value in told["fields"] if name == "cookie"] == ["a=b; c=d; e=f; g=h"]


@rule("8.3.1", "the target is told by :method, :scheme, :authority and :path")
def test_the_target(client: FrameClient) -> None:
    told = json.loads(client.ask("/head?q=1&r", "GET").content)
    assert (told["method"], told["scheme"], told["host"]) == ("GET", client.scheme, AUTHORITY)
    known = client.ask("/echo?q=1&r", "POST", content=b"x")
    assert known.content == b"POST a.example /echo q=1&r x"


@rule("8.3.1", "Host stands in for :authority where there is none, and may repeat it in other letters")
def test_host(client: FrameClient) -> None:
    base = client.fields("/head")
    for fields in ([base[0], base[1], base[3], ("host", AUTHORITY)], [*base, ("host", "A.Example")]):
        known = client.response(send(client, fields))
        assert json.loads(known.content)["host"] == AUTHORITY


@rule("8.3.1", "OPTIONS * is a request of its own")
def test_options_asterisk(client: FrameClient) -> None:
    known = client.ask("*", "OPTIONS")
    assert known.reset is None
    assert known.status < 500


@rule("8.5", "CONNECT is refused in an answer: there are no tunnels here")
def test_connect(client: FrameClient) -> None:
    known = client.response(send(client, [(":method", "CONNECT"), (":authority", "b.example:443")]))
    assert known.reset is None
    assert known.status in (405, 501)
    client.expect_service()


@rule("8.6", "101 is never sent")
def test_no_switching(client: FrameClient) -> None:
    known = client.response(send(client, [*client.fields(), ("upgrade", "websocket")]))
    assert "101" not in [one[":status"] for one in known.interim]
    assert known.reset is not None or known.status == 400


@rule(
    "10.5.1", "fields beyond SETTINGS_MAX_HEADER_LIST_SIZE are answered by 431, and the block is decoded all the same"
)
def test_a_list_that_is_too_large(client: FrameClient) -> None:
    limit = client.server_settings[frames.Setting.MAX_HEADER_LIST_SIZE]
    large = [(f"x-{at}", "v" * 1000) for at in range(limit // 1000 + 1)]
    stream_id = client.next_id()
    block = client.block([*client.fields(), ("x-kept", "in the table"), *large])
    parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    client.send(frames.headers(stream_id, parts[0], END_STREAM))
    client.send(*(frames.continuation(stream_id, part, 0) for part in parts[1:]), frames.continuation(stream_id, b""))
    assert client.response(stream_id).status == 431
    told = client.ask("/head", extra=[("x-kept", "in the table"), (f"x-{limit // 1000}", "v" * 1000)])
    assert told.status == 200


@rule("8.7", "PING tells whether a connection works, without a request")
def test_ping_without_requests(client: FrameClient) -> None:
    assert any(read.is_of(Kind.PING) and read.has(ACK) for read in client.barrier())


@rule("8.1", "a failure of the application is answered by 500, on its stream alone")
def test_a_failure(client: FrameClient) -> None:
    assert client.ask("/fails").status == 500
    client.expect_service()
