"""Receipts: what an acknowledgement means, node by node (DESIGN I8)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cdn.fleet.position import Position


class NodeOutcome(Enum):
    """What a node did with a record."""

    APPLIED = "applied"  # all its workers serve at or above the position
    PENDING = "pending"  # it is reachable or its lease may still run, and it has not said so yet
    FENCED = "fenced"  # its lease is surely over and it validates before it serves
    EXCUSED = "excused"  # its lease is surely over and the site chose to keep serving


@dataclass(frozen=True, slots=True)
class NodeReceipt:
    """One node's line. `applied_at` is wall time in seconds, None when not applied or no longer known."""

    node_id: str
    outcome: NodeOutcome
    applied_at: float | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Which nodes have applied the record at `position`."""

    position: Position
    recorded_at: float
    nodes: tuple[NodeReceipt, ...]

    @property
    def is_complete(self) -> bool:
        """No node may still answer from before the position, except those listed as excused."""
        return all(node.outcome is not NodeOutcome.PENDING for node in self.nodes)
