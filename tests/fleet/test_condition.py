"""The states of a node: a readable table, and a plain model that looks at every second."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.fleet.condition import (
    DEFAULT_CONDITION_SETTINGS,
    Condition,
    ConditionSettings,
    Evidence,
    NodeState,
    StateReason,
    next_condition,
)

JOINING, SERVING, LAGGING = NodeState.JOINING, NodeState.SERVING, NodeState.LAGGING
DETACHED, DRAINING, GONE = NodeState.DETACHED, NodeState.DRAINING, NodeState.GONE
SETTINGS = ConditionSettings(lagging_after_s=3, current_within_s=1, steady_s=5, gone_after_s=30)

HERE = Evidence(is_connected=True, heard_at=100.0, lease_over_at=110.0, behind_since=None)
NO_LEASE = replace(HERE, lease_over_at=None)
AWAY = replace(HERE, is_connected=False)


def behind(since: float, evidence: Evidence = HERE) -> Evidence:
    return replace(evidence, behind_since=since)


def was(state: NodeState, reason: StateReason, since: float = 50.0, current_since: float | None = None) -> Condition:
    return Condition(state, reason, since, current_since)


WAS_SERVING = was(SERVING, StateReason.CURRENT)
WAS_LAGGING = was(LAGGING, StateReason.BEHIND)
WAS_DETACHED = was(DETACHED, StateReason.DISCONNECTED)


@pytest.mark.parametrize(
    ("previous", "evidence", "now", "state", "reason", "since"),
    [
        # coming
        (None, NO_LEASE, 100.0, JOINING, StateReason.NEW, 100.0),
        (None, behind(99.0), 101.0, JOINING, StateReason.NEW, 101.0),
        (None, HERE, 101.0, SERVING, StateReason.CURRENT, 101.0),
        (None, behind(100.5), 101.0, SERVING, StateReason.CURRENT, 101.0),
        (was(JOINING, StateReason.NEW), HERE, 101.0, SERVING, StateReason.CURRENT, 101.0),
        (was(GONE, StateReason.LEFT), NO_LEASE, 101.0, JOINING, StateReason.NEW, 101.0),
        (was(GONE, StateReason.LONG_AWAY), HERE, 101.0, SERVING, StateReason.CURRENT, 101.0),
        # falling behind
        (WAS_SERVING, behind(100.0), 102.9, SERVING, StateReason.CURRENT, 50.0),
        (WAS_SERVING, behind(100.0), 103.0, LAGGING, StateReason.BEHIND, 103.0),
        (WAS_SERVING, behind(100.0), 109.0, LAGGING, StateReason.BEHIND, 103.0),
        (WAS_SERVING, behind(100.0, AWAY), 109.0, LAGGING, StateReason.BEHIND, 103.0),
        (
            WAS_SERVING,
            replace(behind(100.0), is_same_epoch=False),
            104.0,
            LAGGING,
            StateReason.OTHER_EPOCH,
            103.0,
        ),
        (WAS_SERVING, replace(HERE, is_stopped=True), 104.0, LAGGING, StateReason.STOPPED, 104.0),
        # current again
        (WAS_LAGGING, behind(104.0), 107.0, LAGGING, StateReason.BEHIND, 50.0),
        (WAS_LAGGING, HERE, 104.0, LAGGING, StateReason.STEADYING, 50.0),
        (was(LAGGING, StateReason.STEADYING, 50.0, 102.0), HERE, 106.9, LAGGING, StateReason.STEADYING, 50.0),
        (was(LAGGING, StateReason.STEADYING, 50.0, 102.0), HERE, 108.0, SERVING, StateReason.CURRENT, 107.0),
        (was(LAGGING, StateReason.STEADYING, 50.0, 102.0), behind(105.0), 109.0, LAGGING, StateReason.BEHIND, 50.0),
        (was(LAGGING, StateReason.STEADYING, 50.0, 102.0), behind(106.5), 108.0, SERVING, StateReason.CURRENT, 107.0),
        (was(LAGGING, StateReason.STEADYING, 50.0, 101.0), behind(106.5), 109.5, LAGGING, StateReason.BEHIND, 109.5),
        # cut off
        (WAS_SERVING, AWAY, 109.9, SERVING, StateReason.AWAY, 50.0),
        (None, AWAY, 105.0, SERVING, StateReason.REMEMBERED, 100.0),
        (was(SERVING, StateReason.REMEMBERED, 100.0), AWAY, 109.0, SERVING, StateReason.REMEMBERED, 100.0),
        (was(SERVING, StateReason.REMEMBERED, 100.0), HERE, 109.0, SERVING, StateReason.CURRENT, 100.0),
        (None, behind(90.0, AWAY), 105.0, LAGGING, StateReason.BEHIND, 100.0),
        (WAS_SERVING, AWAY, 111.0, DETACHED, StateReason.DISCONNECTED, 110.0),
        (WAS_SERVING, HERE, 111.0, DETACHED, StateReason.SILENT, 110.0),
        (WAS_DETACHED, HERE, 111.0, DETACHED, StateReason.SILENT, 50.0),
        (
            was(JOINING, StateReason.NEW),
            replace(AWAY, lease_over_at=None),
            101.0,
            DETACHED,
            StateReason.DISCONNECTED,
            100.0,
        ),
        (WAS_DETACHED, NO_LEASE, 101.0, JOINING, StateReason.RETURNING, 101.0),
        (WAS_DETACHED, HERE, 101.0, JOINING, StateReason.RETURNING, 101.0),
        (WAS_DETACHED, replace(HERE, lease_over_at=60.0), 101.0, JOINING, StateReason.RETURNING, 101.0),
        (was(JOINING, StateReason.RETURNING, 50.0, 101.0), HERE, 105.0, JOINING, StateReason.RETURNING, 50.0),
        (was(JOINING, StateReason.RETURNING, 50.0, 101.0), HERE, 107.0, SERVING, StateReason.CURRENT, 106.0),
        # going
        (WAS_SERVING, replace(HERE, is_draining=True), 104.0, DRAINING, StateReason.ASKED, 104.0),
        (was(DRAINING, StateReason.ASKED), replace(HERE, is_draining=True), 104.0, DRAINING, StateReason.ASKED, 50.0),
        (was(DRAINING, StateReason.ASKED), HERE, 104.0, JOINING, StateReason.RETURNING, 104.0),
        (was(DRAINING, StateReason.ASKED), replace(AWAY, has_left=True), 104.0, GONE, StateReason.LEFT, 104.0),
        (WAS_DETACHED, AWAY, 129.9, DETACHED, StateReason.DISCONNECTED, 50.0),
        (WAS_DETACHED, AWAY, 135.0, GONE, StateReason.LONG_AWAY, 130.0),
        (WAS_DETACHED, replace(AWAY, lease_over_at=140.0, heard_at=60.0), 141.0, GONE, StateReason.LONG_AWAY, 140.0),
    ],
)
def test_what_follows_from_what_is_known(
    previous: Condition | None,
    evidence: Evidence,
    now: float,
    state: NodeState,
    reason: StateReason,
    since: float,
) -> None:
    found = next_condition(evidence, previous, now, SETTINGS)
    assert (found.state, found.reason, found.since) == (state, reason, since)
    assert next_condition(evidence, found, now, SETTINGS) == found, "a second look changes nothing"


def test_the_settings_leave_room_between_leaving_a_state_and_entering_it() -> None:
    usual = DEFAULT_CONDITION_SETTINGS
    assert usual.current_within_s < usual.lagging_after_s < usual.gone_after_s


# A plain model: it looks at every second, and remembers a streak of current seconds.


@dataclass
class World:
    """A node and the journal, as they really are."""

    is_connected: bool = True
    heard_at: int = 0
    over_at: int | None = None
    behind_since: int | None = 0
    is_draining: bool = False
    is_stopped: bool = False
    has_left: bool = False

    def evidence(self) -> Evidence:
        return Evidence(
            is_connected=self.is_connected,
            heard_at=self.heard_at,
            lease_over_at=self.over_at,
            behind_since=self.behind_since,
            is_stopped=self.is_stopped,
            is_draining=self.is_draining,
            has_left=self.has_left,
        )

    def play(self, event: str, now: int) -> None:
        match event:
            case "connect":
                self.is_connected, self.has_left, self.is_stopped, self.is_draining = True, False, False, False
                self.heard_at = now
            case "heartbeat" if self.is_connected:
                self.heard_at, self.over_at = now, now + 10
            case "apply all" if self.is_connected:
                self.behind_since = None
            case "apply some" if self.is_connected and self.behind_since is not None:
                self.behind_since = min(now, self.behind_since + 2)
            case "record" if self.behind_since is None:
                self.behind_since = now
            case "cut" if self.is_connected:
                self.is_connected, self.heard_at = False, now
            case "drain" if self.is_connected:
                self.is_draining = True
            case "stop" if self.is_connected:
                self.is_stopped = True
            case "leave" if self.is_connected:
                self.is_connected, self.has_left, self.over_at = False, True, None


class PlainNode:
    """The rules, one by one, looked at every second."""

    def __init__(self) -> None:
        self.state: NodeState | None = None
        self.since = 0
        self.must_prove_itself = False
        self.streak_began: int | None = None

    def look(self, world: World, now: int) -> None:
        state = self._state(world, now)
        if state is not self.state:
            self.state, self.since = state, now

    def _state(self, world: World, now: int) -> NodeState:
        has_lease = world.over_at is not None and now < world.over_at
        is_silent = world.over_at is not None and world.heard_at < world.over_at
        is_away = not has_lease and (is_silent or not world.is_connected)
        is_there = not (world.has_left or is_away or world.is_draining or world.is_stopped) and has_lease
        is_current = world.behind_since is None or now - world.behind_since < 1
        if not is_there or not is_current:
            self.streak_began = None
        elif self.streak_began is None:
            self.streak_began = now
        if world.has_left:
            self.must_prove_itself = False
            return GONE
        if is_away:
            silent_s = now - world.heard_at
            is_gone = not world.is_connected and silent_s >= 30
            self.must_prove_itself = not is_gone
            return GONE if is_gone else DETACHED
        if world.is_draining:
            self.must_prove_itself = True
            return DRAINING
        if world.is_stopped:
            self.must_prove_itself = True
            return LAGGING
        if not has_lease:
            self.must_prove_itself = self.must_prove_itself or self.state in (SERVING, LAGGING)
            return JOINING
        if self.state is SERVING:
            is_behind = world.behind_since is not None and now - world.behind_since >= 3
            self.must_prove_itself = is_behind
            return LAGGING if is_behind else SERVING
        needed_s = 5 if self.must_prove_itself else 0
        if self.streak_began is not None and now - self.streak_began >= needed_s:
            return SERVING
        return LAGGING if self.state is LAGGING else JOINING


EVENTS = st.sampled_from(("connect", "heartbeat", "apply all", "apply some", "record")) | st.sampled_from(
    ("heartbeat", "apply all", "record", "cut", "drain", "stop", "leave")
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 12), EVENTS), max_size=25), st.sets(st.integers(0, 300)), st.integers(0, 60))
def test_it_is_what_a_look_at_every_second_would_find(
    events: list[tuple[int, str]], extra_looks: set[int], rest_s: int
) -> None:
    world, plain = World(), PlainNode()
    plain.look(world, 0)
    found = next_condition(world.evidence(), None, 0, SETTINGS)
    now = 0
    for wait_s, event in [*events, (rest_s, "nothing")]:
        for _ in range(wait_s):
            now += 1
            plain.look(world, now)
            if now in extra_looks:
                found = next_condition(world.evidence(), found, now, SETTINGS)
        if event != "record":  # nobody looks at every node because of a record
            found = next_condition(world.evidence(), found, now, SETTINGS)
        world.play(event, now)
        plain.look(world, now)
        if event != "record":
            found = next_condition(world.evidence(), found, now, SETTINGS)
    assert (found.state, found.since) == (plain.state, plain.since)
