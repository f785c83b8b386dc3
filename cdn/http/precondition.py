"""Preconditions of a request, in their order of precedence (RFC 9110 section 13)."""

from __future__ import annotations

from enum import Enum

from cdn.http.date import parse_date
from cdn.http.entity_tag import EntityTag, lists, parse_entity_tag, strongly_equal
from cdn.http.fields import Fields


class Precondition(Enum):
    """How the preconditions of a request came out."""

    PROCEED = "proceed"  # perform the method
    NOT_MODIFIED = "not-modified"  # answer 304
    FAILED = "failed"  # answer 412


def evaluate(
    method: str,
    fields: Fields,
    entity_tag: EntityTag | None,
    last_modified: float | None,
    now: float,
    *,
    dated: float | None = None,
) -> Precondition:
    """Evaluate the preconditions against the selected representation, which exists (section 13.2.2).

    `last_modified` and `now` are seconds since 1970. `dated` is the Date of a stored response: without Last-Modified a
    cache compares If-Modified-Since with it (RFC 9111 section 4.3.2), and nothing else. If-Range is asked by
    `range_applies`, after this said PROCEED.
    """
    named = fields.get("if-match")
    if named is not None:
        if not lists(named, entity_tag, is_strong=True):
            return Precondition.FAILED
    elif _is_modified_since(fields, "if-unmodified-since", last_modified, now) is True:
        return Precondition.FAILED
    is_read = method in {"GET", "HEAD"}
    modified = dated if last_modified is None else last_modified
    known = fields.get("if-none-match")
    if known is not None:
        if lists(known, entity_tag, is_strong=False):
            return Precondition.NOT_MODIFIED if is_read else Precondition.FAILED
    elif is_read and _is_modified_since(fields, "if-modified-since", modified, now) is False:
        return Precondition.NOT_MODIFIED
    return Precondition.PROCEED


def range_applies(fields: Fields, entity_tag: EntityTag | None, last_modified: float | None, now: float) -> bool:
    """Whether If-Range lets the Range field count (section 13.1.5): it is absent, or its validator is the present one.

    Only strong comparison counts; a date is strong when it was more than a second ago (section 8.8.2.2).
    """
    validator = fields.get("if-range")
    if validator is None:
        return True
    asked = parse_entity_tag(validator)
    if asked is not None:
        return entity_tag is not None and strongly_equal(asked, entity_tag)
    date = parse_date(validator, now)
    return date is not None and last_modified is not None and date == last_modified // 1 and date + 1 < now


def _is_modified_since(fields: Fields, name: str, last_modified: float | None, now: float) -> bool | None:
    """None when the field does not count: absent, no valid date, or nothing to compare it with."""
    text = fields.get(name)
    if text is None or last_modified is None:
        return None
    date = parse_date(text, now)
    return None if date is None else last_modified // 1 > date
