"""Lines of the access log: JSON in ASCII whatever a client sends, short enough for a pipe, and honest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdn.edge.access_line import (
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    Said,
    encode_said,
    encode_time,
    encode_visitor,
    encode_words,
    shown_address,
    text_of,
    with_words,
)
from cdn.edge.access_log import AccessLog
from cdn.edge.access_log_file import AccessLogFile
from cdn.edge.access_log_settings import AccessLogSettings, Addresses
from cdn.edge.outcome import Outcome
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target, parse_target

values = st.binary(max_size=6000).map(lambda raw: raw.decode("latin-1"))
"""What a field may hold, and much that it may not."""


class NoFile(AccessLogFile):
    """Nothing is written."""

    def __init__(self) -> None:
        """No thread either."""


def read(tail: bytes) -> dict[str, Any]:
    """The line that ends with `tail`, as a reader of logs sees it: one line, printable ASCII, JSON."""
    line = encode_time("2026-11-23T08:01:48", 7) + encode_visitor("192.0.2.1", "https", "TLSv1.3") + tail
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert all(0x20 <= octet <= 0x7E for octet in line[:-1])
    assert len(line) <= MAX_LINE_BYTES
    document: dict[str, Any] = json.loads(line)
    assert document["time"] == "2026-11-23T08:01:48.007Z"
    return document


def said(**more: Any) -> Said:
    return Said("a.example", "GET", "/x", "HTTP/1.1", 200, 5, 1.5, "miss", **more)


@given(referer=values, user_agent=values, cache_status=values)
@example(referer='"\\\x00\r\n\x1b[2J\x7f', user_agent="\x9b31m\xff", cache_status="\xe2\x80\xa8")
@example(referer="\xff" * 5000, user_agent='"' * 5000, cache_status="\x01" * 5000)
@example(referer="\xf0\x9f\x98\x80" * 900, user_agent="\xf0\x9f\x98\x80" * 900, cache_status="\xf0\x9f\x98\x80" * 900)
def test_whatever_a_client_sends_is_one_line_of_ascii_json(referer: str, user_agent: str, cache_status: str) -> None:
    line = encode_said(
        said(referer=text_of(referer), user_agent=text_of(user_agent), cache_status=text_of(cache_status))
    )
    document = read(line)
    if not document.get("cut"):
        assert document.get("referer", "") == text_of(referer)
        assert document.get("user_agent", "") == text_of(user_agent)


def test_what_is_utf_8_is_read_and_other_octets_are_named() -> None:
    assert text_of("Gr\xc3\xbc\xc3\x9fe") == "Grüße"
    assert text_of("a\xff") == "a\\xff"
    assert json.loads(b"{" + encode_said(said(referer=text_of("Gr\xc3\xbc\xf0\x9f\x8c\x8d"))))["referer"] == "Grü🌍"


@pytest.mark.parametrize("value", ["u", '"', "\x7f", "é", "\U0001f600"])
def test_the_longest_that_anybody_can_send_fits(value: str) -> None:
    most = said(referer=value * 5000, user_agent=value * 5000, cache_status=value * 5000, site="s" * 63)
    most.host, most.method, most.target = "h" * 253, "M" * 5000, "/" + "t" * 5000
    most.bytes, most.duration_ms, most.first_byte_ms, most.complete = 10**15, 86400000.123, 86400000.123, False
    document = read(encode_said(most))
    assert document["cut"] is True
    assert document["user_agent"].startswith(value * 50)


def test_what_is_too_long_is_cut_and_says_so() -> None:
    long = said(user_agent="u" * 5000)
    long.method, long.target = "M" * 5000, "/" + "t" * 5000
    document = read(encode_said(long))
    assert document["cut"] is True
    assert document["target"].startswith("/ttt")
    assert len(document["target"]) == 1024
    assert "cut" not in read(encode_said(said(user_agent="u" * 1000)))


@given(
    referer=st.none() | values,
    user_agent=st.none() | values,
    raw=st.binary(max_size=1500),
    status=st.integers(200, 599),
)
@example(referer=None, user_agent=None, raw=b'/%22%5c?"\\', status=200)
def test_a_hit_is_said_in_the_same_words_as_everything_else(
    referer: str | None, user_agent: str | None, raw: bytes, status: int
) -> None:
    target = parse_target(b"/" + raw.replace(b"\x80", b"x")) if raw.isascii() else None
    request = request_of(target if isinstance(target, Target) else Target("/x", None, "/x"), referer, user_agent)
    log = AccessLog(AccessLogSettings(), NoFile(), site_of=lambda host: "blog")
    hit = log.encode_hit(request, status, 12, "HTTP/2", Outcome.HIT)
    slow = Said(request.host, "GET", log.target_of(request), "HTTP/2", status, 12, 0, Outcome.HIT)
    slow.referer, slow.user_agent = text_of(referer), text_of(user_agent)
    assert read(hit) == read(log.encode(slow))
    assert hit == log.encode_hit(request, status, 12, "HTTP/2", Outcome.HIT), "remembered words are the same words"


@given(value=values, more=values)
def test_words_that_are_added_later_say_the_same(value: str, more: str) -> None:
    line = encode_said(said())
    words = encode_words("referer", value) + encode_words("user_agent", more)
    added = with_words(line, words)
    whole = encode_said(said(referer=text_of(value), user_agent=text_of(more)))
    if added is None:
        assert len(line) + len(words) > MAX_LINE_BYTES - MAX_HEAD_BYTES
    else:
        assert read(added) == read(whole)


def test_a_query_is_left_out_where_that_is_wanted() -> None:
    request = request_of(Target("/x", "token=secret", "/x"), None, None)
    for queries, shown in ((True, "/x?token=secret"), (False, "/x")):
        log = AccessLog(AccessLogSettings(queries=queries), NoFile())
        assert read(log.encode_hit(request, 200, 1, "HTTP/1.1", Outcome.HIT))["target"] == shown
        assert log.target_of(request) == shown


@pytest.mark.parametrize(
    ("address", "kept", "shown"),
    [
        ("192.0.2.77", Addresses.WHOLE, "192.0.2.77"),
        ("192.0.2.77", Addresses.NETWORK, "192.0.2.0"),
        ("2001:db8:1:2:3:4:5:6", Addresses.WHOLE, "2001:db8:1:2:3:4:5:6"),
        ("2001:db8:1:2:3:4:5:6", Addresses.NETWORK, "2001:db8:1::"),
        ("192.0.2.77", Addresses.NONE, ""),
    ],
)
def test_as_much_of_an_address_is_kept_as_is_wanted(address: str, kept: Addresses, shown: str) -> None:
    assert shown_address(address, kept) == shown
    part = encode_visitor(shown_address(address, kept), "http", "")
    document = json.loads(b"{" + part + encode_said(said()))
    assert document.get("address", "") == shown
    assert "tls" not in document
    assert len(encode_time("2026-11-23T08:01:48", 7) + part) <= MAX_HEAD_BYTES


def request_of(target: Target, referer: str | None, user_agent: str | None) -> Request:
    lines = (("referer", referer), ("user-agent", user_agent))
    fields = Fields(tuple((name, value) for name, value in lines if value is not None))
    return Request("GET", target, "a.example", None, fields, "http")
