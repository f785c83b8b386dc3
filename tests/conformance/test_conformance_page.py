"""What `make conformance` calls a disagreement between docs/conformance.md and a run."""

from __future__ import annotations

import json

import pytest

from tests.conformance.page import Page, disagreements, read_page
from tests.conformance.verdict import Group, Kind, Score, Verdict, read_verdicts, scores

PAGE = """\
# Conformance

| group | kind | passed | of |
|---|---|---|---|
| shared-cache | required | 1 | 2 |

## Failing tests

| id | says | we follow |
|---|---|---|
| `bent` | x | RFC 9111 5.1 |

## Standards

| `other` | not an id |
"""
VERDICTS = (
    Verdict("straight", Group.SHARED_CACHE, Kind.REQUIRED, True, ""),
    Verdict("bent", Group.SHARED_CACHE, Kind.REQUIRED, False, "seen"),
)


def test_a_page_that_says_what_was_seen_agrees() -> None:
    assert disagreements(read_page(PAGE), VERDICTS) == ()


def test_a_failure_must_be_explained() -> None:
    page = read_page(PAGE.replace("`bent`", "`another`"))
    assert disagreements(page, VERDICTS) == (
        "bent fails, and docs/conformance.md does not say why",
        "docs/conformance.md explains another, which does not fail",
    )


def test_what_passes_by_now_may_not_stay_on_the_page() -> None:
    passing = (VERDICTS[0], Verdict("bent", Group.SHARED_CACHE, Kind.REQUIRED, True, ""))
    page = Page(frozenset({"bent"}), frozenset({("shared-cache", "required", 2, 2)}))
    assert disagreements(page, passing) == ("docs/conformance.md explains bent, which does not fail",)


def test_the_score_table_shows_what_was_measured() -> None:
    page = read_page(PAGE.replace("| 1 | 2 |", "| 2 | 2 |"))
    assert disagreements(page, VERDICTS) == (
        "docs/conformance.md lacks the score shared-cache required 1 of 2",
        "docs/conformance.md shows shared-cache required 2 of 2: not so",
    )


def test_checks_describe_and_need_no_explanation() -> None:
    check = Verdict("seen", Group.SHARED_CACHE, Kind.CHECK, False, "no")
    page = Page(frozenset(), frozenset({("shared-cache", "check", 0, 1)}))
    assert disagreements(page, (check,)) == ()


def test_a_page_without_the_section_is_refused() -> None:
    with pytest.raises(ValueError, match="no section"):
        read_page("# Conformance\n")


def test_scores_count_group_and_kind_apart() -> None:
    other = Verdict("target", Group.SURROGATE_CONTROL, Kind.OPTIMAL, True, "")
    assert scores((*VERDICTS, other)) == (
        Score(Group.SHARED_CACHE, Kind.REQUIRED, 1, 2),
        Score(Group.SURROGATE_CONTROL, Kind.OPTIMAL, 1, 1),
    )


def test_verdicts_are_read_as_the_client_prints_them() -> None:
    one = {"id": "bent", "group": "shared-cache", "kind": "required", "passed": False, "message": "seen"}
    assert read_verdicts(json.dumps([one])) == (VERDICTS[1],)
