"""The content of a purge in the native API, and the scopes it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from cdn.errors import InvalidInput, TooLarge
from cdn.purge.scope import EVERYTHING, Scope, ScopeKind, scope_from_prefix, scope_from_tag, scope_from_url
from cdn.sites.query_policy import QueryPolicy, apply_query_policy
from cdn.sites.query_setting import KEEP_QUERY

MAX_SCOPES_PER_PURGE = 1000
"""Scopes one purge may name: its record is applied in one step on every node."""


class PurgeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to purge. `soft` makes stale instead of unusable."""

    urls: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    everything: bool = False
    soft: bool = False


def scopes_of(
    request: PurgeRequest, hosts: Callable[[str], bool], query: QueryPolicy = KEEP_QUERY
) -> tuple[Scope, ...]:
    """The scopes that a purge names, each once. `hosts` says which host names in URLs belong to the site.

    `query` is the site's policy: a URL covers both what it says and what is stored for it under that policy. The first
    stays, as it is what an earlier policy stored.
    Raises InvalidInput with every fault in `details` and the first faulty field in `field`, TooLarge beyond
    MAX_SCOPES_PER_PURGE. Asking for everything covers the rest, which still has to be valid.
    """
    count = len(request.urls) + len(request.prefixes) + len(request.tags)
    if count > MAX_SCOPES_PER_PURGE:
        raise TooLarge(
            f"A purge names at most {MAX_SCOPES_PER_PURGE} URLs, prefixes and tags together, this one {count}. "
            "Send several, or purge a prefix, a tag or everything."
        )
    scopes: dict[Scope, None] = {}
    faults: list[tuple[str, str]] = []
    for field, parse, text in _parts(request, hosts):
        try:
            scope = parse(text)
            scopes[scope] = None
            scopes[_stored_as(scope, query)] = None
        except InvalidInput as fault:
            faults.append((field, fault.message))
    if faults:
        first_field, first_message = faults[0]
        raise InvalidInput(
            first_message, field=first_field, details=tuple(f"{field}: {said}" for field, said in faults)
        )
    if request.everything:
        return (EVERYTHING,)
    if not scopes:
        raise InvalidInput("A purge names nothing. Give urls, prefixes or tags, or set everything to true.")
    return tuple(scopes)


def _stored_as(scope: Scope, policy: QueryPolicy) -> Scope:
    if scope.kind is not ScopeKind.URL:
        return scope
    path, mark, given = scope.value.partition("?")
    kept = apply_query_policy(policy, given if mark else None)
    return Scope(ScopeKind.URL, path if kept is None else f"{path}?{kept}")


def _parts(request: PurgeRequest, hosts: Callable[[str], bool]) -> Iterator[tuple[str, Callable[[str], Scope], str]]:
    for index, text in enumerate(request.urls):
        yield f"urls[{index}]", lambda url: scope_from_url(url, hosts), text
    for index, text in enumerate(request.prefixes):
        yield f"prefixes[{index}]", lambda prefix: scope_from_prefix(prefix, hosts), text
    for index, text in enumerate(request.tags):
        yield f"tags[{index}]", scope_from_tag, text
