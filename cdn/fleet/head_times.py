"""When the journal grew, so that a node's place in it can be read as a time."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter

from cdn.fleet.position import Position

GRAIN_S = 0.1
"""Records that come closer together share one mark: a node's lag is overstated by so much at most."""

MAX_MARKS = 1024
"""Marks kept: a hundred seconds at least, far beyond every limit that lag is compared with."""

_end_sequence = itemgetter(0)


class HeadTimes:
    """Remembers when the journal reached which sequence, as its observer saw it (monotonic seconds)."""

    def __init__(self, end: Position, now: float) -> None:
        self._epoch = end.epoch
        self._marks: list[tuple[int, float]] = [(end.sequence, now)]
        self._end = end

    @property
    def end(self) -> Position:
        """Where the journal ended when it was last looked at."""
        return self._end

    def reached(self, end: Position, now: float) -> None:
        """The journal ends at `end` now. Another epoch begins anew; an end that was passed before changes nothing."""
        if end.epoch != self._epoch:
            self._epoch, self._marks, self._end = end.epoch, [(end.sequence, now)], end
            return
        last, at = self._marks[-1]
        if end.sequence <= last:
            return
        self._end = end
        if len(self._marks) > 1 and now < at + GRAIN_S:
            self._marks[-1] = (end.sequence, at)
            return
        self._marks.append((end.sequence, now))
        if len(self._marks) > MAX_MARKS:
            del self._marks[0]

    def behind_since(self, position: Position | None) -> float | None:
        """From when on the journal has held a record that a node at `position` has not applied; None: it has them all.

        Of a node in another epoch, or nowhere yet: from when the oldest mark says. One that is behind all marks has
        been behind for longer than what is answered.
        """
        if position is not None and position.covers(self.end):
            return None
        if position is None or position.epoch != self._epoch:
            return self._marks[0][1]
        return self._marks[bisect_right(self._marks, position.sequence, key=_end_sequence)][1]
