"""What records add up to. Each room that remembers something from the journal hands in one fold."""

from __future__ import annotations

from typing import Any, Protocol

from cdn.journal.record import Audience, Record


class Fold(Protocol):
    """A state that is a pure function of the records applied, in order."""

    name: str
    """Its section in snapshots."""

    audience: Audience
    """Who receives that section: ALL, DNS for what only name servers need, or CONTROL for secrets."""

    def apply(self, record: Record) -> None:
        """Take one record. Kinds that do not concern this fold are ignored. No IO, bounded time.

        Only the first fold of a node may raise UnknownRecord, and only before it has changed anything: then no fold
        has taken the record.
        """
        ...

    def dump(self) -> Any:
        """The state as JSON-serialisable builtins (msgspec encodes it)."""
        ...

    def load(self, section: Any) -> None:
        """Replace the state by a section that `dump` made (None: the empty state).

        A section that this program does not understand raises a CdnError.
        """
        ...
