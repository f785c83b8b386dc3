"""Updating stored responses with a newer head: after a 304 and after HEAD (RFC 9111 sections 3.2, 4.3.4, 4.3.5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Final

from cdn.http.connection_fields import without_connection_fields
from cdn.http.date import parse_date
from cdn.http.entity_tag import parse_entity_tag, strongly_equal, weakly_equal
from cdn.http.fields import Fields
from cdn.http.response_head import ResponseHead

DESCRIBES_CONTENT = frozenset(
    {"content-digest", "content-encoding", "content-length", "content-md5", "content-range", "digest", "repr-digest"}
)
"""Fields that describe the stored octets. A message without content cannot make them true of what is stored."""

_CENTURY_S: Final = 1_767_225_600.0
"""Resolves the years of two digits in dates of the obsolete form; dates are only compared with each other here."""


class HeadEffect(Enum):
    """What the answer to HEAD says about a stored response to GET."""

    NOTHING = "nothing"
    UPDATES = "updates"
    INVALIDATES = "invalidates"  # it is to be taken for stale


class _Likeness(Enum):
    NONE = 0
    WEAK = 1
    STRONG = 2


def updated_head(stored: ResponseHead, newer: ResponseHead) -> ResponseHead:
    """`stored` with every field that `newer` carries, replacing all lines of that name (section 3.2).

    Fields that describe the stored content stay as they are, so does its entity tag, and connection-specific fields
    are never taken over. An Age that `newer` does not confirm goes: it counted from the earlier reception.
    """
    kept_names = DESCRIBES_CONTENT | {"etag"} if "etag" in stored.fields else DESCRIBES_CONTENT
    added = tuple(line for line in without_connection_fields(newer.fields.lines) if line[0] not in kept_names)
    replaced = {name for name, _ in added} | {"age"}
    kept = tuple(line for line in without_connection_fields(stored.fields.lines) if line[0] not in replaced)
    return ResponseHead(stored.status, Fields(kept + added))


def selected_for_update(
    stored: Sequence[ResponseHead], newer: ResponseHead, is_sole_validated: bool
) -> tuple[int, ...]:
    """Which of `stored`, by index, a 304 updates (section 4.3.4). `stored` could all have answered the request.

    `is_sole_validated`: the 304 answers a request whose condition named the validators of `stored[0]` alone, and there
    is nothing else in `stored`. Then a 304 without validators means it, and one whose strong entity tag equals a weak
    one by weak comparison (the comparison that If-None-Match asks for) does too.

    - Strong validators: all that have the same one. None has: the 304 updates nothing, it is about something else.
    - Weak ones: the most recent of those that have the same one.
    - None: the only response, when it has no validator either.
    """
    if not _has_validator(newer):
        is_meant = len(stored) == 1 and (is_sole_validated or not _has_validator(stored[0]))
        return (0,) if is_meant else ()
    likenesses = [_likeness(head, newer) for head in stored]
    strong = tuple(index for index, likeness in enumerate(likenesses) if likeness is _Likeness.STRONG)
    if strong:
        return strong
    weak = tuple(index for index, likeness in enumerate(likenesses) if likeness is _Likeness.WEAK)
    if not weak or (_has_strong_tag(newer) and not is_sole_validated):
        return ()
    return (weak[most_recent([stored[index] for index in weak])],)


def effect_of_head(stored: ResponseHead, size_bytes: int, newer: ResponseHead) -> HeadEffect:
    """What `newer`, the answer to a HEAD request, does to `stored` (section 4.3.5).

    `size_bytes` is the length of the whole representation, also when only a part of it is stored.
    """
    if newer.status != 200:
        return HeadEffect.NOTHING
    if stored.status not in {200, 206}:  # it is there by now
        return HeadEffect.INVALIDATES
    length = newer.fields.get("content-length")
    if length is not None and length != str(size_bytes):
        return HeadEffect.INVALIDATES
    for name in ("etag", "last-modified"):
        validator = newer.fields.get(name)
        if validator is not None and validator != stored.fields.get(name):
            return HeadEffect.INVALIDATES
    return HeadEffect.UPDATES


def most_recent(heads: Sequence[ResponseHead]) -> int:
    """The index of the head with the latest Date, the last of equals (section 4.1); one without valid Date is oldest.

    Raises ValueError when `heads` is empty.
    """
    return max(range(len(heads)), key=lambda index: (_date(heads[index]), index))


def _has_validator(head: ResponseHead) -> bool:
    return "etag" in head.fields or "last-modified" in head.fields


def _has_strong_tag(head: ResponseHead) -> bool:
    tag = parse_entity_tag(head.fields.get("etag") or "")
    return tag is not None and not tag.is_weak


def _date(head: ResponseHead) -> float:
    date = parse_date(head.fields.get("date") or "", _CENTURY_S)
    return -math.inf if date is None else date


def _likeness(stored: ResponseHead, newer: ResponseHead) -> _Likeness:
    """Entity tags decide where both have one: a server that only looked at the date may send another tag."""
    ours, theirs = stored.fields.get("etag"), newer.fields.get("etag")
    if ours is not None and theirs is not None:
        return _tag_likeness(ours, theirs)
    modified = newer.fields.get("last-modified")
    if modified is None or modified != stored.fields.get("last-modified"):
        return _Likeness.NONE
    return _Likeness.STRONG if _is_strong_date(modified, stored) else _Likeness.WEAK


def _is_strong_date(modified: str, stored: ResponseHead) -> bool:
    """Section 8.8.2.2 of RFC 9110: the origin sent it at least one second after that moment."""
    moment = parse_date(modified, _CENTURY_S)
    return moment is not None and moment + 1 <= _date(stored)


def _tag_likeness(ours: str, theirs: str) -> _Likeness:
    """Malformed tags (without quotes, often) are opaque too: only the same text is the same tag."""
    one, other = parse_entity_tag(ours), parse_entity_tag(theirs)
    if one is None or other is None:
        return _Likeness.STRONG if ours == theirs else _Likeness.NONE
    if strongly_equal(one, other):
        return _Likeness.STRONG
    return _Likeness.WEAK if weakly_equal(one, other) else _Likeness.NONE
