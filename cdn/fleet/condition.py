"""The state of a node, as one function of what is known of it (DESIGN I9, I16).

```
             caught up                  too far behind
  joining ------------->  serving  <-------------------->  lagging
     ^                                 current again, and steadily
     |  heard again
  detached <-- any of these, once its lease is surely over --> gone, when it stays away or said goodbye
```
`draining` is what a node says of itself before it leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf


class NodeState(Enum):
    """What a node is to the fleet. Only SERVING stands in DNS whatever the others do (see `withdrawal`)."""

    JOINING = "joining"  # connected, and not caught up since it came
    SERVING = "serving"
    LAGGING = "lagging"  # it has a lease, and not what the journal holds
    DETACHED = "detached"  # its lease is surely over: it serves or validates as each site chose
    DRAINING = "draining"  # it finishes what it was asked and takes nothing new
    GONE = "gone"  # nothing is expected of it any more


class StateReason(Enum):
    """Why a node is in its state."""

    NEW = "new"  # joining: never caught up before
    RETURNING = "returning"  # joining: it was cut off or drained, and is not steadily current yet
    CURRENT = "current"  # serving
    AWAY = "away"  # serving: not connected, and its lease may still run
    REMEMBERED = "remembered"  # serving: known from before the observer started, its lease may still run
    BEHIND = "behind"  # lagging
    OTHER_EPOCH = "other-epoch"  # lagging: it stands in another epoch of the journal
    STOPPED = "stopped"  # lagging: it met a record that it does not understand
    STEADYING = "steadying"  # lagging: current again, and not yet for long enough
    SILENT = "silent"  # detached: connected, and not heard for a lease
    DISCONNECTED = "disconnected"  # detached
    ASKED = "asked"  # draining: it said so
    LEFT = "left"  # gone: it gave its lease back
    LONG_AWAY = "long-away"  # gone


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a node. Times are monotonic seconds of the observer.

    `heard_at`: when it last said anything, its connection ended or the observer started, whichever is latest.
    `lease_over_at`: from when its lease surely does not run; None: it holds none. `behind_since`: from when the journal
    has held a record that the node has not applied; None: it has them all. `has_left`: it gave its lease back and has
    not come again.
    """

    is_connected: bool
    heard_at: float
    lease_over_at: float | None
    behind_since: float | None
    is_same_epoch: bool = True
    is_stopped: bool = False
    is_draining: bool = False
    has_left: bool = False


@dataclass(frozen=True, slots=True)
class ConditionSettings:
    """When a state is left, and when it is entered again: never at the same point.

    `current_within_s` is at most `lagging_after_s`.
    """

    lagging_after_s: float = 3.0
    """So long behind: longer than a group commit on a busy disk, shorter than visitors need to notice a deploy."""
    current_within_s: float = 1.0
    """A node that is less behind than this counts as current: records are always on their way."""
    steady_s: float = 5.0
    """So long without interruption before one that lagged or was cut off serves again: one that flaps stays out."""
    gone_after_s: float = 3600.0
    """A node that was not heard for so long is not waited for, and record versions do not wait for it."""


DEFAULT_CONDITION_SETTINGS = ConditionSettings()


@dataclass(frozen=True, slots=True)
class Condition:
    """A node's state with its reason; `since` when, in the observer's monotonic seconds, it has been in the state.

    `current_since`: since when it has been current without interruption, as far as its state needs to know.
    """

    state: NodeState
    reason: StateReason
    since: float
    current_since: float | None = None


def next_condition(
    evidence: Evidence,
    previous: Condition | None,
    now: float,
    settings: ConditionSettings = DEFAULT_CONDITION_SETTINGS,
) -> Condition:
    """The node's condition at `now`; `previous` None: it was never looked at.

    Look whenever the evidence changes, with the evidence as it was and then with what it became. Looking more often
    changes nothing: what happens by time alone is found with the moment at which it happened.
    """
    absent = _absent(evidence, previous, now, settings)
    if absent is not None:
        return absent
    if evidence.is_draining:
        return _in_state(previous, NodeState.DRAINING, StateReason.ASKED, now)
    if previous is None and not evidence.is_connected:
        previous = Condition(NodeState.SERVING, StateReason.REMEMBERED, evidence.heard_at)
    if evidence.is_stopped:
        return _in_state(previous, NodeState.LAGGING, StateReason.STOPPED, now)
    if evidence.lease_over_at is None or now >= evidence.lease_over_at:
        return _in_state(previous, NodeState.JOINING, _joining_reason(previous), now)
    return _present(evidence, previous, now, settings)


def _absent(
    evidence: Evidence, previous: Condition | None, now: float, settings: ConditionSettings
) -> Condition | None:
    """Gone or detached; None when the node is there, or may still be serving by its lease."""
    over_at = evidence.lease_over_at
    if evidence.has_left:
        return _in_state(previous, NodeState.GONE, StateReason.LEFT, now)
    if evidence.is_connected:
        if over_at is None or now < over_at or evidence.heard_at >= over_at:
            return None  # its lease runs, or it has just come and gets one
        return _in_state(previous, NodeState.DETACHED, StateReason.SILENT, over_at)
    if over_at is not None and now < over_at:
        return None
    detached_at = evidence.heard_at if over_at is None else max(evidence.heard_at, over_at)
    gone_at = max(evidence.heard_at + settings.gone_after_s, detached_at)
    if now >= gone_at:
        return _in_state(previous, NodeState.GONE, StateReason.LONG_AWAY, gone_at)
    return _in_state(previous, NodeState.DETACHED, StateReason.DISCONNECTED, detached_at)


def _present(evidence: Evidence, previous: Condition | None, now: float, settings: ConditionSettings) -> Condition:
    """Joining, serving or lagging: by how current it is, and for how long it has been."""
    behind_since = evidence.behind_since
    current_until = inf if behind_since is None else behind_since + settings.current_within_s
    current_since = None if previous is None else previous.current_since
    if current_since is None and now < current_until:
        current_since = now
    still_current_since = current_since if now < current_until else None
    serving_since = _serving_since(previous, current_since, current_until, now, settings)
    if serving_since is not None:
        lagging_at = inf if behind_since is None else behind_since + settings.lagging_after_s
        if now < lagging_at:
            return Condition(NodeState.SERVING, _serving_reason(evidence, previous), serving_since, still_current_since)
        # Whoever was behind before it began to serve lags from then on.
        return Condition(NodeState.LAGGING, _lagging_reason(evidence), max(lagging_at, serving_since))
    if previous is not None and previous.state is NodeState.LAGGING:
        reason = _lagging_reason(evidence) if still_current_since is None else StateReason.STEADYING
        return Condition(NodeState.LAGGING, reason, previous.since, still_current_since)
    joining = _in_state(previous, NodeState.JOINING, _joining_reason(previous), now)
    return Condition(joining.state, joining.reason, joining.since, still_current_since)


def _serving_since(
    previous: Condition | None,
    current_since: float | None,
    current_until: float,
    now: float,
    settings: ConditionSettings,
) -> float | None:
    """Since when it serves, were it not for new lag; None: it does not."""
    if previous is not None and previous.state is NodeState.SERVING:
        return previous.since
    if current_since is None:
        return None
    is_returning = previous is not None and (
        previous.state is NodeState.LAGGING or _joining_reason(previous) is StateReason.RETURNING
    )
    serving_since = current_since + settings.steady_s if is_returning else current_since
    return serving_since if serving_since <= now and serving_since < current_until else None


def _joining_reason(previous: Condition | None) -> StateReason:
    """A node that was there before proves itself for a while; one that was gone comes as if for the first time."""
    match previous:
        case None | Condition(state=NodeState.GONE) | Condition(reason=StateReason.NEW):
            return StateReason.NEW
        case _:
            return StateReason.RETURNING


def _serving_reason(evidence: Evidence, previous: Condition | None) -> StateReason:
    if evidence.is_connected:
        return StateReason.CURRENT
    is_remembered = previous is not None and previous.reason is StateReason.REMEMBERED
    return StateReason.REMEMBERED if is_remembered else StateReason.AWAY


def _lagging_reason(evidence: Evidence) -> StateReason:
    return StateReason.BEHIND if evidence.is_same_epoch else StateReason.OTHER_EPOCH


def _in_state(previous: Condition | None, state: NodeState, reason: StateReason, since: float) -> Condition:
    """The state since `since`, or since it was entered before."""
    is_same = previous is not None and previous.state is state
    return Condition(state, reason, previous.since if is_same and previous is not None else since)
