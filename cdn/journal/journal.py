"""The journal's seam. SQLite and JetStream stand behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.journal.record import Draft, Record


class JournalUnavailable(Unavailable):
    """The journal cannot take or give records now (locked, disk full, gone). Nothing was appended."""


class AppendUncertain(JournalUnavailable):
    """The journal vanished while it was given a record, which may have been appended: look before repeating it."""


class EpochEnded(JournalUnavailable):
    """The journal has begun another epoch: open it again and load its snapshot."""


@dataclass(frozen=True, slots=True)
class Conflicted:
    """The subject has moved since the caller looked: its last record has this sequence (0: none)."""

    last_sequence: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The records asked for are no longer kept: load a snapshot at or above `first_sequence - 1`."""

    first_sequence: int


class Journal(Protocol):
    """One order of records. All methods may raise JournalUnavailable."""

    @property
    def epoch(self) -> str:
        """The random name of this history; a restore starts another."""
        ...

    async def append(self, draft: Draft, *, expected_sequence: int | None) -> Record | Conflicted:
        """Add a record; when it returns a Record that record is durable.

        `expected_sequence` is the sequence of the last record with the same subject that the caller has seen
        (0: there is none yet); None appends without comparing. Raises AppendUncertain where even the journal cannot
        know what became of the record; it is never appended twice.
        """
        ...

    async def read(self, after: int, *, limit: int) -> tuple[Record, ...] | Trimmed:
        """Up to `limit` records with a sequence above `after`, in order; empty at the end."""
        ...

    async def wait_beyond(self, sequence: int) -> None:
        """Return once a record with a higher sequence exists (at once if it does)."""
        ...

    async def position(self) -> Position:
        """The place of the last record."""
        ...

    async def trim(self, through: int) -> None:
        """Forget records up to and including `through`; their subjects' last sequences stay known."""
        ...

    async def aclose(self) -> None: ...
