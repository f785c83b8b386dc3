"""Where all nodes stand, kept in order: a question about a record costs what is pending, not what there is."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

from cdn.fleet.node import NodeView, outcome_of
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeOutcome, ReceiptTally

_NOWHERE = Position("", -1)
"""Where a node stands that has acknowledged nothing: no record is covered from there."""


class Acknowledgements:
    """The last position of every node. It holds one entry per node, whatever the number of acknowledgements."""

    def __init__(self) -> None:
        self._position_of: dict[str, Position] = {}
        self._of_epoch: dict[str, list[tuple[int, str]]] = {}

    def __len__(self) -> int:
        return len(self._position_of)

    def note(self, node_id: str, position: Position | None) -> None:
        """The node stands at `position` now, backwards too; None: nowhere yet."""
        self.forget(node_id)
        stands_at = position or _NOWHERE
        self._position_of[node_id] = stands_at
        insort(self._of_epoch.setdefault(stands_at.epoch, []), (stands_at.sequence, node_id))

    def forget(self, node_id: str) -> None:
        """The node counts no more."""
        before = self._position_of.pop(node_id, None)
        if before is None:
            return
        standing = self._of_epoch[before.epoch]
        del standing[bisect_left(standing, (before.sequence, node_id))]
        if not standing:
            del self._of_epoch[before.epoch]

    def lowest(self, epoch: str) -> int | None:
        """What every node has applied of this epoch; None: there is no node, or one stands elsewhere."""
        standing = self._of_epoch.get(epoch, [])
        return standing[0][0] if standing and len(standing) == len(self._position_of) else None

    def covers(self, position: Position) -> bool:
        """Whether nobody is short of `position`; also where there is nobody."""
        standing = self._of_epoch.get(position.epoch, [])
        return len(standing) == len(self._position_of) and (not standing or standing[0][0] >= position.sequence)

    def short_of(self, position: Position) -> tuple[str, ...]:
        """The nodes that have not applied up to `position`, by id."""
        short: list[str] = []
        for epoch, standing in self._of_epoch.items():
            end = bisect_left(standing, (position.sequence,)) if epoch == position.epoch else len(standing)
            short += [node_id for _, node_id in standing[:end]]
        return tuple(sorted(short))


def tally(
    acknowledgements: Acknowledgements,
    node: Callable[[str], NodeView],
    position: Position,
    now: float,
    *,
    validates_from: Position | None = None,
) -> ReceiptTally:
    """How far the record at `position` has come, at control's monotonic time `now`.

    `node` gives the view of a node that `acknowledgements` names. `validates_from`: see `outcome_of`.
    """
    named: dict[NodeOutcome, list[str]] = {outcome: [] for outcome in NodeOutcome}
    short = acknowledgements.short_of(position)
    for node_id in short:
        named[outcome_of(node(node_id), position, now, validates_from=validates_from)].append(node_id)
    return ReceiptTally(
        position,
        applied=len(acknowledgements) - len(short) + len(named[NodeOutcome.APPLIED]),
        pending=tuple(named[NodeOutcome.PENDING]),
        fenced=tuple(named[NodeOutcome.FENCED]),
        excused=tuple(named[NodeOutcome.EXCUSED]),
    )
