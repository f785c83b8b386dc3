from __future__ import annotations

import pytest

from cdn.errors import InvalidInput
from cdn.http.target import TargetFault
from cdn.journal.record import PurgeScope, UnknownRecord
from cdn.purge.scope import (
    EVERYTHING,
    MAX_SCOPE_BYTES,
    Scope,
    ScopeKind,
    scope_from_prefix,
    scope_from_record,
    scope_from_tag,
    scope_from_url,
)


def is_own(host: str) -> bool:
    return host in {"blog.example", "[::1]"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/", "/"),
        ("/a/b.html", "/a/b.html"),
        ("https://blog.example/a", "/a"),
        ("HTTP://Blog.Example.:8080/a?b=%2f", "/a?b=%2F"),
        ("http://[::1]/a", "/a"),
        ("http://blog.example", "/"),
        ("/café/%63", "/caf%C3%A9/c"),
        ("/a+b%2Bc", "/a+b+c"),
        ("/a?", "/a?"),
        ("//a", "//a"),
    ],
)
def test_url(text: str, value: str) -> None:
    assert scope_from_url(text, is_own) == Scope(ScopeKind.URL, value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "neither a path"),
        ("*", "neither a path"),
        ("index.html", "neither a path"),
        ("blog.example/a", "neither a path"),
        ("ftp://blog.example/a", "neither a path"),
        ("https://other.example/a", "'other.example', which is not one of this site's"),
        ("https://user@blog.example/a", TargetFault.BAD_HOST.value),
        ("https://bücher.example/", TargetFault.BAD_HOST.value),
        ("/a/../b", TargetFault.DOT_SEGMENT.value),
        ("/a%2Fb", TargetFault.ENCODED_SLASH.value),
        ("/a%", TargetFault.BAD_ESCAPE.value),
        ("/a#b", TargetFault.FRAGMENT.value),
        ("/a b", TargetFault.CONTROL.value),
        ("/a\nb", TargetFault.CONTROL.value),
        ("/" + "a" * MAX_SCOPE_BYTES, f"longer than {MAX_SCOPE_BYTES} octets"),
        ("/" + "é" * (MAX_SCOPE_BYTES // 2), f"longer than {MAX_SCOPE_BYTES} octets"),
        ("/\ud800", "lone surrogate"),
    ],
)
def test_refused_urls(text: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        scope_from_url(text, is_own)
    assert says in refused.value.message
    assert "\n" not in refused.value.message
    assert len(refused.value.message) < 500


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/", "/"),
        ("/blog/", "/blog/"),
        ("/blog/20", "/blog/20"),
        ("/blog/*", "/blog/"),
        ("https://blog.example/é*", "/%C3%A9"),
        ("https://blog.example", "/"),
    ],
)
def test_prefix(text: str, value: str) -> None:
    assert scope_from_prefix(text, is_own) == Scope(ScopeKind.PREFIX, value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "neither a path"),
        ("*", "neither a path"),
        ("blog/", "neither a path"),
        ("/a?b", "has a query"),
        ("/a?", "has a query"),
        ("/../", TargetFault.DOT_SEGMENT.value),
        ("https://other.example/", "not one of this site's"),
    ],
)
def test_refused_prefixes(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        scope_from_prefix(text, is_own)


def test_tag() -> None:
    assert scope_from_tag(" product-1\t") == Scope(ScopeKind.TAG, "product-1")
    assert scope_from_tag("two words") == Scope(ScopeKind.TAG, "two words")
    assert scope_from_tag("é" * 128) == Scope(ScopeKind.TAG, "é" * 128)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \t", "empty"),
        ("a,b", "comma"),
        ("a\x00", "control character"),
        ("\x00", "control character"),
        ("é" * 129, "longer than 256 octets"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_refused_tags(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        scope_from_tag(text)


@pytest.mark.parametrize("scope", [EVERYTHING, *(Scope(kind, "/a") for kind in ScopeKind)])
def test_a_scope_survives_its_record(scope: Scope) -> None:
    assert scope_from_record(scope.to_record()) == scope


def test_a_kind_from_the_future_stops_the_reader() -> None:
    with pytest.raises(UnknownRecord, match="'regex'"):
        scope_from_record(PurgeScope("regex", ".*"))
