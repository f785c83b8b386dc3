"""A node as control sees it, and what that means for a receipt (DESIGN I8, I9)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdn.errors import InvalidInput
from cdn.fleet.lease import surely_over_at
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeOutcome

_NODE_ID = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


def check_node_id(text: str) -> str:
    """`text` when it can name a node (a host name of up to 63 octets). Raises InvalidInput."""
    if _NODE_ID.fullmatch(text) is None:
        raise InvalidInput(
            f"{text[:80]!r} cannot name a node: use up to 63 lower-case letters, digits, dots and hyphens",
            field="node_id",
        )
    return text


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says about itself. `program` is its release; `addresses` are where it serves."""

    program: str
    region: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node at one moment.

    `position` is the last acknowledged one (None: none yet). `answered_at` is control's monotonic time when it last
    answered a heartbeat, or started, whichever is later (None: the node holds no lease). `stopped` says why the node
    no longer follows.
    """

    node_id: str
    facts: NodeFacts
    position: Position | None
    is_connected: bool
    answered_at: float | None
    lease_s: float
    record_version: int = 1
    stopped: str | None = None

    @property
    def detached_at(self) -> float | None:
        """Control's monotonic time from which the node surely has no lease; None while it is connected."""
        if self.is_connected:
            return None
        over_at = surely_over_at(self.answered_at, self.lease_s)
        return float("-inf") if over_at is None else over_at


def is_surely_detached(node: NodeView, now: float) -> bool:
    """Whether the node's lease cannot be running at control's monotonic time `now`."""
    detached_at = node.detached_at
    return detached_at is not None and now >= detached_at


def outcome_of(
    node: NodeView, position: Position, now: float, *, validates_from: Position | None = None
) -> NodeOutcome:
    """What the node did with the record at `position`, at control's monotonic time `now`.

    `validates_from` is the record since which the site wants nodes without a lease to validate, and only for records
    whose effect validating shows; None: they serve. A node that was cut off before that record does not know of it.
    """
    if node.position is not None and node.position.covers(position):
        return NodeOutcome.APPLIED
    if not is_surely_detached(node, now):
        return NodeOutcome.PENDING
    knows = validates_from is not None and node.position is not None and node.position.covers(validates_from)
    return NodeOutcome.FENCED if knows else NodeOutcome.EXCUSED
