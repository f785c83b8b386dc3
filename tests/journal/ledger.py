"""A fold that remembers everything it was given, and drafts to fill journals with."""

from __future__ import annotations

from typing import Any

from cdn.journal.record import Audience, Draft, Purged, PurgeScope, Record, TokenRevoked


class Ledger:
    """Keeps (sequence, kind of change) of every record; refuses any but the next one."""

    def __init__(self, name: str = "ledger", audience: Audience = Audience.ALL) -> None:
        self.name = name
        self.audience = audience
        self.epoch = ""
        self.entries: list[tuple[int, str]] = []
        self.horizon = 0

    @property
    def last(self) -> int:
        return self.entries[-1][0] if self.entries else 0

    def apply(self, record: Record) -> None:
        assert record.sequence == self.last + 1, f"{record.sequence} after {self.last}"
        self.epoch = record.epoch
        self.entries.append((record.sequence, told(record)))

    def dump(self) -> Any:
        return {"epoch": self.epoch, "entries": [list(entry) for entry in self.entries]}

    def load(self, section: Any) -> None:
        section = section or {"epoch": "", "entries": []}
        self.epoch = section["epoch"]
        self.entries = [(sequence, text) for sequence, text in section["entries"]]

    def raise_horizon(self, sequence: int) -> None:
        self.horizon = max(self.horizon, sequence)


def told(record: Record) -> str:
    """What a record says, in a word."""
    match record.change:
        case Purged(scopes=scopes):
            return f"purged {','.join(scope.value for scope in scopes)}"
        case TokenRevoked(token_id=token_id):
            return f"revoked {token_id}"
        case other:
            return type(other).__name__


def purge(value: str, *, subject: str = "purge/s1") -> Draft:
    return Draft(subject, Purged("s1", (PurgeScope("url", value),), False), "tester")


def secret(token_id: str) -> Draft:
    return Draft(f"token/{token_id}", TokenRevoked(token_id), "tester", Audience.CONTROL)
