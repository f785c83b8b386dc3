"""Cache groups that an answer of the upstream invalidated on this node (RFC 9875 section 3).

Like a floor, a mark is raised and nothing is hunted: what was stored, or asked for, before it is not used any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_MARKS = 4096
"""Groups with a mark of their own, of all sites; beyond them the oldest become one mark for their whole site."""


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
        self._marks: dict[tuple[str, str], Mark] = {}
        self._sites: dict[str, Mark] = {}

    def __len__(self) -> int:
        return len(self._marks) + len(self._sites)

    def raise_to(self, site_id: str, groups: tuple[str, ...], mark: Mark) -> None:
        """What carries one of these groups and is from before `mark` is invalid."""
        for group in groups:
            self._marks.pop((site_id, group), None)
            self._marks[site_id, group] = mark
        while len(self._marks) > self._max_marks:
            oldest = next(iter(self._marks))
            self._sites[oldest[0]] = self._marks.pop(oldest)  # marks leave in the order they were raised

    def covers_stored(self, site_id: str, tags: tuple[str, ...], incarnation: int) -> bool:
        """Whether a stored response with these tags is invalid."""
        return len(self) > 0 and incarnation <= self._last(site_id, tags, lambda mark: mark.incarnation)

    def covers_flight(self, site_id: str, tags: tuple[str, ...], number: int) -> bool:
        """Whether an answer with these tags to what was asked then is invalid."""
        return len(self) > 0 and number < self._last(site_id, tags, lambda mark: mark.number)

    def drop_site(self, site_id: str) -> None:
        """The site is gone."""
        self._sites.pop(site_id, None)
        for place in [place for place in self._marks if place[0] == site_id]:
            del self._marks[place]

    def _last(self, site_id: str, tags: tuple[str, ...], part: Callable[[Mark], int]) -> int:
        marks = (self._marks.get((site_id, tag), BEFORE_ALL) for tag in tags)
        return max(part(self._sites.get(site_id, BEFORE_ALL)), max(map(part, marks), default=-1))
