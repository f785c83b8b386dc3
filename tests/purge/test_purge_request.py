from __future__ import annotations

import msgspec
import pytest

from cdn.errors import InvalidInput, TooLarge
from cdn.purge.request import MAX_SCOPES_PER_PURGE, PurgeRequest, scopes_of
from cdn.purge.scope import EVERYTHING, Scope, ScopeKind


def is_own(host: str) -> bool:
    return host == "blog.example"


def test_all_kinds_each_scope_once() -> None:
    request = PurgeRequest(
        urls=("/a", "https://blog.example/a", "/b"), prefixes=("/blog/*", "/blog/"), tags=("t", "t"), soft=True
    )
    assert scopes_of(request, is_own) == (
        Scope(ScopeKind.URL, "/a"),
        Scope(ScopeKind.URL, "/b"),
        Scope(ScopeKind.PREFIX, "/blog/"),
        Scope(ScopeKind.TAG, "t"),
    )


def test_everything_covers_the_rest() -> None:
    assert scopes_of(PurgeRequest(everything=True), is_own) == (EVERYTHING,)
    assert scopes_of(PurgeRequest(urls=("/a",), everything=True), is_own) == (EVERYTHING,)
    with pytest.raises(InvalidInput):
        scopes_of(PurgeRequest(urls=("a",), everything=True), is_own)


def test_every_fault_is_listed() -> None:
    request = PurgeRequest(urls=("/ok", "nope", "https://evil.example/"), prefixes=("/a?b",), tags=("ok", "a,b"))
    with pytest.raises(InvalidInput) as refused:
        scopes_of(request, is_own)
    assert refused.value.field == "urls[1]"
    assert "'nope'" in refused.value.message
    assert [detail.split(":")[0] for detail in refused.value.details] == [
        *("urls[1]", "urls[2]", "prefixes[0]", "tags[1]")
    ]


def test_nothing_asked_for() -> None:
    with pytest.raises(InvalidInput, match="names nothing"):
        scopes_of(PurgeRequest(soft=True), is_own)


def test_the_number_of_scopes_is_bounded() -> None:
    most = tuple(f"/{number}" for number in range(MAX_SCOPES_PER_PURGE))
    assert len(scopes_of(PurgeRequest(urls=most), is_own)) == MAX_SCOPES_PER_PURGE
    with pytest.raises(TooLarge, match=f"at most {MAX_SCOPES_PER_PURGE}"):
        scopes_of(PurgeRequest(urls=most, tags=("t",)), is_own)


def test_unknown_fields_and_wrong_types_are_refused() -> None:
    decoder = msgspec.json.Decoder(PurgeRequest)
    assert decoder.decode(b'{"urls": ["/a"], "soft": true}') == PurgeRequest(urls=("/a",), soft=True)
    for content in (b'{"url": ["/a"]}', b'{"urls": "/a"}', b'{"soft": 1}', b'{"tags": [1]}', b"[]"):
        with pytest.raises(msgspec.ValidationError):
            decoder.decode(content)
