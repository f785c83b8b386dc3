"""The state of every node as control sees it: what it reports, put through the rules of `fleet.condition`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cdn.fleet.condition import (
    DEFAULT_CONDITION_SETTINGS,
    Condition,
    Evidence,
    NodeState,
    StateReason,
    next_condition,
)
from cdn.fleet.head_times import HeadTimes
from cdn.fleet.lease import surely_over_at
from cdn.fleet.node import NodeView
from cdn.fleet.position import Position


@dataclass(slots=True)
class _Watched:
    """What counts beside the node's view."""

    heard_at: float
    has_left: bool = False
    is_draining: bool = False
    condition: Condition | None = None


class NodeConditions:
    """Holds one condition for each node that was met. `clock` is the directory's (monotonic seconds)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._head: HeadTimes | None = None
        self._watched: dict[str, _Watched] = {}

    def journal_reached(self, end: Position) -> None:
        """Control has applied the journal up to here: what nodes lack of it makes them lag."""
        if self._head is None:
            self._head = HeadTimes(end, self._clock())
        else:
            self._head.reached(end, self._clock())

    def met(self, node_id: str) -> None:
        """The node is known from now on; one that was known stays as it is."""
        self._watched.setdefault(node_id, _Watched(self._clock()))

    def forget(self, node_id: str) -> None:
        """The node is no longer known."""
        self._watched.pop(node_id, None)

    def look(self, view: NodeView) -> Condition:
        """The node's condition now. To be called before its view changes, too: time alone may have changed it."""
        watched = self._watched[view.node_id]
        if watched.condition is not None and self._is_settled(view, watched.condition):
            return watched.condition
        watched.condition = next_condition(self._evidence(view, watched), watched.condition, self._clock())
        return watched.condition

    def changed(self, view: NodeView, *, has_left: bool | None = None, is_draining: bool | None = None) -> Condition:
        """The node was heard, or its connection ended: `view` is what is known now."""
        watched = self._watched[view.node_id]
        watched.heard_at = self._clock()
        if has_left is not None:
            watched.has_left = has_left
        if is_draining is not None:
            watched.is_draining = is_draining
        return self.look(view)

    def serves_steadily(self, view: NodeView) -> bool:
        """Whether an acknowledgement of this node changes nothing: it serves, and was not about to lag."""
        condition = self._watched[view.node_id].condition
        return (
            condition is not None
            and condition.state is NodeState.SERVING
            and self.lag_s(view) < DEFAULT_CONDITION_SETTINGS.lagging_after_s
        )

    def _is_settled(self, view: NodeView, condition: Condition) -> bool:
        """Whether the node serves, has everything and holds a lease: nothing else comes of looking. Most nodes do."""
        if condition.state is not NodeState.SERVING or condition.reason is not StateReason.CURRENT:
            return False
        if self._head is None or view.position is None or view.answered_at is None or not view.is_connected:
            return False
        watched = self._watched[view.node_id]
        if view.stopped is not None or watched.is_draining or watched.has_left:
            return False
        return view.position.covers(self._head.end) and self._clock() < view.answered_at + view.lease_s

    def lag_s(self, view: NodeView) -> float:
        """How long the journal has held a record that the node has not applied; 0: it has them all."""
        behind_since = self._behind_since(view)
        return 0.0 if behind_since is None else max(0.0, self._clock() - behind_since)

    def _behind_since(self, view: NodeView) -> float | None:
        return None if self._head is None else self._head.behind_since(view.position)

    def _evidence(self, view: NodeView, watched: _Watched) -> Evidence:
        end = None if self._head is None else self._head.end
        return Evidence(
            is_connected=view.is_connected,
            heard_at=watched.heard_at,
            lease_over_at=surely_over_at(view.answered_at, view.lease_s),
            behind_since=self._behind_since(view),
            is_same_epoch=end is None or (view.position is not None and view.position.epoch == end.epoch),
            is_stopped=view.stopped is not None,
            is_draining=watched.is_draining,
            has_left=watched.has_left,
        )
