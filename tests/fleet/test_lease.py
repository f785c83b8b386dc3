"""Leases: the node's side ends before control calls it over, for any timing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdn.fleet.lease import LEASE_MARGIN_S, Lease, surely_over_at

_SECONDS = st.floats(0, 10_000, allow_nan=False)


def test_a_lease_that_never_began_does_not_run() -> None:
    assert not Lease(None, 10).is_running(0.0)
    assert surely_over_at(None, 10) is None


def test_it_runs_from_when_the_answered_heartbeat_was_sent() -> None:
    lease = Lease(None, 10).renewed(100.0)
    assert lease.is_running(100.0)
    assert lease.is_running(109.9)
    assert not lease.is_running(110.0)


def test_how_long_it_still_runs() -> None:
    assert Lease(None, 10).left_s(5.0) == 0.0
    assert Lease(100.0, 10).left_s(104.0) == 6.0
    assert Lease(100.0, 10).left_s(111.0) == -1.0


def test_a_late_answer_to_an_old_heartbeat_changes_nothing() -> None:
    lease = Lease(100.0, 10)
    assert lease.renewed(95.0) is lease
    assert lease.renewed(105.0) == Lease(105.0, 10)


def test_given_back_it_is_over_at_once() -> None:
    assert not Lease(100.0, 10).given_back().is_running(100.0)


@given(sent_at=_SECONDS, way_s=_SECONDS, back_s=_SECONDS, lease_s=_SECONDS, after_s=_SECONDS)
def test_once_control_calls_it_over_no_node_still_serves_by_it(
    sent_at: float, way_s: float, back_s: float, lease_s: float, after_s: float
) -> None:
    answered_at = sent_at + way_s  # control answers after the node sent, however long both ways take
    over_at = surely_over_at(answered_at, lease_s)
    assert over_at is not None
    assert over_at >= answered_at + lease_s + LEASE_MARGIN_S * 0.99
    assert not Lease(None, lease_s).renewed(sent_at).is_running(over_at + after_s)
