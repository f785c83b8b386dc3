"""Faults are told once in a while."""

from __future__ import annotations

import logging

import pytest

from cdn.edge.fault_log import QUIET_S, FaultLog


def test_the_same_fault_is_told_once_in_a_while_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    faults = FaultLog(lambda: now)
    with caplog.at_level(logging.WARNING):
        assert faults.tell("a", "the store is down")
        assert not faults.tell("a", "the store is down")
        assert faults.tell("b", "another fault")
        now += QUIET_S
        assert faults.tell("a", "the store is down")
    assert [record.getMessage() for record in caplog.records] == [
        "the store is down",
        "another fault",
        "the store is down (1 times more since it was last said)",
    ]


def test_kinds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.edge.fault_log.MAX_KINDS", 2)
    faults = FaultLog(lambda: 0.0)
    assert [faults.tell(key, "x") for key in ("a", "b", "c", "c")] == [True, True, True, False]
    assert len(faults._told) == 1
