"""Receipts: what an acknowledgement means, node by node (DESIGN I8)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cdn.fleet.condition import Condition
from cdn.fleet.position import Position


class NodeOutcome(Enum):
    """What a node did with a record."""

    APPLIED = "applied"  # all its workers serve at or above the position
    PENDING = "pending"  # it is reachable or its lease may still run, and it has not said so yet
    FENCED = "fenced"  # its lease is surely over and it validates before it serves
    EXCUSED = "excused"  # its lease is surely over and the site chose to keep serving


@dataclass(frozen=True, slots=True)
class NodeReceipt:
    """One node's line. Times are wall time in seconds.

    `applied_at` is None when not applied or not known; `applied_by` is then by when it surely had, where that is known.
    `condition` says why a node that has not applied has not, and since when.
    """

    node_id: str
    outcome: NodeOutcome
    applied_at: float | None = None
    applied_by: float | None = None
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class ReceiptTally:
    """How far a record has come, naming only nodes of which something is to be said. Each id stands in one place."""

    position: Position
    applied: int
    pending: tuple[str, ...]
    fenced: tuple[str, ...]
    excused: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """No node may still answer from before the position, except those that are excused."""
        return not self.pending

    @property
    def unapplied(self) -> tuple[str, ...]:
        """Every node that has not applied it, by id."""
        return tuple(sorted((*self.pending, *self.fenced, *self.excused)))


@dataclass(frozen=True, slots=True)
class Receipt:
    """Which nodes have applied the record at `position`.

    `nodes` are the lines that were asked for; there are more after the node `more_after`, None: these are all.
    """

    tally: ReceiptTally
    recorded_at: float
    nodes: tuple[NodeReceipt, ...]
    more_after: str | None = None

    @property
    def position(self) -> Position:
        """Whose receipt it is."""
        return self.tally.position

    @property
    def is_complete(self) -> bool:
        """See `ReceiptTally.is_complete`."""
        return self.tally.is_complete


class Listed(Enum):
    """Which nodes a receipt lists."""

    ALL = "all"
    UNAPPLIED = "unapplied"  # those of which something is to be said


@dataclass(frozen=True, slots=True)
class ReceiptPage:
    """A part of a receipt's lines: `most` nodes by id, those after the id `after`."""

    listed: Listed
    after: str = ""
    most: int = 100
