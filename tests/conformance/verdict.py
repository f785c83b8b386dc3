"""What the suite says about each of its tests, and the counts that are compared with what is promised."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How the suite weighs a test; `CHECK` only describes the cache."""

    REQUIRED = "required"
    OPTIMAL = "optimal"
    CHECK = "check"


class Group(Enum):
    """Which part of the suite: the published counts leave `SURROGATE_CONTROL` out."""

    SHARED_CACHE = "shared-cache"
    SURROGATE_CONTROL = "surrogate-control"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One test. `passed` already takes into account the tests that it depends on."""

    test_id: str
    group: Group
    kind: Kind
    passed: bool
    message: str

    @property
    def must_be_explained(self) -> bool:
        """A failure that docs/conformance.md has to speak about."""
        return not self.passed and self.kind is not Kind.CHECK


@dataclass(frozen=True, slots=True)
class Score:
    """Of `of` tests of one group and kind, `passed` passed."""

    group: Group
    kind: Kind
    passed: int
    of: int


def read_verdicts(text: str) -> tuple[Verdict, ...]:
    """The document that client.mjs prints."""
    return tuple(
        Verdict(one["id"], Group(one["group"]), Kind(one["kind"]), one["passed"], one["message"])
        for one in json.loads(text)
    )


def scores(verdicts: Iterable[Verdict]) -> tuple[Score, ...]:
    """One score per group and kind, in their own order; those without a test are left out."""
    known = tuple(verdicts)
    found = []
    for group in Group:
        for kind in Kind:
            members = [one for one in known if one.group is group and one.kind is kind]
            if members:
                found.append(Score(group, kind, sum(one.passed for one in members), len(members)))
    return tuple(found)
