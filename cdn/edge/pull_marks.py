"""Cache groups that an answer of the upstream invalidated on this node (RFC 9875 section 3).

Like a floor, a mark is raised and nothing is hunted: what was stored, or asked for, before it is not used any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cdn.http.tag import OVERFLOW_TAG

MAX_MARKS = 4096
"""Groups with a mark of their own, of all sites; beyond them those of the site that has most become one mark for the
whole site, the oldest first: it pays for that itself (DESIGN I10)."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment: `incarnation` is the last that the disk tier had given, `number` a place in the order of flights."""

    incarnation: int
    number: int


BEFORE_ALL = Mark(-1, -1)


class GroupMarks:
    """Per site and group the last moment at which it was invalidated."""

    def __init__(self, max_marks: int = MAX_MARKS) -> None:
        self._max_marks = max_marks
        self._groups: dict[str, dict[str, Mark]] = {}
        self._sites: dict[str, Mark] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self._sites)

    def raise_to(self, site_id: str, groups: tuple[str, ...], mark: Mark) -> None:
        """What carries one of these groups and is from before `mark` is invalid."""
        marks = self._groups.setdefault(site_id, {})
        for group in groups:
            self._count -= marks.pop(group, None) is not None
            marks[group] = mark
            self._count += 1
        while self._count > self._max_marks:
            largest = max(self._groups, key=lambda each: len(self._groups[each]))
            of_largest = self._groups[largest]
            self._sites[largest] = of_largest.pop(next(iter(of_largest)))  # they leave in the order they were raised
            self._count -= 1

    def covers_stored(self, site_id: str, tags: tuple[str, ...], incarnation: int) -> bool:
        """Whether a stored response with these tags is invalid."""
        return len(self) > 0 and incarnation <= self._last(site_id, tags, lambda mark: mark.incarnation)

    def covers_flight(self, site_id: str, tags: tuple[str, ...], number: int) -> bool:
        """Whether an answer with these tags to what was asked then is invalid."""
        return len(self) > 0 and number < self._last(site_id, tags, lambda mark: mark.number)

    def drop_site(self, site_id: str) -> None:
        """The site is gone."""
        self._sites.pop(site_id, None)
        self._count -= len(self._groups.pop(site_id, {}))

    def _last(self, site_id: str, tags: tuple[str, ...], part: Callable[[Mark], int]) -> int:
        last = part(self._sites.get(site_id, BEFORE_ALL))
        marks = self._groups.get(site_id)
        if not marks:
            return last
        if OVERFLOW_TAG in tags:  # nobody knows which groups it had beside these
            return max(last, part(next(reversed(marks.values()))))
        return max(last, max((part(marks.get(tag, BEFORE_ALL)) for tag in tags), default=-1))
