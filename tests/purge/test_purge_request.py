from __future__ import annotations

import msgspec
import pytest

from cdn.errors import InvalidInput, TooLarge
from cdn.purge.request import MAX_SCOPES_PER_PURGE, PurgeRequest, scopes_of
from cdn.purge.scope import EVERYTHING, Scope, ScopeKind
from cdn.sites.query_policy import AllowQuery, DropQuery, KeepQuery, QueryPolicy, SortQuery


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


@pytest.mark.parametrize(
    ("policy", "url", "covered"),
    [
        (KeepQuery(), "/a?b=1&a=2", ["/a?b=1&a=2"]),
        (SortQuery(), "/a?b=1&a=2", ["/a?b=1&a=2", "/a?a=2&b=1"]),
        (DropQuery(), "https://blog.example/a?b=1", ["/a?b=1", "/a"]),
        (AllowQuery(("page",)), "/a?utm=1&page=2", ["/a?utm=1&page=2", "/a?page=2"]),
        (AllowQuery(()), "/a?utm=1", ["/a?utm=1", "/a"]),
        (DropQuery(), "/a", ["/a"]),
        (SortQuery(), "/a?", ["/a?", "/a"]),
    ],
)
def test_a_url_covers_what_the_sites_query_policy_stores_for_it(
    policy: QueryPolicy, url: str, covered: list[str]
) -> None:
    scopes = scopes_of(PurgeRequest(urls=(url,), prefixes=("/p",), tags=("t?x",)), is_own, policy)
    assert scopes == (
        *(Scope(ScopeKind.URL, value) for value in covered),
        Scope(ScopeKind.PREFIX, "/p"),
        Scope(ScopeKind.TAG, "t?x"),
    )


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
