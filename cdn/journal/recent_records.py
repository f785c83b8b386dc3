"""The newest records in memory: followers at the tail cost no question to the journal's servers."""

from __future__ import annotations

from collections import deque

from cdn.journal.record import Record, UnknownRecord

RECENT_BYTES = 16 * 1024 * 1024
"""What the remembered records take together, as they were encoded."""


class RecentRecords:
    """A run of records without a hole; a record that this program does not understand is kept as its error."""

    def __init__(self, max_bytes: int = RECENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._run: deque[tuple[Record | UnknownRecord, int]] = deque()
        self._bytes = 0
        self._next = 1

    @property
    def first(self) -> int:
        """The sequence of the oldest one; where the next will stand when there is none."""
        return self._next - len(self._run)

    def add(self, sequence: int, record: Record | UnknownRecord, size_bytes: int) -> None:
        """Remember the next record. One that does not follow the last begins a new run."""
        if sequence != self._next:
            self._run.clear()
            self._bytes = 0
        self._run.append((record, size_bytes))
        self._bytes += size_bytes
        self._next = sequence + 1
        while self._bytes > self._max_bytes:
            self._bytes -= self._run.popleft()[1]

    def forget_through(self, sequence: int) -> None:
        """Forget records up to `sequence`."""
        while self._run and self.first <= sequence:
            self._bytes -= self._run.popleft()[1]

    def after(self, sequence: int, limit: int) -> tuple[Record, ...]:
        """Up to `limit` records from `sequence + 1` on; none when that one is not remembered.

        Ends before a record that is not understood; raises UnknownRecord when it is the first.
        """
        start = sequence + 1 - self.first
        if start < 0:
            return ()
        found: list[Record] = []
        for index in range(start, min(start + limit, len(self._run))):
            record, _ = self._run[index]
            if isinstance(record, UnknownRecord):
                if not found:
                    raise record
                break
            found.append(record)
        return tuple(found)
