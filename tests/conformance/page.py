"""docs/conformance.md against a run: every failure is explained there, and nothing there passes by now."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tests.conformance.verdict import Score, Verdict, scores

FAILURES_HEADING = "## Failing tests"
_ID = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
_SCORE = re.compile(r"^\| ([\w-]+) \| (\w+) \| (\d+) \| (\d+) \|", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Page:
    """The ids that the page explains, and (group, kind, passed, of) of each row of its score table."""

    explained: frozenset[str]
    score_rows: frozenset[tuple[str, str, int, int]]


def read_page(text: str) -> Page:
    """Read the page's two tables. Raises ValueError when it has no section for the failing tests."""
    head, heading, rest = text.partition(FAILURES_HEADING)
    if not heading:
        raise ValueError(f"docs/conformance.md has no section {FAILURES_HEADING!r}")
    rows = frozenset((group, kind, int(passed), int(of)) for group, kind, passed, of in _SCORE.findall(head))
    return Page(frozenset(_ID.findall(rest.partition("\n## ")[0])), rows)


def disagreements(page: Page, verdicts: Iterable[Verdict]) -> tuple[str, ...]:
    """A sentence for each thing that the page does not say as the run saw it."""
    known = tuple(verdicts)
    failing = {one.test_id for one in known if one.must_be_explained}
    measured = {_row(score) for score in scores(known)}
    return (
        *(f"{one} fails, and docs/conformance.md does not say why" for one in sorted(failing - page.explained)),
        *(f"docs/conformance.md explains {one}, which does not fail" for one in sorted(page.explained - failing)),
        *(f"docs/conformance.md lacks the score {_words(row)}" for row in sorted(measured - page.score_rows)),
        *(f"docs/conformance.md shows {_words(row)}: not so" for row in sorted(page.score_rows - measured)),
    )


def _row(score: Score) -> tuple[str, str, int, int]:
    return score.group.value, score.kind.value, score.passed, score.of


def _words(row: tuple[str, str, int, int]) -> str:
    group, kind, passed, of = row
    return f"{group} {kind} {passed} of {of}"
