"""A machine that slept serves nothing by a lease that ran out meanwhile (DESIGN I9)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cdn.edge.clocks import BOOT_CLOCK, machine_clocks
from tests.simulation.story import Event, Kind, Story
from tests.simulation.world import play


def test_a_node_that_slept_shows_what_was_deployed_meanwhile(control_folder: Path) -> None:
    """Its prepared hits end with its lease, though its timers stood still."""
    events = (
        Event(2.0, Kind.DEPLOY, "bundle-validate", 0.0, 1),
        Event(2.7, Kind.SLEEP, "edge-1", 9.1, 2),
        Event(8.1, Kind.DEPLOY, "bundle-validate", 0.0, 3),
    )
    for seed in range(86, 92):
        outcome = play(Story(seed, ("edge-1", "edge-2"), False, 0.005, events), control_folder)
        assert outcome.faults == ()


def test_all_that_a_node_times_goes_on_while_it_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def gettime(clock: int) -> float:
        asked.append(clock)
        return 12.0

    monkeypatch.setattr(time, "clock_gettime", gettime)
    assert machine_clocks().monotonic() == 12.0
    assert asked == [BOOT_CLOCK]
