"""Records as they are sent to nodes, encoded once for all nodes that stand at the same place."""

from __future__ import annotations

from dataclasses import dataclass

from cachetools import LRUCache

from cdn.journal.journal import Journal, Trimmed
from cdn.journal.record import Audience
from cdn.journal.wire import batch_records, encode_message

FEED_RECORDS = 500
"""Records read at once for one node."""

MAX_KEPT = 64
"""Frames kept for the next node: one for each place where nodes stand just now, at the journal's end or close to it."""

MAX_KEPT_BYTES = 64 * 1024
"""A larger frame is for a node that is behind, and no other is likely to ask for the same."""


@dataclass(frozen=True, slots=True)
class RecordFrame:
    """One text frame. `last` is the sequence of the last record in it."""

    last: int
    content: bytes


class RecordFrames:
    """Reads the journal for the connections: a new record is read, filtered and encoded once, not for each node."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept: LRUCache[tuple[frozenset[Audience], int], RecordFrame] = LRUCache(MAX_KEPT)
        self._newest = 0

    async def after(self, sequence: int, audiences: frozenset[Audience]) -> tuple[RecordFrame, ...] | Trimmed:
        """What follows `sequence` for these audiences; empty at the journal's end. Raises JournalUnavailable."""
        kept = self._kept.get((audiences, sequence))
        if kept is not None and kept.last == self._newest:  # else more would go into the same frame by now
            return (kept,)
        found = await self._journal.read(sequence, limit=FEED_RECORDS)
        if isinstance(found, Trimmed):
            return found
        if not found:
            return ()
        frames = tuple(
            RecordFrame(last, encode_message(message).encode())
            for last, message in batch_records(record.visible_to(audiences) for record in found)
        )
        self._newest = max(self._newest, frames[-1].last)
        if len(frames) == 1 and len(frames[0].content) <= MAX_KEPT_BYTES:
            self._kept[audiences, sequence] = frames[0]
        return frames
