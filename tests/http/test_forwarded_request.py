from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.http.connection_fields import CONNECTION_FIELDS
from cdn.http.fields import FieldLines, Fields
from cdn.http.forwarded_request import (
    SET_FIELDS,
    WITHHELD_FIELDS,
    WITHHELD_PREFIXES,
    Forwarding,
    forwarded_fields,
    seen_fields,
)
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.http.vary import selecting

FORWARDING = Forwarding("cdn.example", "node-1", "192.0.2.7", "up.example:8080", frozenset({"x-site", "x_other"}))
OWN = (
    ("via", "1.1 node-1"),
    ("cdn-loop", "cdn.example"),
    ("x-forwarded-for", "192.0.2.7"),
    ("x-forwarded-proto", "https"),
    ("forwarded", "for=192.0.2.7;proto=https"),
)


def _request(*lines: tuple[str, str], scheme: str = "https") -> Request:
    return Request("GET", Target("/", None, "/"), "visited.example", None, Fields(lines), scheme)


def _forwarded(*lines: tuple[str, str]) -> FieldLines:
    return forwarded_fields(_request(*lines), FORWARDING)


def test_an_ordinary_request() -> None:
    lines = (
        ("user-agent", "a"),
        ("cookie", "a=b"),
        ("cache-control", "max-age=0"),
        ("if-none-match", '"a"'),
        ("range", "bytes=0-1"),
        ("max-forwards", "5"),
        ("x-custom", "1"),
        ("x-custom", "2"),
        ("authorization", "Basic YTpi"),
        ("cookie", "c=d"),
    )
    assert _forwarded(("host", "visited.example"), *lines) == (("host", "up.example:8080"), *lines, *OWN)


def test_a_request_without_fields() -> None:
    assert _forwarded() == (("host", "up.example:8080"), *OWN)


@pytest.mark.parametrize("name", sorted(CONNECTION_FIELDS | {"content-length", "expect", "named", "x-site", "x_other"}))
def test_what_belongs_to_the_clients_connection_or_is_withheld_for_the_site(name: str) -> None:
    assert _forwarded(("connection", "keep-alive, Named"), (name, "1")) == (("host", "up.example:8080"), *OWN)


POISON = sorted(WITHHELD_FIELDS) + [f"{prefix}anything" for prefix in WITHHELD_PREFIXES]
POISON += ["x-forwarded-host", "x-forwarded-port", "x-forwarded-scheme", "x-forwarded-server", "x-forwarded-prefix"]
POISON += ["x-original-url", "x-rewrite-url", "x-original-host", "x-middleware-subrequest", "x-http-method-override"]


@pytest.mark.parametrize("name", POISON)
def test_what_poisons_caches_never_gets_through(name: str) -> None:
    assert _forwarded((name, "evil")) == (("host", "up.example:8080"), *OWN)


SPELLINGS = ["x_forwarded_host", "x-forwarded_host", "x.original.url", "x_http_method_override", "content_length"]
SPELLINGS += ["transfer_encoding", "x_forwarded_for", "x_real_ip", "x~forwarded~proto", "accept_language", "x_site"]


@pytest.mark.parametrize("name", SPELLINGS)
def test_another_spelling_is_the_same_to_a_gateway(name: str) -> None:
    assert _forwarded((name, "evil")) == (("host", "up.example:8080"), *OWN)


def test_names_that_only_look_alike_get_through() -> None:
    lines = (
        ("x_custom", "1"),
        ("api_key", "1"),
        ("x-forward", "1"),
        ("x-originality", "1"),
        ("priority", "u=1"),
        ("origin", "null"),
    )
    assert _forwarded(*lines) == (("host", "up.example:8080"), *lines, *OWN)


@pytest.mark.parametrize("name", sorted(SET_FIELDS - {"via", "cdn-loop", "accept-encoding"}))
def test_what_this_edge_says_replaces_every_line_of_the_client(name: str) -> None:
    assert sorted(_forwarded((name, "evil"), ("a", "b"), (name, "evil"))) == sorted(_forwarded(("a", "b")))


def test_the_way_it_came_stays_known() -> None:
    fields = Fields(
        _forwarded(("via", "1.0 a"), ("cdn-loop", "x;y"), ("via", "2 b (c)"), ("connection", "via, cdn-loop"))
    )
    assert fields.get_all("via") == ("1.0 a, 2 b (c), 1.1 node-1",)
    assert fields.get_all("cdn-loop") == ("x;y, cdn.example",)


@pytest.mark.parametrize(
    ("sent", "forwarded"),
    [
        (("GZIP;q=1.0 , br",), "br, gzip"),
        (("deflate;q=0.50", "gzip"), "gzip, deflate;q=0.5"),
        (("",), ""),
        (("gzip;level=9,br",), "gzip;level=9, br"),
    ],
)
def test_codings_of_the_same_meaning_look_the_same(sent: tuple[str, ...], forwarded: str) -> None:
    lines = tuple(("accept-encoding", value) for value in sent)
    assert Fields(_forwarded(*lines)).get_all("accept-encoding") == (forwarded,)


@pytest.mark.parametrize(
    ("address", "for_", "node"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0::1", "2001:db8::1", '"[2001:db8::1]"'),
        ("fe80::1%eth0", "fe80::1", '"[fe80::1]"'),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("", None, "unknown"),
        ("unix:/run/x", None, "unknown"),
        ("192.0.2.7, 10.0.0.1", None, "unknown"),
    ],
)
def test_the_visitors_address(address: str, for_: str | None, node: str) -> None:
    forwarding = Forwarding("cdn.example", "node-1", address, "up.example")
    fields = Fields(forwarded_fields(_request(("x-forwarded-for", "evil"), scheme="http"), forwarding))
    assert fields.get("x-forwarded-for") == for_
    assert fields.get("forwarded") == f"for={node};proto=http"
    assert fields.get("x-forwarded-proto") == "http"


# What selects


def test_a_hit_selects_by_the_requests_own_fields() -> None:
    request = _request(("connection", "keep-alive"), ("accept-encoding", "BR, gzip"), ("foo", "1"))
    assert seen_fields(("accept-encoding", "foo", "absent"), request, FORWARDING) is request.fields
    assert seen_fields((), request, FORWARDING) is request.fields


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (("x-forwarded-for", "evil"), "192.0.2.7"),
        (("x-forwarded-proto", "http"), "https"),
        (("host", "visited.example"), "up.example:8080"),
        (("x-forwarded-host", "evil"), None),
        (("x_forwarded_host", "evil"), None),
        (("named", "1"), None),
        (("x-site", "1"), None),
        (("te", "trailers"), None),
    ],
)
def test_what_upstream_does_not_see_selects_nothing(line: tuple[str, str], seen: str | None) -> None:
    request = _request(("connection", "close, named"), line, ("foo", "1"))
    fields = seen_fields(("foo", line[0]), request, FORWARDING)
    assert selecting(("foo", line[0]), fields) == (("foo", "1"), (line[0], seen))


_NAMES = [
    "accept-encoding",
    "connection",
    "foo",
    "host",
    "te",
    "via",
    "x-forwarded-for",
    "x_host",
    "x-site",
    "x-real-ip",
]
_LINES = st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(["", "foo", "a,B", "x;q=1"])), max_size=8)


@given(_LINES, st.sets(st.sampled_from(_NAMES)))
@settings(deadline=None)
def test_seen_is_what_was_forwarded(lines: list[tuple[str, str]], names: set[str]) -> None:
    request = _request(*lines)
    wanted = tuple(sorted(names))
    forwarded = Fields(forwarded_fields(request, FORWARDING))
    assert selecting(wanted, seen_fields(wanted, request, FORWARDING)) == selecting(wanted, forwarded)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=6))
@settings(deadline=None)
def test_nothing_withheld_gets_through_whatever_is_sent(lines: list[tuple[str, str]]) -> None:
    sent = forwarded_fields(_request(*((name.lower(), value) for name, value in lines)), FORWARDING)
    assert [line for line in sent if line[0] == "host"] == [("host", "up.example:8080")]
    assert sent[-3:] == OWN[-3:]
