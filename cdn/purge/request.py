"""The content of a purge in the native API, and the scopes it names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from cdn.errors import InvalidInput, TooLarge
from cdn.purge.scope import EVERYTHING, Scope, scope_from_prefix, scope_from_tag, scope_from_url

MAX_SCOPES_PER_PURGE = 1000
"""Scopes one purge may name: its record is applied in one step on every node."""


class PurgeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to purge. `soft` makes stale instead of unusable."""

    urls: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    everything: bool = False
    soft: bool = False


def scopes_of(request: PurgeRequest, hosts: Callable[[str], bool]) -> tuple[Scope, ...]:
    """The scopes that a purge names, each once. `hosts` says which host names in URLs belong to the site.

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
            scopes[parse(text)] = None
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


def _parts(request: PurgeRequest, hosts: Callable[[str], bool]) -> Iterator[tuple[str, Callable[[str], Scope], str]]:
    for index, text in enumerate(request.urls):
        yield f"urls[{index}]", lambda url: scope_from_url(url, hosts), text
    for index, text in enumerate(request.prefixes):
        yield f"prefixes[{index}]", lambda prefix: scope_from_prefix(prefix, hosts), text
    for index, text in enumerate(request.tags):
        yield f"tags[{index}]", scope_from_tag, text
