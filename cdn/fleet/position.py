"""A place in the journal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """The sequence of a record within an epoch. Positions of different epochs cannot be compared (DESIGN I3).

    `sequence` 0 is the place before the first record.
    """

    epoch: str
    sequence: int

    def covers(self, other: Position) -> bool:
        """Whether whoever stands here has applied everything up to `other`."""
        return self.epoch == other.epoch and self.sequence >= other.sequence

    def __str__(self) -> str:
        return f"{self.epoch}:{self.sequence}"
