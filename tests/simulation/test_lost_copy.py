"""A node whose copy of the journal is lost is never behind what it acknowledged with it (DESIGN I3, I8)."""

from __future__ import annotations

from pathlib import Path

from tests.simulation.story import Event, Kind, Story
from tests.simulation.world import play


def test_a_node_that_lost_its_copy_does_not_go_back(control_folder: Path) -> None:
    """The snapshot that control sends is not one that it made for others before."""
    events = (
        *(Event(at, Kind.PURGE, "pull-serve", 0.0, int(at)) for at in (2.0, 3.0, 4.0, 5.0, 6.0)),
        Event(8.0, Kind.LOSE_COPY, "edge-2", 0.2, 6),
        Event(8.1, Kind.SLOW_DISK, "edge-2", 6.0, 7),
    )
    for seed in range(8):
        outcome = play(Story(seed, ("edge-1", "edge-2"), False, 0.05, events), control_folder)
        assert outcome.faults == ()
