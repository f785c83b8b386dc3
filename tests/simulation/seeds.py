"""Many seeds one after another, and what is told of the first that fails."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.shrinking import shrunk
from tests.simulation.story import story_of
from tests.simulation.world import Outcome, play


@dataclass(frozen=True, slots=True)
class Played:
    """`judged`: answers that came after an acknowledgement. `told`: how the first failure is seen again; None: none."""

    seeds: int
    judged: int
    told: str | None


def play_seeds(seeds: Iterable[int]) -> Played:
    """Up to the first that fails. May run in a process of its own."""
    played, judged = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            outcome = play(story_of(seed), Path(folder))
            played, judged = played + 1, judged + outcome.judged
            if outcome.faults:
                return Played(played, judged, _told(outcome, Path(folder)))
    return Played(played, judged, None)


def _told(outcome: Outcome, folder: Path) -> str:
    short = play(shrunk(outcome.story, lambda story: bool(play(story, folder).faults)), folder)
    lines = [
        f"play it again with: pytest tests/simulation --seed {outcome.story.seed}",
        *outcome.faults[:10],
        "",
        "made shorter:",
        str(short.story),
        *short.faults[:10],
    ]
    return "\n".join(lines)
