"""What a purge covers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from cdn.errors import InvalidInput
from cdn.http.tag import MAX_TAG_BYTES
from cdn.http.target import AbsoluteTarget, Target, TargetFault, parse_host, parse_target
from cdn.journal.record import PurgeScope, UnknownRecord

MAX_SCOPE_BYTES = 8192
"""Longest URL or prefix, in octets: longer request lines are refused, so nothing longer is ever stored."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ScopeKind(Enum):
    """The kinds, narrowest first."""

    URL = "url"
    PREFIX = "prefix"
    TAG = "tag"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Scope:
    """A set of one site's responses.

    `value` is for URL the normalised path, with "?" and the query if there is one; for PREFIX the first characters of a
    normalised path; for TAG the tag; for EVERYTHING "".
    """

    kind: ScopeKind
    value: str

    def to_record(self) -> PurgeScope:
        """As it stands in the journal."""
        return PurgeScope(self.kind.value, self.value)


EVERYTHING = Scope(ScopeKind.EVERYTHING, "")


def scope_from_record(recorded: PurgeScope) -> Scope:
    """The scope a record names. Raises UnknownRecord for a kind that this program does not know."""
    try:
        return Scope(ScopeKind(recorded.kind), recorded.value)
    except ValueError as exc:
        raise UnknownRecord(
            f"a purge names a scope of kind {recorded.kind!r}, which this program does not know: upgrade this node"
        ) from exc


def scope_from_url(text: str, hosts: Callable[[str], bool]) -> Scope:
    """One URL: a full one, whose host must satisfy `hosts`, or a path with an optional query.

    Raises InvalidInput naming the text and what is wrong with it.
    """
    target = _target_of("URL", text, hosts)
    value = target.path if target.query is None else f"{target.path}?{target.query}"
    return Scope(ScopeKind.URL, value)


def scope_from_prefix(text: str, hosts: Callable[[str], bool]) -> Scope:
    """All paths that start with these characters; a "*" at the end is allowed and means nothing more.

    Raises InvalidInput naming the text and what is wrong with it.
    """
    target = _target_of("prefix", text.removesuffix("*"), hosts)
    if target.query is not None:
        raise InvalidInput(f"The prefix {_shown(text)} has a query. Give the path only, or purge the whole URL.")
    return Scope(ScopeKind.PREFIX, target.path)


def scope_from_tag(text: str) -> Scope:
    """All responses that carry this cache tag. Raises InvalidInput naming the text and what is wrong with it."""
    tag = text.strip(" \t")
    if not tag:
        raise InvalidInput("A tag is empty.")
    if "," in tag or _CONTROL.search(tag):
        raise InvalidInput(
            f"The tag {_shown(tag)} contains a comma or a control character, which no tag can. Give each tag by itself."
        )
    if _octets("tag", tag) > MAX_TAG_BYTES:
        raise InvalidInput(f"The tag {_shown(tag)} is longer than {MAX_TAG_BYTES} octets, which no tag can be.")
    return Scope(ScopeKind.TAG, tag)


def _target_of(noun: str, text: str, hosts: Callable[[str], bool]) -> Target:
    if _octets(noun, text) > MAX_SCOPE_BYTES:
        raise InvalidInput(f"The {noun} {_shown(text)} is longer than {MAX_SCOPE_BYTES} octets.")
    parsed = parse_target(text.encode("utf-8"))
    match parsed:
        case Target():
            return parsed
        case AbsoluteTarget():
            host = parse_host(parsed.host)
            if host is None or not hosts(host.name):
                raise InvalidInput(
                    f"The {noun} {_shown(text)} has the host {_shown(parsed.host)}, which is not one of this site's. "
                    "Use the site's own host, one of its domains, or only the path."
                )
            return parsed.target
        case TargetFault.EMPTY | TargetFault.UNKNOWN_FORM | TargetFault.ASTERISK:
            raise InvalidInput(
                f'The {noun} {_shown(text)} is neither a path that starts with "/" nor an http or https URL.'
            )
        case TargetFault():
            raise InvalidInput(f"The {noun} {_shown(text)} is no address that can be requested. {parsed.value}")
        case _:
            assert_never(parsed)


def _octets(noun: str, text: str) -> int:
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise InvalidInput(f"A {noun} contains a lone surrogate, which is not Unicode text.") from exc


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")
