"""Whole fleets on virtual time: nothing stale after an acknowledgement, whatever fails (DESIGN I1, I3, I8, I9, I11)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.shrinking import shrunk
from tests.simulation.story import story_of
from tests.simulation.world import Outcome, play

SEEDS_PER_TEST = 50
QUICK_TESTS = 6
SOAK_SEEDS = 5_000


@pytest.mark.parametrize("first", range(0, SEEDS_PER_TEST * QUICK_TESTS, SEEDS_PER_TEST))
def test_no_acknowledgement_is_broken_and_the_fleet_heals(
    first: int, given_seed: int | None, control_folder: Path
) -> None:
    _play_seeds(range(first, first + SEEDS_PER_TEST) if given_seed is None else [given_seed], control_folder)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_thousands_of_seeds(given_seed: int | None, control_folder: Path) -> None:
    _play_seeds(range(10_000, 10_000 + SOAK_SEEDS) if given_seed is None else [given_seed], control_folder)


def test_the_same_seed_is_the_same_run(control_folder: Path) -> None:
    outcomes = [play(story_of(seed), control_folder) for seed in (7, 7, 8)]
    assert outcomes[0] == outcomes[1] != outcomes[2]


def test_a_story_without_faults_keeps_everybody_bound(control_folder: Path) -> None:
    story = story_of(3)
    calm = replace(story, is_rude=False, events=tuple(one for one in story.events if not one.for_s))
    outcome = play(calm, control_folder)
    assert outcome.faults == ()
    assert outcome.promises > 5
    assert outcome.judged > 100


def _play_seeds(seeds: range | list[int], folder: Path) -> None:
    judged = 0
    for seed in seeds:
        outcome = play(story_of(seed), folder)
        judged += outcome.judged
        if outcome.faults:
            pytest.fail(_told(outcome, folder), pytrace=False)
    assert judged > 20 * len(seeds), "hardly an answer came after an acknowledgement: the checker sees nothing"


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
