"""Requests of HTTP/2 are judged as those of HTTP/1.1 are, and what RFC 9113 forbids is none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from h2.exceptions import ProtocolError
from h2.utilities import HeaderValidationFlags, validate_headers
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cdn.edge import h2_request, h2_section
from cdn.edge.content_framing import Chunked, FixedLength
from cdn.edge.h1 import H1Engine
from cdn.edge.h2_events import BlockShape, HeaderList
from cdn.edge.h2_request import ArrivingContent, RequestReader
from cdn.edge.h2_section import MalformedRequest
from cdn.edge.head_gist import UNTELLING
from cdn.edge.head_parser import HeadParser, MessageHead
from cdn.edge.limits import HttpLimits
from cdn.edge.refusal import Refusal, Refused
from cdn.http.fields import Fields
from cdn.http.request import Request

LIMITS = HttpLimits(max_fields=8, max_request_line_bytes=200, max_fields_bytes=600, max_content_bytes=1000)

GET: HeaderList = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/a?b")]


def read(fields: HeaderList, *, is_end: bool = True) -> MessageHead | Refused | MalformedRequest:
    """By a reader that is new, and by one that has read the same before: they have to agree."""
    reader = RequestReader(LIMITS)
    first = reader.read(list(fields), is_end, "https")
    again = reader.read(list(fields), is_end, "https")
    if isinstance(first, MessageHead) and isinstance(again, MessageHead):
        assert first.request == again.request
    else:
        assert first == again
    return first


def accepted(fields: HeaderList, *, is_end: bool = True) -> MessageHead:
    message = read(fields, is_end=is_end)
    assert isinstance(message, MessageHead), message
    return message


def with_field(name: str, value: str) -> HeaderList:
    return [(known, value if known == name else of_known) for known, of_known in GET]


def without(name: str) -> HeaderList:
    return [field for field in GET if field[0] != name]


def test_a_request_is_what_http_1_1_makes_of_it() -> None:
    message = accepted([*GET, ("accept", "*/*"), ("x-a", "1"), ("x-a", "2")])
    request = message.request
    assert (request.method, request.host, request.port, request.scheme) == ("GET", "a.example", None, "https")
    assert (request.target.path, request.target.query) == ("/a", "b")
    assert request.fields.lines == (("host", "a.example"), ("accept", "*/*"), ("x-a", "1"), ("x-a", "2"))
    assert message.framing is None
    assert message.is_plain
    assert message.is_persistent
    assert not message.expects_continue


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 0, 1, 2), (1, 3, 0, 2), (2, 1, 3, 0)])
def test_pseudo_fields_come_in_any_order(order: tuple[int, ...]) -> None:
    assert accepted([GET[place] for place in order] + [("a", "b")]) == accepted([*GET, ("a", "b")])


def test_the_scheme_of_the_connection_counts() -> None:
    message = RequestReader(LIMITS).read(with_field(":scheme", "HTTP"), True, "https")
    assert isinstance(message, MessageHead)
    assert message.request.scheme == "https"


def test_a_host_field_does_without_authority() -> None:
    message = accepted([*without(":authority"), ("accept", "*/*"), ("host", "A.example:8443")])
    assert (message.request.host, message.request.port) == ("a.example", 8443)
    assert message.request.fields.lines == (("host", "A.example:8443"), ("accept", "*/*"))


def test_a_host_field_that_means_the_same_is_not_told_twice() -> None:
    assert accepted([*GET, ("host", "A.EXAMPLE")]).request.fields.lines == (("host", "a.example"),)


def test_crumbs_of_cookies_are_joined_where_the_first_stood() -> None:
    """RFC 9113 section 8.2.3."""
    message = accepted([*GET, ("a", "1"), ("cookie", "b=2"), ("c", "3"), ("cookie", "d=4"), ("cookie", "e=5")])
    assert message.request.fields.lines == (
        ("host", "a.example"),
        ("a", "1"),
        ("cookie", "b=2; d=4; e=5"),
        ("c", "3"),
    )


def test_two_crumbs_are_joined() -> None:
    assert accepted([*GET, ("cookie", "a=b"), ("cookie", "c=d")]).request.fields.get("cookie") == "a=b; c=d"


def test_a_request_without_a_path_is_none_though_its_other_fields_are_known() -> None:
    reader = RequestReader(LIMITS)
    assert isinstance(reader.read(GET, True, "https"), MessageHead)
    assert isinstance(reader.read(without(":path"), True, "https"), MalformedRequest)


def test_crumbs_count_as_one_field() -> None:
    accepted([*GET, *((("cookie", "a=b"),) * 30)])


def test_the_asterisk_belongs_to_options() -> None:
    asterisk = with_field(":path", "*")
    assert read(asterisk) == Refused(Refusal.MALFORMED_TARGET, 'The request target "*" belongs to OPTIONS only.')
    message = accepted([(":method", "OPTIONS"), *asterisk[1:]])
    assert message.request.target.path == "*"
    assert read(asterisk) == Refused(Refusal.MALFORMED_TARGET, 'The request target "*" belongs to OPTIONS only.')


MALFORMED: dict[str, HeaderList] = {
    "nothing at all": [],
    "no method": without(":method"),
    "no scheme": without(":scheme"),
    "no path": without(":path"),
    "no path in an OPTIONS": [(":method", "OPTIONS"), *without(":path")[1:]],
    "an empty path": with_field(":path", ""),
    "an empty scheme": with_field(":scheme", ""),
    "a scheme with a space": with_field(":scheme", "ht tp"),
    "an empty method": with_field(":method", ""),
    "a method with a space": with_field(":method", "GET X"),
    "a path with NUL": with_field(":path", "/\0"),
    "a path with CR": with_field(":path", "/\r"),
    "a path with LF": with_field(":path", "/\n"),
    "a path behind a space": with_field(":path", " /"),
    "an authority with LF": with_field(":authority", "a.example\n"),
    "an authority with a tab behind": with_field(":authority", "a.example\t"),
    "the method twice": [GET[0], *GET],
    "the path twice": [*GET, GET[3]],
    "the path twice, elsewhere": [GET[3], *GET],
    "the authority twice": [*GET, GET[2]],
    "an unknown pseudo-field": [*GET, (":a", "b")],
    "the pseudo-field of responses": [*GET, (":status", "200")],
    "the protocol of an extended CONNECT": [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]],
    "a pseudo-field behind others": [*GET[:3], ("a", "b"), GET[3]],
    "another pseudo-field behind others": [GET[0], ("a", "b"), *GET[1:]],
    "CONNECT with path and scheme": [(":method", "CONNECT"), *GET[1:]],
    "CONNECT with scheme": [(":method", "CONNECT"), GET[1], GET[2]],
    "CONNECT with path": [(":method", "CONNECT"), GET[2], GET[3]],
    "CONNECT without authority": [(":method", "CONNECT")],
    "a name in upper case": [*GET, ("X-a", "b")],
    "a name with a space": [*GET, ("x a", "b")],
    "a name with a colon": [*GET, ("x:a", "b")],
    "an empty name": [*GET, ("", "b")],
    "a name beyond ASCII": [*GET, ("é", "b")],
    "a name with NUL": [*GET, ("a\0", "b")],
    "a name with DEL": [*GET, ("a\x7f", "b")],
    "a value with NUL": [*GET, ("a", "b\0c")],
    "a value with CR": [*GET, ("a", "b\rc")],
    "a value with LF": [*GET, ("a", "b\nc: d")],
    "a value with LF at its end": [*GET, ("a", "b\n")],
    "a value with a control character": [*GET, ("a", "b\x01")],
    "a value with DEL": [*GET, ("a", "b\x7f")],
    "a space before a value": [*GET, ("a", " b")],
    "a space behind a value": [*GET, ("a", "b ")],
    "a tab before a value": [*GET, ("a", "\tb")],
    "a value of one space": [*GET, ("a", " ")],
    "connection": [*GET, ("connection", "close")],
    "proxy-connection": [*GET, ("proxy-connection", "keep-alive")],
    "keep-alive": [*GET, ("keep-alive", "timeout=5")],
    "transfer-encoding": [*GET, ("transfer-encoding", "chunked")],
    "upgrade": [*GET, ("upgrade", "websocket")],
    "te": [*GET, ("te", "gzip")],
    "te with trailers and more": [*GET, ("te", "trailers, gzip")],
    "content that was announced and does not come": [*GET, ("content-length", "1")],
    "content-length twice": [*GET, ("content-length", "0"), ("content-length", "0")],
    "content-length with a sign": [*GET, ("content-length", "+0")],
    "content-length with more digits than any content": [*GET, ("content-length", "1" * 30)],
    "content-length of other digits": [*GET, ("content-length", "\xb2")],
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_rfc_9113_forbids_is_malformed(what: str) -> None:
    assert isinstance(read(MALFORMED[what]), MalformedRequest)


REFUSED: dict[str, tuple[HeaderList, Refusal]] = {
    "neither authority nor host": (without(":authority"), Refusal.MISSING_HOST),
    "two hosts": ([*without(":authority"), ("host", "a"), ("host", "a")], Refusal.REPEATED_HOST),
    "two hosts beside an authority": ([*GET, ("host", "a.example"), ("host", "a.example")], Refusal.REPEATED_HOST),
    "another host": ([*GET, ("host", "b.example")], Refusal.DIFFERENT_HOST),
    "another port": ([*GET, ("host", "a.example:444")], Refusal.DIFFERENT_HOST),
    "a malformed host beside an authority": ([*GET, ("host", "a b")], Refusal.MALFORMED_HOST),
    "an empty authority": (with_field(":authority", ""), Refusal.MALFORMED_HOST),
    "an authority with userinfo": (with_field(":authority", "u:p@a.example"), Refusal.MALFORMED_HOST),
    "an authority with a path": (with_field(":authority", "a.example/b"), Refusal.MALFORMED_HOST),
    "a scheme of another world": (with_field(":scheme", "ftp"), Refusal.MALFORMED_TARGET),
    "an absolute path": (with_field(":path", "https://a.example/"), Refusal.MALFORMED_TARGET),
    "a path without a slash": (with_field(":path", "a"), Refusal.MALFORMED_TARGET),
    "a path with dots": (with_field(":path", "/../a"), Refusal.MALFORMED_TARGET),
    "a path with a fragment": (with_field(":path", "/a#b"), Refusal.MALFORMED_TARGET),
    "a path with a space": (with_field(":path", "/a b"), Refusal.MALFORMED_TARGET),
    "a path beyond ASCII": (with_field(":path", "/é"), Refusal.MALFORMED_TARGET),
    "a long path": (with_field(":path", "/" + "a" * 187), Refusal.TARGET_TOO_LONG),
    "many fields": ([*GET, *((f"x-{number}", "") for number in range(8))], Refusal.TOO_MANY_FIELDS),
    "large fields": ([*GET, ("x", "a" * 580)], Refusal.FIELDS_TOO_LARGE),
    "large fields beside a host": ([*GET, ("host", "a.example"), ("x", "a" * 581)], Refusal.FIELDS_TOO_LARGE),
    "large cookies": ([*GET, ("cookie", "a" * 290), ("cookie", "b" * 282)], Refusal.FIELDS_TOO_LARGE),
    "TRACE": ([(":method", "TRACE"), *GET[1:]], Refusal.METHOD_NOT_ALLOWED),
    "CONNECT": ([(":method", "CONNECT"), (":authority", "a.example:443")], Refusal.UNKNOWN_METHOD),
    "another expectation": ([*GET, ("expect", "more")], Refusal.UNKNOWN_EXPECTATION),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_http_1_1_refuses_is_refused(what: str) -> None:
    fields, refusal = REFUSED[what]
    refused = read(fields)
    assert isinstance(refused, Refused)
    assert refused.refusal is refusal


@pytest.mark.parametrize(
    "fields",
    [
        with_field(":path", "/" + "a" * 186),
        [*GET, *((f"x-{number}", "") for number in range(7))],
        [*GET, ("x", "a" * (600 - len("host: a.example\r\n") - len("x: \r\n")))],
        [*GET, ("host", "a.example"), ("x", "a" * (600 - len("host: a.example\r\n") - len("x: \r\n")))],
        [*GET, ("cookie", "a" * 290), ("cookie", "b" * (600 - 17 - 10 - 290 - 2))],
        [*GET, ("te", "trailers")],
        [*GET, ("content-length", "0")],
        [*GET, ("a", "")],
        [*GET, ("a", "b\tc")],
        [*GET, ("expect", "100-Continue")],
    ],
)
def test_what_is_just_within_is_taken(fields: HeaderList) -> None:
    assert accepted(fields).framing is None


def test_a_known_target_is_measured_with_its_method() -> None:
    """A target that was remembered from a shorter request line is too long in a longer one."""
    reader = RequestReader(LIMITS)
    path = with_field(":path", "/" + "a" * 186)
    assert isinstance(reader.read(path, True, "https"), MessageHead)
    assert reader.read([(":method", "POST"), *path[1:]], True, "https") == Refused(Refusal.TARGET_TOO_LONG)


def test_content_is_framed_by_what_was_announced() -> None:
    post: HeaderList = [(":method", "POST"), *GET[1:]]
    assert isinstance(accepted(post, is_end=False).framing, Chunked)
    framing = accepted([*post, ("content-length", "7")], is_end=False).framing
    assert isinstance(framing, FixedLength)
    assert framing.remaining_bytes == 7
    assert read([*post, ("content-length", "1001")], is_end=False) == Refused(Refusal.CONTENT_TOO_LARGE)
    assert not accepted(GET, is_end=False).is_plain
    assert accepted([*post, ("expect", "100-continue")], is_end=False).expects_continue
    assert not accepted([*post, ("expect", "100-continue")]).expects_continue


@pytest.mark.parametrize(
    ("announced", "parts", "fault"),
    [
        ("7", [3, 4], None),
        ("7", [3, 3], MalformedRequest),
        ("7", [7, 1], MalformedRequest),
        ("0", [0], None),
        ("0", [1], MalformedRequest),
        ("0", [], None),
        ("7", [], MalformedRequest),
        (None, [600, 400], None),
        (None, [600, 401], Refused),
        (None, [], None),
    ],
)
def test_content_has_to_be_what_was_announced(announced: str | None, parts: list[int], fault: type | None) -> None:
    length = [] if announced is None else [("content-length", announced)]
    content = ArrivingContent(accepted([(":method", "POST"), *GET[1:], *length], is_end=False), LIMITS)
    found = next((told for told in [content.add(part) for part in parts] if told is not None), None) or content.end()
    assert found is None if fault is None else isinstance(found, fault)


METHODS = st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS", "QUERY", "CONNECT", "TRACE", "get"])
PATHS = st.one_of(
    st.sampled_from(["/", "/a?b", "*", "/%7e", "/%2f", "/./a", "/é", "/a#", "/" + "l" * 190, "/" + "m" * 186, "a"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12).map(lambda text: "/" + text),
)
HOSTS = st.sampled_from(["a.example", "A.example.:80", "[::1]", "a b", "", "u@a", "a.example:99999", "x" * 70])
FIELDS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["accept", "x-a", "range", "if-none-match", "cookie", "te", "cache-control"]),
            st.sampled_from(["", "a", "bytes=0-1", '"x"', "trailers", "é", "b\tc", "v" * 300]),
        ),
        st.tuples(st.just("expect"), st.sampled_from(["100-continue", "100-Continue", "200"])),
        st.tuples(st.just("host"), HOSTS),
    ),
    max_size=9,
)


@settings(max_examples=200)
@given(METHODS, PATHS, HOSTS, FIELDS)
@example("GET", "/" + "l" * 190, "a b", [("host", "a")])
@example("TRACE", "a", "", [("x-a", "v" * 300)] * 3)
@example("GET", "/é", "", [("x-a", "v" * 300)] * 3)
def test_http_1_1_judges_alike(method: str, path: str, host: str, fields: HeaderList) -> None:
    assume(method != "CONNECT" and [name for name, _ in fields].count("cookie") < 2)
    assume(all(name != "te" or value == "trailers" for name, value in fields))
    lines = "".join(f"{name}: {value}\r\n" for name, value in [("host", host), *fields])
    engine = H1Engine(HeadParser(LIMITS), LIMITS, "https")
    engine.receive(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
    expected = engine.next_event()
    pseudo = [(":method", method), (":scheme", "https"), (":path", path)]
    found = read([*pseudo, ("host", host), *fields])
    if isinstance(expected, MessageHead):
        assert isinstance(found, MessageHead), found
        assert found.request == expected.request
        assert (found.framing, found.is_plain) == (expected.framing, expected.is_plain)
        by_authority = [*pseudo, (":authority", host), *fields]
        assert accepted(by_authority).request == expected.request
    else:
        assert found == expected


MESSY_NAMES = st.one_of(
    st.sampled_from(
        [":method", ":scheme", ":authority", ":path", ":status", ":x", "host", "te", "Upper", "connection"]
    ),
    st.sampled_from(["accept", "cookie", "content-length", "transfer-encoding", "a b", ""]),
)
MESSY_VALUES = st.sampled_from(
    ["GET", "https", "a.example", "/", "", "trailers", " a", "a\n", "\0", "close", "0", "CONNECT"]
)


@settings(max_examples=200)
@given(st.permutations(GET), st.lists(st.tuples(MESSY_NAMES, MESSY_VALUES), max_size=4), st.integers(0, 4), st.data())
def test_what_another_forbids_is_never_taken(
    pseudo: HeaderList, more: HeaderList, dropped: int, data: st.DataObject
) -> None:
    """And nothing else than the three outcomes comes of any list."""
    fields = pseudo[:dropped] + pseudo[dropped + 1 :]
    for field in more:
        fields.insert(data.draw(st.integers(0, len(fields))), field)
    flags = HeaderValidationFlags(is_client=False, is_trailer=False, is_response_header=False, is_push_promise=False)
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    try:
        list(validate_headers(encoded, flags))
        is_allowed = True
    except ProtocolError:
        is_allowed = False
    found = read(fields)
    assert is_allowed or isinstance(found, (MalformedRequest, Refused))


ANY_FIELD = st.tuples(
    st.one_of(MESSY_NAMES, st.text(st.characters(max_codepoint=255), max_size=6)),
    st.text(st.characters(max_codepoint=255), max_size=8),
)


@given(st.lists(st.lists(st.one_of(st.sampled_from(GET), ANY_FIELD), max_size=8), max_size=6), st.booleans())
def test_what_is_remembered_changes_no_judgement(lists: list[HeaderList], is_end: bool) -> None:
    reader = RequestReader(LIMITS)
    for fields in lists * 2:
        found = reader.read(fields, is_end, "https")
        expected = RequestReader(LIMITS).read(fields, is_end, "https")
        if isinstance(expected, MessageHead):
            assert isinstance(found, MessageHead)
            assert found.request == expected.request
        else:
            assert found == expected


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h2_request, "MAX_TARGETS", 16)
    monkeypatch.setattr(h2_section, "MAX_SECTIONS", 16)
    monkeypatch.setattr(h2_section, "MAX_LINES", 16)
    monkeypatch.setattr(h2_section, "MAX_LATE_LINES", 16)
    reader = RequestReader(HttpLimits())
    for number in range(100):
        fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", f"{number}.example"),
            (":path", f"/{number}"),
        ]
        own = [("x-a", f"{number}"), ("cookie", f"a={number}")]
        assert isinstance(reader.read([*fields, *own], True, "https"), MessageHead)
    sections = reader._sections
    remembered = (sections.known, sections._lines, sections._lately, sections._pseudo, reader._targets)
    assert not any(name == "cookie" for name, _ in sections._lines)
    assert all(0 < len(memo) <= 16 for memo in remembered)
    grows = ("referer", "\xe9" * 900)  # in the access log five times as long
    assert isinstance(reader.read([*GET, grows], True, "https"), MessageHead)
    assert not any(grows in section for section in sections.known)
    assert grows not in sections._lines
    long = "l" * 3000
    assert isinstance(reader.read([*with_field(":path", "/" + long), ("x-a", long)], True, "https"), MessageHead)
    assert not any(("x-a", long) in section for section in sections.known)
    assert ("x-a", long) not in sections._lines
    assert "/" + long not in reader._targets


PARTS = st.sampled_from(
    ["/", "/a", "/a?b", "GET", "HEAD", "\0", "\n", "a.example", "None", "x:y", "host:a.example", ":"]
)
SOME_FIELDS = st.lists(
    st.sampled_from(
        [
            ("x", "y"),
            ("range", "bytes=0-1"),
            ("accept", "*/*"),
            ("cookie", "a=b"),
            ("cookie", "c=d"),
            ("user-agent", "A"),
            ("user-agent", "B"),
            ("referer", "https://a.example/"),
            ("content-length", "0"),
            ("expect", "100-continue"),
            ("accept-encoding", "gzip"),
        ]
    ),
    max_size=4,
    unique=True,
)
ASKED = st.builds(
    lambda method, host, path, fields: [
        (":method", method),
        (":scheme", "https"),
        (":path", path),
        (":authority", host),
        *fields,
    ],
    st.sampled_from(["GET", "HEAD", "POST", "TRACE"]),
    st.sampled_from(["a.example", "A.example", "a.example:443", "b.example", "a b"]),
    st.one_of(st.sampled_from(["/", "/a", "/a?b"]), st.lists(PARTS, max_size=8).map("".join)),
    SOME_FIELDS,
)


@settings(max_examples=200)
@given(st.lists(ASKED, min_size=2, max_size=6))
@example(
    [
        [*GET[:3], (":path", "/"), ("x", "y")],
        [*GET[:3], (":path", "/\0GET\na.example\nx:y")],
        [*GET[:3], (":path", "\nx:y/")],
        [*GET[:3], (":path", "/")],
    ]
)
@example([[*GET, ("user-agent", "A"), ("accept", "a")], [*GET, ("user-agent", "B")]])
def test_requests_of_one_gist_differ_in_nothing_that_tells(lists: list[HeaderList]) -> None:
    reader = RequestReader(LIMITS)
    told: dict[bytes, tuple[MessageHead, bytes]] = {}
    for fields in lists:
        message = reader.read(fields, True, "https")
        gist = reader.gist(fields)
        if gist is None:
            continue
        known = told.get(gist.key)
        if known is None:
            if isinstance(message, MessageHead):
                told[gist.key] = message, gist.words
            continue
        assert isinstance(message, MessageHead)
        assert telling(message) == telling(known[0])
        assert (gist.host, gist.is_head) == (message.request.host, message.request.method == "HEAD")
        said = [message.request.fields.get(name) or "" for name in ("referer", "user-agent")]
        assert all(word.encode() in gist.words for word in said)


@given(st.lists(ASKED, max_size=4), st.lists(st.sampled_from(("/", "/a", "", "a\0b")), min_size=1, max_size=3))
def test_a_shape_changes_nothing_of_a_gist(lists: list[HeaderList], paths: list[str]) -> None:
    reader = RequestReader(LIMITS)
    for fields in lists:
        place = next((at for at, (name, _) in enumerate(fields) if name == ":path"), None)
        if place is None:
            continue
        shape = BlockShape(fields[:place], fields[place + 1 :])
        for path in paths:
            asked = [*shape.before, (":path", path), *shape.after]
            assert reader.gist(asked, shape) == RequestReader(LIMITS).gist(asked)


def telling(message: MessageHead) -> Request:
    """The request without the fields that no hit depends on."""
    kept = tuple(line for line in message.request.fields if line[0] not in UNTELLING)
    return replace(message.request, fields=Fields(kept))


def test_only_what_may_be_a_hit_has_a_gist() -> None:
    reader = RequestReader(LIMITS)
    post = [(":method", "POST"), *GET[1:]]
    two_agents = [("user-agent", "A"), ("user-agent", "B")]
    many = [*GET, *(("accept", str(number)) for number in range(8))]
    for fields in (post, [*GET, ("content-length", "0")], with_field(":authority", "a b"), [*GET, *two_agents], many):
        reader.read(fields, True, "https")
        assert reader.gist(fields) is None
    gist = reader.gist(GET)
    assert gist is not None
    assert (gist.host, gist.is_head) == ("a.example", False)
    assert reader.gist([*GET[:3], ("a", "b"), GET[3]]) is None
    reader.read([*GET, ("a", "b")], True, "https")
    assert reader.gist([*GET[:3], ("a", "b"), GET[3]]) is None  # the path stands behind the fields
    assert reader.gist([]) is None
