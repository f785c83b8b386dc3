"""What one replica of control shares with the others, beside journal, store and node directory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cdn.control.blob_repair import BlobLosses
from cdn.control.colleagues import Line
from cdn.control.office_turn import OfficeTurn
from cdn.control.replica_roll import ReplicaRoll


@dataclass(frozen=True, slots=True)
class Replicas:
    """Handed to a control plane that is one of several; one that is alone has none of it.

    `has_snapshot_turn`: whether it is for this one to write the next snapshot. `archiving`: whether it is the one that
    archives records. `losses`: how they tell each other of blobs that are gone. `line`: how they ask each other.
    `roll`: which of them run.
    """

    has_snapshot_turn: Callable[[], Awaitable[bool]] | None = None
    archiving: OfficeTurn | None = None
    losses: BlobLosses | None = None
    line: Line | None = None
    roll: ReplicaRoll | None = None
