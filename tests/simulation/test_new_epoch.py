"""A new epoch reaches every node, however it begins (DESIGN I3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.story import Event, Kind, Story
from tests.simulation.world import play


@pytest.mark.parametrize("kind", [Kind.RESTORE, Kind.MIGRATE])
def test_nodes_with_workers_follow_into_a_new_epoch(kind: Kind, control_folder: Path) -> None:
    """They do not say first what they had applied in the one before: control would refuse them again and again."""
    events = (
        *(Event(at, Kind.PURGE, "pull-serve", 0.0, int(at)) for at in (2.0, 3.0, 4.0)),
        Event(10.5, kind, "control", 6.0, 4),
    )
    for seed in range(3):
        outcome = play(Story(seed, ("edge-1", "edge-2"), False, 0.3, events, workers=2), control_folder)
        assert outcome.faults == ()
