"""Eviction from the disk tier: the least recently used goes, when the tier is over its bound or the disk is full."""

from __future__ import annotations

import sqlite3
import time

from cdn.edge import disk_rows as rows
from cdn.edge.disk_holds import HeldFiles
from cdn.edge.disk_index_file import IndexFile
from cdn.edge.disk_rows import Gone, Victim

EVICTION_BATCH = 256
"""Chunks evicted in one transaction, so that other writes get their turn."""

LOW_WATER = 0.99
"""Eviction goes on down to this part of the bound, so that it does not run for every single chunk."""

RELIEF_BYTES = 16 * 1024 * 1024
"""How much is freed at once when the disk is full, or a tenth of a small tier: room for the index and a few chunks."""

RELIEF_INTERVAL_S = 1.0
"""At most one relief in this time: a disk that others keep filling must not empty the tier at once."""

MAX_RELIEF_BATCHES = 16
"""Batches looked through for what a relief frees; one that finds less is followed by another."""


class Eviction:
    """Runs in the index's writer thread.

    What running writes take counts as if it were indexed, and so do files that readers hold. Three sums that only rise
    say how much the former is, each written by one thread: `taken_bytes` and `returned_bytes` by the event loop,
    `entered_bytes` by the writer, in the moment in which they are counted in the index.
    """

    def __init__(self, file: IndexFile, files: HeldFiles, max_bytes: int) -> None:
        self._file = file
        self._files = files
        self._max_bytes = max_bytes
        self._relieved_at = float("-inf")
        self.taken_bytes = 0
        self.returned_bytes = 0
        self.entered_bytes = 0

    @property
    def cost_bytes(self) -> int:
        """What counts against the bound."""
        writing = self.taken_bytes - self.returned_bytes - self.entered_bytes
        return self._file.totals.cost_bytes + writing + self._files.deferred_bytes

    @property
    def is_due(self) -> bool:
        """Whether the tier is over its bound."""
        return self.cost_bytes > self._max_bytes

    def evict(self) -> list[Gone]:
        """Evict the least recently used, one batch; nothing when nothing could be."""
        gone: list[Gone] = []

        def apply_all() -> None:
            connection, totals = self._file.connection, self._file.totals
            excess = self.cost_bytes - int(self._max_bytes * LOW_WATER)
            for victim in rows.oldest(connection, EVICTION_BATCH, 0):
                if excess <= 0:
                    break
                excess -= victim.cost_bytes
                gone.append(rows.delete_chunk(connection, totals, victim.row))

        if not self._file.transact(apply_all):
            self._file.counters.failed_writes += 1
            return []
        for each in gone:
            for name in each.chunks:
                self._files.remove(name)
        self._count(gone)
        return gone

    def relieve(self) -> list[Gone]:
        """Make room on a full disk: the least recently used files go first, then their rows, which need room too."""
        now = time.monotonic()
        if now - self._relieved_at < RELIEF_INTERVAL_S or not self._file.is_open:
            return []
        self._relieved_at = now
        self._file.counters.reliefs += 1
        try:
            victims = self._remove_oldest_files()
        except sqlite3.Error:
            self._file.counters.failed_reads += 1
            return []
        gone: list[Gone] = []

        def apply_all() -> None:
            for victim in victims:
                gone.append(rows.delete_chunk(self._file.connection, self._file.totals, victim.row))

        if not self._file.transact(apply_all):
            self._file.counters.failed_writes += 1
            # The rows stay until there is room for removing them. The files have to be let go of now: one that is
            # still mapped keeps its blocks.
            return [Gone(victim.row.incarnation, victim.files, None) for victim in victims]
        self._count(gone)
        return gone

    def _remove_oldest_files(self) -> list[Victim]:
        freed = 0
        wanted = min(RELIEF_BYTES, self._file.totals.cost_bytes // 10 + 1)
        victims: list[Victim] = []
        for batch in range(MAX_RELIEF_BATCHES):
            oldest = rows.oldest(self._file.connection, EVICTION_BATCH, batch * EVICTION_BATCH)
            for victim in oldest:
                victims.append(victim)
                removed = [self._files.remove(name) for name in victim.files]
                freed += victim.cost_bytes if any(removed) else 0
                if freed >= wanted:
                    return victims
            if len(oldest) < EVICTION_BATCH:
                break
        return victims

    def _count(self, gone: list[Gone]) -> None:
        self._file.counters.evicted_chunks += sum(len(each.chunks) for each in gone)
