"""What is read of purges in Cloudflare's API, against a plain second reading of the vendor's page."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput, TooLarge
from cdn.purge.cloudflare import KINDS, read_cloudflare_purge
from cdn.purge.request import PurgeRequest, scopes_of
from cdn.purge.scope import EVERYTHING, Scope, ScopeKind

HOSTS = {"www.example.com", "blog.cdn.localhost"}


def _read(content: Any, *, soft: bool = False) -> PurgeRequest:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_cloudflare_purge(raw, HOSTS.__contains__, soft=soft)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=60) | _json.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_read_or_refused_with_a_sentence(raw: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        _read(raw)


@given(st.dictionaries(st.sampled_from([*KINDS, "file"]), _json, max_size=3))
def test_only_one_kind_is_ever_read(content: dict[str, Any]) -> None:
    given_kinds = [kind for kind, value in content.items() if value is not None and (kind, value) != NOT_EVERYTHING]
    try:
        purge = _read(content)
    except InvalidInput:
        return
    assert len(given_kinds) == 1
    assert given_kinds[0] in KINDS
    value = content[given_kinds[0]]
    assert value, "nothing is ever purged by what names nothing"
    assert purge.everything == (given_kinds[0] in {"purge_everything", "hosts"})


NOT_EVERYTHING = ("purge_everything", False)


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4), st.booleans())
def test_texts_reach_the_purge_as_they_are(texts: list[str], soft: bool) -> None:
    assert _read({"tags": texts}, soft=soft) == PurgeRequest(tags=tuple(texts), soft=soft)
    assert _read({"files": [{"url": text, "x": 1} for text in texts]}) == PurgeRequest(urls=tuple(texts))
    assert _read({"files": texts}) == PurgeRequest(urls=tuple(texts))


@given(
    st.sampled_from([*sorted(HOSTS), "other.example", ""]),
    st.sampled_from(["", ":8080"]),
    st.text("ab/.-_~", max_size=8),
)
def test_a_prefix_is_a_host_of_the_site_and_a_path(host: str, port: str, path: str) -> None:
    """The plain reading: everything whose URL without its scheme begins so."""
    text = f"{host}{port}/{path}"
    try:
        purge = _read({"prefixes": [text]})
    except InvalidInput:
        assert host not in HOSTS
        return
    assert host in HOSTS
    assert purge == PurgeRequest(prefixes=(f"/{path}",))


@pytest.mark.parametrize("host", ["WWW.example.COM", "www.example.com.", "www.example.com:443"])
def test_hosts_are_compared_as_dns_does(host: str) -> None:
    assert _read({"hosts": [host]}) == PurgeRequest(everything=True)
    assert _read({"prefixes": [host]}) == PurgeRequest(prefixes=("/",))


@pytest.mark.parametrize("host", ["", "www.example.com/a", "http://www.example.com", "www.example.com@other", "a b"])
def test_what_is_no_host_is_none_of_the_sites(host: str) -> None:
    with pytest.raises(InvalidInput):
        _read({"hosts": [host]})


def test_what_was_read_can_be_purged() -> None:
    assert scopes_of(_read({"purge_everything": True}), HOSTS.__contains__) == (EVERYTHING,)
    files = _read({"files": ["https://www.example.com/a?b#c"]})
    with pytest.raises(InvalidInput):
        scopes_of(files, HOSTS.__contains__)
    prefixes = _read({"prefixes": ["www.example.com/a/"]})
    assert scopes_of(prefixes, HOSTS.__contains__) == (Scope(ScopeKind.PREFIX, "/a/"),)


def test_what_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(InvalidInput):
        _read(b'{"tags":' + b"[" * 100_000)


@pytest.mark.parametrize("kind", ["hosts", "prefixes", "tags", "files"])
def test_too_many_are_refused_before_any_is_read(kind: str) -> None:
    """A megabyte names two hundred thousand: seconds of sentences about each."""
    asked: list[str] = []

    def is_host(host: str) -> bool:
        asked.append(host)
        return False

    content = json.dumps({kind: ["x"] * 1001}).encode()
    with pytest.raises(TooLarge, match="at most 1000"):
        read_cloudflare_purge(content, is_host, soft=False)
    assert asked == []
