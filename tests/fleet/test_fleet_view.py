"""The view is frozen while the journal is lost, and for a while after it is back."""

from __future__ import annotations

from cdn.fleet.condition import NodeState
from cdn.fleet.view import FREEZE_AFTER_S, THAW_AFTER_S, FleetView, next_view
from cdn.fleet.withdrawal import Member

CURRENT = (Member("a", "eu", 1.0, NodeState.SERVING),)
LOST = (Member("a", "eu", 1.0, NodeState.DETACHED, 30.0),)


def test_the_first_view_is_what_there_is() -> None:
    assert next_view(None, CURRENT, journal_heard_at=0.0, now=500.0) == FleetView(CURRENT, 500.0)


def test_while_the_journal_is_lost_nothing_is_learned_about_lag() -> None:
    view = next_view(None, CURRENT, 100.0, 100.0)
    view = next_view(view, CURRENT, 100.0, 100.0 + FREEZE_AFTER_S - 0.1)
    assert view == FleetView(CURRENT, 104.9)
    for now in (100.0 + FREEZE_AFTER_S, 110.0, 9_000.0):
        view = next_view(view, LOST, 100.0, now)
        assert view == FleetView(CURRENT, 104.9, is_frozen=True)


def test_it_thaws_once_the_journal_has_been_back_for_a_while() -> None:
    view = FleetView(CURRENT, 100.0, is_frozen=True)
    view = next_view(view, LOST, 200.0, 200.0)
    assert view == FleetView(CURRENT, 100.0, is_frozen=True, heard_again_at=200.0)
    view = next_view(view, LOST, 203.0, 200.0 + THAW_AFTER_S - 0.1)
    assert view.is_frozen
    assert next_view(view, LOST, 204.0, 200.0 + THAW_AFTER_S) == FleetView(LOST, 205.0)


def test_a_journal_that_goes_again_is_waited_for_again() -> None:
    view = FleetView(CURRENT, 100.0, is_frozen=True, heard_again_at=200.0)
    view = next_view(view, LOST, 200.0, 200.0 + FREEZE_AFTER_S)
    assert view == FleetView(CURRENT, 100.0, is_frozen=True)
    assert next_view(view, LOST, 300.0, 300.0).heard_again_at == 300.0
