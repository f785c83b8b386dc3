from __future__ import annotations

import sys
from types import FrameType

import pytest

from cdn.http.date import format_date
from cdn.http.entity_tag import EntityTag
from cdn.http.fields import Fields
from cdn.http.precondition import Precondition, evaluate, range_applies

MODIFIED = 1_600_000_000.25
NOW = 1_700_000_000.0
TAG = EntityTag("a")
SAME, BEFORE, AFTER = format_date(MODIFIED), format_date(MODIFIED - 1), format_date(MODIFIED + 1)

PROCEED, NOT_MODIFIED, FAILED = Precondition.PROCEED, Precondition.NOT_MODIFIED, Precondition.FAILED


def outcome(
    method: str, *lines: tuple[str, str], tag: EntityTag | None = TAG, modified: float | None = MODIFIED
) -> Precondition:
    return evaluate(method, Fields(lines), tag, modified, NOW)


def test_without_preconditions() -> None:
    assert outcome("GET") is PROCEED
    assert outcome("DELETE") is PROCEED


@pytest.mark.parametrize(
    ("value", "tag", "expected"),
    [
        ('"a"', TAG, PROCEED),
        ('"b", "a"', TAG, PROCEED),
        ("*", TAG, PROCEED),
        ("*", None, PROCEED),
        ('"b"', TAG, FAILED),
        ('W/"a"', TAG, FAILED),
        ('"a"', EntityTag("a", is_weak=True), FAILED),
        ('"a"', None, FAILED),
        ("a", TAG, FAILED),
        ("", TAG, FAILED),
    ],
)
def test_if_match_compares_strongly(value: str, tag: EntityTag | None, expected: Precondition) -> None:
    assert outcome("GET", ("if-match", value), tag=tag) is expected


@pytest.mark.parametrize(
    ("value", "modified", "expected"),
    [
        (SAME, MODIFIED, PROCEED),
        (AFTER, MODIFIED, PROCEED),
        (BEFORE, MODIFIED, FAILED),
        (BEFORE, None, PROCEED),
        ("yesterday", MODIFIED, PROCEED),
    ],
)
def test_if_unmodified_since(value: str, modified: float | None, expected: Precondition) -> None:
    assert outcome("GET", ("if-unmodified-since", value), modified=modified) is expected


def test_if_match_outranks_if_unmodified_since() -> None:
    assert outcome("GET", ("if-match", '"a"'), ("if-unmodified-since", BEFORE)) is PROCEED
    assert outcome("GET", ("if-match", '"b"'), ("if-unmodified-since", AFTER)) is FAILED


@pytest.mark.parametrize(
    ("value", "tag", "expected"),
    [
        ('"a"', TAG, NOT_MODIFIED),
        ('W/"a"', TAG, NOT_MODIFIED),
        ('"b", W/"a"', TAG, NOT_MODIFIED),
        ("*", TAG, NOT_MODIFIED),
        ("*", None, NOT_MODIFIED),
        ('"b"', TAG, PROCEED),
        ('"a"', None, PROCEED),
        ("a", TAG, PROCEED),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match_compares_weakly(method: str, value: str, tag: EntityTag | None, expected: Precondition) -> None:
    assert outcome(method, ("if-none-match", value), tag=tag) is expected


def test_if_none_match_fails_other_methods() -> None:
    assert outcome("PUT", ("if-none-match", "*")) is FAILED
    assert outcome("PUT", ("if-none-match", '"b"')) is PROCEED


@pytest.mark.parametrize(
    ("method", "value", "modified", "expected"),
    [
        ("GET", SAME, MODIFIED, NOT_MODIFIED),
        ("HEAD", AFTER, MODIFIED, NOT_MODIFIED),
        ("GET", BEFORE, MODIFIED, PROCEED),
        ("PUT", SAME, MODIFIED, PROCEED),
        ("GET", SAME, None, PROCEED),
        ("GET", "yesterday", MODIFIED, PROCEED),
        ("GET", f"{SAME}, {SAME}", MODIFIED, PROCEED),
    ],
)
def test_if_modified_since(method: str, value: str, modified: float | None, expected: Precondition) -> None:
    assert outcome(method, ("if-modified-since", value), modified=modified) is expected


def test_if_none_match_outranks_if_modified_since() -> None:
    assert outcome("GET", ("if-none-match", '"b"'), ("if-modified-since", AFTER)) is PROCEED
    assert outcome("GET", ("if-none-match", "malformed"), ("if-modified-since", AFTER)) is PROCEED
    assert outcome("GET", ("if-none-match", '"a"'), ("if-modified-since", BEFORE)) is NOT_MODIFIED


def test_if_match_comes_before_if_none_match() -> None:
    assert outcome("GET", ("if-match", '"b"'), ("if-none-match", '"a"')) is FAILED
    assert outcome("GET", ("if-match", '"a"'), ("if-none-match", '"a"')) is NOT_MODIFIED


@pytest.mark.parametrize(
    ("value", "tag", "modified", "expected"),
    [
        (None, None, None, True),
        ('"a"', TAG, None, True),
        ('"b"', TAG, None, False),
        ('W/"a"', TAG, None, False),
        ('"a"', EntityTag("a", is_weak=True), None, False),
        ('"a"', None, MODIFIED, False),
        (SAME, TAG, MODIFIED, True),
        (BEFORE, TAG, MODIFIED, False),
        (AFTER, TAG, MODIFIED, False),
        (SAME, TAG, None, False),
        (format_date(NOW), TAG, NOW, False),
        ("a", TAG, MODIFIED, False),
        ('"a", "a"', TAG, MODIFIED, False),
    ],
)
def test_if_range(value: str | None, tag: EntityTag | None, modified: float | None, expected: bool) -> None:
    fields = Fields() if value is None else Fields((("if-range", value),))
    assert range_applies(fields, tag, modified, NOW) is expected


@pytest.mark.parametrize(("value", "expected"), [(BEFORE, PROCEED), (SAME, NOT_MODIFIED), (AFTER, NOT_MODIFIED)])
def test_a_cache_compares_with_date_when_there_is_no_last_modified(value: str, expected: Precondition) -> None:
    """RFC 9111 section 4.3.2: If-Modified-Since only, and only where Last-Modified is absent."""
    asked = Fields((("if-modified-since", value),))
    assert evaluate("GET", asked, None, None, NOW, dated=MODIFIED) is expected
    assert evaluate("GET", asked, None, MODIFIED + 10, NOW, dated=MODIFIED) is PROCEED
    refused = Fields((("if-unmodified-since", BEFORE),))
    assert evaluate("GET", refused, None, None, NOW, dated=MODIFIED) is PROCEED


@pytest.mark.parametrize("name", ["if-match", "if-none-match"])
@pytest.mark.parametrize("last", ["", ', "a"', ', W/"a"', ", a"])
def test_thousands_of_tags_cost_no_more_calls_than_one(name: str, last: str) -> None:
    def calls_of(field: str) -> int:
        calls = 0

        def count(_frame: FrameType, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            outcome("GET", (name, field + last))
        finally:
            sys.setprofile(None)
        return calls

    assert calls_of('"b"' + ', "b"' * 6000) <= calls_of('"b"') + 5
