"""What a DNS process knows of the fleet: control's word, its own checks, frozen lag, shares that rise slowly."""

from __future__ import annotations

import msgspec
import pytest

from cdn.dns.choice import Choice, Family
from cdn.dns.fleet_nodes import SeenFleet, UnreadableView, read_view
from cdn.dns.fleet_state import FleetState
from cdn.fleet.condition import NodeState
from cdn.fleet.view import FREEZE_AFTER_S, THAW_AFTER_S
from cdn.fleet.withdrawal import RAMP_S, ShareReason
from tests.dns.fleets import asked, node, seen, site, texts

NOBODY: frozenset[str] = frozenset()


def fractions(state: FleetState) -> dict[str, float]:
    return {each.node.member.node_id: round(each.share.fraction, 3) for each in state.shares()}


def named(choice: Choice | None) -> set[str]:
    """Everybody who is in some answer."""
    assert choice is not None
    found: set[str] = set()
    for number in range(3000):
        found |= texts(asked(choice, site(), Family.IPV4, f"10.{number >> 8}.{number & 255}.1")) or set()
    return found


def test_without_a_word_nothing_is_known() -> None:
    state = FleetState(None, 4, 0.0)
    assert state.look(NOBODY, 1.0) is None
    assert (state.is_frozen, state.was_heard, state.shares()) == (True, False, ())


def test_the_first_word_counts_whole() -> None:
    state = FleetState(None, 4, 0.0)
    state.hear(seen(node(1), node(2, state=NodeState.JOINING)), 1.0)
    choice = state.look(NOBODY, 1.0)
    assert named(choice) == {"192.0.2.1"}
    assert fractions(state) == {"n1": 1.0, "n2": 0.0}
    assert (state.is_frozen, state.was_heard) == (False, True)
    assert state.addresses == {"192.0.2.1", "192.0.2.2"}
    assert state.look(NOBODY, 1.5) is choice, "nothing changed"


def test_a_node_that_is_down_for_this_process_is_in_no_answer_and_rises_when_it_is_back() -> None:
    state = FleetState(None, 4, 0.0)
    state.hear(seen(node(1), node(2)), 0.0)
    state.look(NOBODY, 0.0)
    assert named(state.look(frozenset({"192.0.2.2"}), 1.0)) == {"192.0.2.1"}
    assert fractions(state) == {"n1": 1.0, "n2": 0.0}
    state.hear(seen(node(1), node(2)), 2.0)
    state.look(NOBODY, 2.0)
    assert fractions(state) == {"n1": 1.0, "n2": 0.1}
    choices = []
    for second in range(int(RAMP_S) + 2):
        state.hear(seen(node(1), node(2)), 2.0 + second)
        choices.append(state.look(NOBODY, 2.0 + second))
    assert fractions(state) == {"n1": 1.0, "n2": 1.0}
    assert len(set(map(id, choices))) <= 20, "a ramp is followed in steps"


def test_an_address_that_is_down_leaves_and_the_node_stays_with_its_others() -> None:
    state = FleetState(None, 4, 0.0)
    state.hear(seen(node(1, addresses=("192.0.2.1", "192.0.2.101"))), 0.0)
    assert named(state.look(frozenset({"192.0.2.1"}), 0.0)) == {"192.0.2.101"}


def test_lag_takes_out_a_third_at_the_most() -> None:
    state = FleetState(None, 4, 0.0)
    nodes = [node(number) for number in range(1, 4)]
    state.hear(seen(*nodes), 0.0)
    state.look(NOBODY, 0.0)
    lagging = [node(number, state=NodeState.LAGGING, lag_s=float(number)) for number in range(1, 4)]
    state.hear(seen(*lagging), 1.0)
    state.look(NOBODY, 1.0)
    assert fractions(state) == {"n1": 1.0, "n2": 1.0, "n3": 0.0}


def test_when_control_is_away_lag_is_frozen_and_checks_are_not() -> None:
    state = FleetState(None, 4, 0.0)
    state.hear(seen(node(1), node(2), node(3), node(4, state=NodeState.LAGGING, lag_s=9.0)), 10.0)
    before = state.look(NOBODY, 10.0)
    assert named(before) == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
    assert state.look(NOBODY, 10.0 + FREEZE_AFTER_S) is before
    assert state.look(NOBODY, 5000.0) is before
    assert named(state.look(frozenset({"192.0.2.1"}), 5001.0)) == {"192.0.2.2", "192.0.2.3"}
    back = 6000.0
    all_detached = seen(*(node(number, state=NodeState.DETACHED) for number in (1, 2, 3, 4)))
    state.hear(all_detached, back)
    state.look(NOBODY, back)
    assert (state.is_frozen, fractions(state)["n4"]) == (True, 0.0), "heartbeats need time to come in"
    state.hear(seen(node(1), node(2), node(5)), back + THAW_AFTER_S)
    state.look(NOBODY, back + THAW_AFTER_S)
    assert (state.is_frozen, set(fractions(state))) == (False, {"n1", "n2", "n5"})


def test_a_control_that_does_not_hear_the_journal_is_no_word() -> None:
    state = FleetState(None, 4, 0.0)
    state.hear(seen(node(1)), 0.0)
    state.look(NOBODY, 0.0)
    state.hear(seen(node(2), is_frozen=True), FREEZE_AFTER_S)
    state.look(NOBODY, FREEZE_AFTER_S)
    assert (state.is_frozen, set(fractions(state))) == (True, {"n1"})


def test_what_was_kept_counts_until_control_was_heard_for_a_while() -> None:
    state = FleetState(seen(node(1), node(2, state=NodeState.LAGGING, lag_s=5.0)), 4, 100.0)
    assert named(state.look(NOBODY, 100.0)) == {"192.0.2.1", "192.0.2.2"}, "a third of a region is not a whole node"
    assert (state.is_frozen, state.was_heard) == (True, False)
    state.hear(seen(node(3)), 101.0)
    state.look(NOBODY, 101.0)
    assert (state.is_frozen, state.was_heard, set(fractions(state))) == (True, True, {"n1", "n2"})
    state.hear(seen(node(3)), 101.0 + THAW_AFTER_S)
    state.look(NOBODY, 101.0 + THAW_AFTER_S)
    assert set(fractions(state)) == {"n3"}


def test_without_an_address_a_node_has_no_weight_in_its_region() -> None:
    raw = msgspec.json.encode(
        {
            "number": 3,
            "frozen": False,
            "seen_at": 1.0,
            "nodes": [
                {"node": "n1", "region": "", "addresses": [], "weight": 900, "state": "serving", "lag_s": 0.0},
                {"node": "n2", "region": "", "addresses": ["2001:db8::2"], "weight": 1, "state": "lagging", "lag_s": 1},
                {
                    "node": "n3",
                    "region": "",
                    "addresses": ["192.0.2.3"],
                    "weight": 1,
                    "state": "unheard-of",
                    "lag_s": 0,
                },
            ],
        }
    )
    view = read_view(raw)
    assert [each.member.weight for each in view.nodes] == [0.0, 1.0, 1.0]
    assert view.nodes[2].member.state is NodeState.JOINING, "a state of a later release is none of service"
    assert view.nodes[1].packed == (bytes.fromhex("20010db8000000000000000000000002"),)
    state = FleetState(None, 4, 0.0)
    state.hear(view, 0.0)
    state.look(NOBODY, 0.0)
    reasons = {each.node.member.node_id: each.share.reason for each in state.shares()}
    assert reasons["n1"] is ShareReason.UNWEIGHTED


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'{"number":1,"frozen":false,"nodes":[{}]}',
        b'{"number":1,"frozen":false,"nodes":[{"node":"a","region":"","addresses":["x"],"weight":1,"state":"serving","lag_s":0}]}',
    ],
)
def test_what_is_no_view_is_refused(raw: bytes) -> None:
    with pytest.raises(UnreadableView, match="cannot be read"):
        read_view(raw)


def test_an_empty_fleet_is_a_fleet() -> None:
    state = FleetState(None, 4, 0.0)
    state.hear(SeenFleet(0, False, ()), 0.0)
    choice = state.look(NOBODY, 0.0)
    assert choice is not None
    assert asked(choice, site(), Family.IPV4, "192.0.2.1") is None
