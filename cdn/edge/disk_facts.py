"""What the disk tier says about itself."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.edge.disk_index_file import IndexCounters
from cdn.edge.stored import StoreOutcome


@dataclass(slots=True)
class TierCounters:
    """What happened since the tier was opened: to chunks of bundles, and (`entered`) to whole pulled responses."""

    stored: int = 0
    not_stored: int = 0
    entered: int = 0
    not_entered: int = 0
    full: int = 0
    damaged: int = 0
    missing: int = 0
    unreadable: int = 0
    swept: int = 0

    def note_put(self, outcome: StoreOutcome) -> None:
        """A chunk of a bundle was offered."""
        if outcome is StoreOutcome.STORED:
            self.stored += 1
        else:
            self.not_stored += 1

    def note_entered(self, outcome: StoreOutcome) -> None:
        """A pulled response was offered."""
        if outcome is StoreOutcome.STORED:
            self.entered += 1
        else:
            self.not_entered += 1


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What the tier holds and how it fares.

    `cost_bytes` counts blocks and index rows, `writing_bytes` the blocks of content that is not entered yet,
    `held_bytes` those of content that has left and is still read: all together against `max_bytes`.
    """

    responses: int
    chunks: int
    cost_bytes: int
    writing_bytes: int
    held_bytes: int
    max_bytes: int
    queued_writes: int
    counters: TierCounters
    index_counters: IndexCounters
