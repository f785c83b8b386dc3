"""Cache directives: what a client asks, and what an upstream tells this cache (RFC 9111 section 5.2, RFC 9213).

Whatever is malformed is read in the way that reuses less: a lifetime that is no number is 0, a list of fields that is
no list means the whole response. Parsing takes linear time and raises nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from cdn.http.delta_seconds import delta_seconds
from cdn.http.fields import Fields
from cdn.http.structured_field import Item, Member, Token, parse_dictionary

MAX_TARGETED_LENGTH = 8 * 1024
"""Characters of a targeted field that are read; a longer one counts as malformed. All known directives take 300."""

SURROGATE_DEVICE = "cdn"
"""The name by which a Surrogate-Control directive is aimed at this cache; SURROGATE_CAPABILITY tells it upstream."""

SURROGATE_CAPABILITY = f'{SURROGATE_DEVICE}="Surrogate/1.0"'
"""The Surrogate-Capability field of what this cache sends upstream (W3C Edge Architecture Specification)."""

MAX_REMEMBERED = 1024
"""Values of Cache-Control, of each direction, whose meaning is remembered: there are few, and each use reads one."""

MAX_REMEMBERED_LENGTH = 256
"""Longest of these, in characters: what is remembered stays below 1 MB, whoever sends it."""

MAX_ASKED_LENGTH = 1024
"""Characters that are read of what a request asks: 32 KiB take 11 ms, and HTTP/2 says them again in 20 octets."""

_QUOTED_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*+(?:(")|\\?\Z)|,', re.DOTALL)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_EXTENDED = re.compile(r"([0-9]+)\+([0-9]+)")

_TARGETED_BEFORE = frozenset({"surrogate-control", "edge-control"})
"""What did the work of targeted fields before there were any."""

_SURROGATE_DIRECTIVES = frozenset(
    {"max-age", "no-store", "no-store-remote", "no-cache", "private", "stale-while-revalidate", "stale-if-error"}
)


@dataclass(frozen=True, slots=True)
class RequestDirectives:
    """What a client asks of caches (section 5.2.1). Times are None when absent or malformed."""

    no_cache: bool = False
    no_store: bool = False
    no_transform: bool = False
    only_if_cached: bool = False
    max_age_s: int | None = None
    max_stale_s: float | None = None  # infinite when it came without a time
    min_fresh_s: int | None = None
    stale_if_error_s: int | None = None


NO_DIRECTIVES = RequestDirectives()


@dataclass(frozen=True, slots=True)
class ResponseDirectives:
    """What an upstream tells this cache (section 5.2.2). Field names are lower-case. Times are None when absent.

    `is_targeted`: they were meant for caches like this one, so neither Cache-Control nor Expires counts (RFC 9213).
    """

    no_store: bool = False
    no_cache: bool = False
    no_cache_fields: frozenset[str] = frozenset()
    private: bool = False
    private_fields: frozenset[str] = frozenset()
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    no_transform: bool = False
    immutable: bool = False
    max_age_s: int | None = None
    s_maxage_s: int | None = None
    stale_while_revalidate_s: int | None = None
    stale_if_error_s: int | None = None
    is_targeted: bool = False


_Arguments = Mapping[str, Iterable[str | None]]
"""Each directive's arguments in order: None where there is none, "" where it is empty or malformed."""


def request_directives(fields: Fields) -> RequestDirectives:
    """What the fields of a request ask. Of a repeated directive the first counts.

    Pragma: no-cache counts only in a request without Cache-Control (section 5.4). What stands beyond
    MAX_ASKED_LENGTH counts for nothing.
    """
    text = fields.get("cache-control")
    if text is None:
        pragma = fields.get("pragma")
        is_no_cache = pragma is not None and "no-cache" in _arguments(pragma[:MAX_ASKED_LENGTH])
        return RequestDirectives(no_cache=True) if is_no_cache else NO_DIRECTIVES
    return _remembered_request(text) if len(text) <= MAX_REMEMBERED_LENGTH else _asked(text[:MAX_ASKED_LENGTH])


def _asked(text: str) -> RequestDirectives:
    found = _arguments(text)
    max_stale = next(iter(found.get("max-stale", ())), "")
    return RequestDirectives(
        no_cache="no-cache" in found,
        no_store="no-store" in found,
        no_transform="no-transform" in found,
        only_if_cached="only-if-cached" in found,
        max_age_s=_first_delta_s(found, "max-age"),
        max_stale_s=math.inf if max_stale is None else delta_seconds(max_stale),
        min_fresh_s=_first_delta_s(found, "min-fresh"),
        stale_if_error_s=_first_delta_s(found, "stale-if-error"),
    )


def is_targeted(field_name: str) -> bool:
    """Whether the field, named in lower case, tells some shared caches more than Cache-Control tells all of them: by
    convention the names of such fields end alike (RFC 9213 section 3)."""
    return field_name.endswith("-cache-control") or field_name in _TARGETED_BEFORE


def shared_directives(fields: Fields, target_names: tuple[str, ...] = ("cdn-cache-control",)) -> ResponseDirectives:
    """What this cache obeys of a response's fields.

    That is the first of the fields `target_names` (lower-case) that is a valid dictionary and not empty (RFC 9213
    section 2.2), else Surrogate-Control when it has a directive for this cache, else Cache-Control. The others then
    count for nothing. Of a directive that is repeated, the first counts (RFC 9111 section 4.2.1), but in a dictionary
    the last (RFC 9651 section 3.2).
    """
    for name in target_names:
        text = fields.get(name)
        members = None if text is None or len(text) > MAX_TARGETED_LENGTH else parse_dictionary(text)
        if members:
            return _response_directives(_targeted_arguments(members), is_targeted=True)
    surrogate = fields.get("surrogate-control")
    if surrogate is not None:
        found = _surrogate_arguments(surrogate)
        if found:
            return _response_directives(found, is_targeted=True)
    text = fields.get("cache-control") or ""
    return _remembered_response(text) if len(text) <= MAX_REMEMBERED_LENGTH else _told(text)


def _told(text: str) -> ResponseDirectives:
    return _response_directives(_arguments(text), is_targeted=False)


_remembered_request = lru_cache(MAX_REMEMBERED)(_asked)
_remembered_response = lru_cache(MAX_REMEMBERED)(_told)


def _response_directives(found: _Arguments, *, is_targeted: bool) -> ResponseDirectives:
    no_cache, no_cache_fields = _whole_or_fields(found.get("no-cache", ()))
    private, private_fields = _whole_or_fields(found.get("private", ()))
    return ResponseDirectives(
        no_store="no-store" in found,
        no_cache=no_cache,
        no_cache_fields=no_cache_fields,
        private=private,
        private_fields=private_fields,
        public=None in found.get("public", ()),
        must_revalidate="must-revalidate" in found,
        proxy_revalidate="proxy-revalidate" in found,
        must_understand="must-understand" in found,
        no_transform="no-transform" in found,
        immutable=None in found.get("immutable", ()),
        max_age_s=_first_lifetime_s(found, "max-age"),
        s_maxage_s=_first_lifetime_s(found, "s-maxage"),
        stale_while_revalidate_s=_first_lifetime_s(found, "stale-while-revalidate"),
        stale_if_error_s=_first_lifetime_s(found, "stale-if-error"),
        is_targeted=is_targeted,
    )


# Arguments


def _first_delta_s(found: _Arguments, name: str) -> int | None:
    return next((delta_seconds(argument or "") for argument in found.get(name, ())), None)


def _first_lifetime_s(found: _Arguments, name: str) -> int | None:
    """A response whose lifetime cannot be read is stale (section 4.2.1)."""
    return next((delta_seconds(argument or "") or 0 for argument in found.get(name, ())), None)


def _whole_or_fields(arguments: Iterable[str | None]) -> tuple[bool, frozenset[str]]:
    """Whether a directive is about the whole response, and the fields that it is about otherwise."""
    is_whole = False
    fields: set[str] = set()
    for argument in arguments:
        names = _listed(argument or "")
        if names and all(_TOKEN.fullmatch(name) for name in names):
            fields.update(name.lower() for name in names)
        else:
            is_whole = True
    return is_whole, frozenset(fields)


def _listed(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip(" \t"))]


# Cache-Control


def _arguments(text: str) -> _Arguments:
    found: dict[str, list[str | None]] = {}
    for member in _members(text):
        name, argument = _directive(member)
        found.setdefault(name, []).append(argument)
    return found


def _members(text: str) -> Iterator[str]:
    """What stands between the commas that are outside quotes."""
    start = 0
    for match in _QUOTED_OR_COMMA.finditer(text):
        if match[0] == ",":
            yield text[start : match.start()]
            start = match.end()
        elif match[1] is None:
            # A quote that never ends hides nothing: a "no-store" after it counts.
            yield from text[start:].split(",")
            return
    yield text[start:]


def _directive(member: str) -> tuple[str, str | None]:
    """A lower-case name and its argument. Whatever else than "=" follows the name is a malformed argument."""
    text = member.strip(" \t")
    name = _TOKEN.match(text)
    if name is None:
        return "", None
    rest = text[name.end() :]
    if not rest:
        return name[0].lower(), None
    return name[0].lower(), _unquoted(rest[1:]) if rest[0] == "=" else ""


def _unquoted(argument: str) -> str:
    """The text of a token or quoted string; empty for anything else."""
    if _TOKEN.fullmatch(argument):
        return argument
    if len(argument) < 2 or argument[0] != '"' or argument[-1] != '"':
        return ""
    return _ESCAPED.sub(r"\1", argument[1:-1])


# Targeted fields


def _targeted_arguments(members: Mapping[str, Member]) -> _Arguments:
    """Directives of a dictionary (RFC 9213 section 2.1). One that is false is absent; parameters mean nothing.

    Where Cache-Control has a token, a number here is an integer: a time in quotes is none.
    """
    found: dict[str, tuple[str | None]] = {}
    for name, member in members.items():
        value = member.value if isinstance(member, Item) else None
        match value:
            case False:
                continue
            case True:
                found[name] = (None,)
            case int():
                found[name] = (str(value),)
            case Token(text=text):
                found[name] = (text,)
            case str() if delta_seconds(value) is None:
                found[name] = (value,)
            case _:
                found[name] = ("",)
    return found


def _surrogate_arguments(text: str) -> _Arguments:
    """Directives of Surrogate-Control that this cache knows and that are aimed at every cache or at this one.

    Those aimed at this one take precedence. "max-age=N+M" allows a response to be served for M more seconds while it
    is validated. This cache is remote from its upstreams, so "no-store-remote" means it.
    """
    general: dict[str, list[str | None]] = {}
    for_this: dict[str, list[str | None]] = {}
    for member in _members(text):
        directive, semicolon, device = member.partition(";")
        name, argument = _directive(directive.rstrip(" \t"))
        if name not in _SURROGATE_DIRECTIVES or (semicolon and device.strip(" \t") != SURROGATE_DEVICE):
            continue
        found = for_this if semicolon else general
        extended = _EXTENDED.fullmatch(argument or "")
        if name == "max-age" and extended is not None:
            argument = extended[1]
            found.setdefault("stale-while-revalidate", []).append(extended[2])
        found.setdefault("no-store" if name == "no-store-remote" else name, []).append(argument)
    return general | for_this
