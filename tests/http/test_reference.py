from __future__ import annotations

import time
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.fields import Fields
from cdn.http.reference import resolved_target
from cdn.http.request import Request
from cdn.http.target import Target

BASE = Target("/a/b", "q=1", "/a/b")


def request(scheme: str = "https", host: str = "www.example.com", port: int | None = None) -> Request:
    return Request("PUT", BASE, host, port, Fields(), scheme)


@pytest.mark.parametrize(
    ("reference", "path", "query"),
    [
        ("", "/a/b", "q=1"),
        ("#f", "/a/b", "q=1"),
        ("?x", "/a/b", "x"),
        ("?", "/a/b", ""),
        ("c", "/a/c", None),
        ("c?x#f", "/a/c", "x"),
        ("./c", "/a/c", None),
        ("../c", "/c", None),
        ("../../../c", "/c", None),
        (".", "/a/", None),
        ("..", "/", None),
        ("c/d/../e/./f", "/a/c/e/f", None),
        ("c?../x", "/a/c", "../x"),
        ("/", "/", None),
        ("/x//y", "/x//y", None),
        ("/x/../../y", "/y", None),
        ("/x/..", "/", None),
        ("/%7ex", "/~x", None),
        ("/c:d", "/c:d", None),
        (" /x\t", "/x", None),
        ("//www.example.com/x", "/x", None),
        ("//www.example.com", "/", None),
        ("//WWW.Example.com:443?x", "/", "x"),
        ("https://www.example.com/x?y", "/x", "y"),
        ("HTTPS://www.example.com:/x", "/x", None),
        ("https://www.example.com./x", "/x", None),
        ("https://www.example.com/x/../y", "/y", None),
        ("/\u00c3\u00bc", "/%C3%BC", None),  # UTF-8 octets, as a latin-1 field value shows them
    ],
)
def test_targets_of_the_same_origin(reference: str, path: str, query: str | None) -> None:
    target = resolved_target(reference, request())
    assert target is not None
    assert (target.path, target.query) == (path, query)


@pytest.mark.parametrize(
    "reference",
    [
        "http://www.example.com/x",
        "https://example.com/x",
        "https://www.example.com:8443/x",
        "https://user@www.example.com/x",
        "https://www.example.com@evil.example/x",
        "//evil.example/x",
        "///x",
        "https:///x",
        "https:x",
        "https:/x",
        "https:",
        "mailto:someone@example.com",
        "c:d",
        "javascript:1",
        "/a b",
        "/%2e%2e/x",
        "/%zz",
        "/\\x",
        "/\xff",
        "/\u20ac",
        "\u20ac",
        "/\ud800",
    ],
)
def test_other_origins_and_malformed_references(reference: str) -> None:
    assert resolved_target(reference, request()) is None


@pytest.mark.parametrize(
    ("port", "reference", "is_own"),
    [
        (None, "http://h/x", True),
        (None, "http://h:80/x", True),
        (80, "http://h/x", True),
        (8080, "http://h:8080/x", True),
        (8080, "http://h/x", False),
        (None, "http://h:8080/x", False),
    ],
)
def test_ports_belong_to_the_origin(port: int | None, reference: str, is_own: bool) -> None:
    assert (resolved_target(reference, request("http", "h", port)) is not None) is is_own


# No empty segments: that library drops them, which RFC 3986 does not.
SEGMENTS = st.lists(st.sampled_from([".", "..", "a", "b.c", "..."]), min_size=1, max_size=6)


@given(
    SEGMENTS, st.sampled_from(["", "/"]), st.sampled_from(["", "/"]), st.none() | st.sampled_from(["", "x=1", "../y"])
)
def test_paths_are_merged_as_the_url_library_does(
    segments: list[str], before: str, after: str, query: str | None
) -> None:
    reference = before + "/".join(segments) + after + ("" if query is None else f"?{query}")
    expected = urlsplit(urljoin("https://www.example.com/a/b", reference))
    target = resolved_target(reference, request())
    assert target is not None
    assert (target.path, target.query or "") == (expected.path or "/", expected.query)


@given(st.text() | st.text("htps:/w.exam#?%2e\\@[]:"))
def test_nothing_raises(reference: str) -> None:
    resolved_target(reference, request())


@pytest.mark.parametrize("unit", ["/", "../", "./", "a/../", "a", ":", "%41", "?", "#", "@", "[", "//", " "])
def test_hostile_references_take_linear_time(unit: str) -> None:
    started = time.process_time()
    for lead in ("", "/", "//", "https:", "https://www.example.com/"):
        resolved_target(lead + unit * (50_000 // len(unit)) + "\\", request())
    assert time.process_time() - started < 2.0  # quadratic time would be minutes
