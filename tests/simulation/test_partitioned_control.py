"""A control that does not reach the journal's servers promises nothing: nodes may follow another one (DESIGN I8)."""

from __future__ import annotations

import random
from pathlib import Path

from tests.simulation.story import Event, Kind, Story
from tests.simulation.world import play

CONTROLS = ("control-1", "control-2")


def _detail(first: object, *choices: object) -> int:
    """A number by which an event draws `first` of these."""
    return next(number for number in range(100) if random.Random(number).choice(choices) == first)


def test_a_control_that_is_cut_off_gives_nobody_up(control_folder: Path) -> None:
    """A node follows the other one, has a lease, and is slow to apply."""
    away, slow = _detail("control-1", *CONTROLS), _detail(6.0, 1.5, 6.0)
    for seed in range(8):
        events = (
            Event(2.0, Kind.CUT_ONE, "edge-1", 20.0, away),
            Event(9.0, Kind.SLOW_DISK, "edge-1", 10.0, slow),
            *(Event(at, Kind.PURGE, "pull-serve", 0.0, int(at)) for at in (9.3, 9.5, 9.7, 9.9)),
            Event(10.2, Kind.CONTROL_CUT, "control-1", 8.0, 4),
        )
        outcome = play(Story(seed, ("edge-1", "edge-2"), False, 0.005, events, controls=CONTROLS), control_folder)
        assert outcome.faults == ()
