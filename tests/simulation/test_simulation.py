"""Whole fleets on virtual time: nothing stale after an acknowledgement, whatever fails (DESIGN I1, I3, I8, I9, I11).

One seed draws one fleet and what happens to it: nodes of one process or several workers, one control or several over a
shared journal, a loss of all controls, sites that come and go. What each feature would let through if it were broken is
listed in docs/promises.md.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.seeds import Played, play_seeds
from tests.simulation.story import story_of
from tests.simulation.world import play

SEEDS_PER_TEST = 25
QUICK_TESTS = 48
SOAK_SEEDS = 50_000
SOAK_SEEDS_AT_ONCE = 250


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, SEEDS_PER_TEST * QUICK_TESTS, SEEDS_PER_TEST))
def test_no_acknowledgement_is_broken_and_the_fleet_heals(first: int, given_seed: int | None) -> None:
    _check(play_seeds(range(first, first + SEEDS_PER_TEST) if given_seed is None else [given_seed]))


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_tens_of_thousands_of_seeds(given_seed: int | None) -> None:
    """On every core of the machine."""
    if given_seed is not None:
        _check(play_seeds([given_seed]))
        return
    starts = range(10_000, 10_000 + SOAK_SEEDS, SOAK_SEEDS_AT_ONCE)
    pool = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"))
    try:
        for played in pool.map(play_seeds, [range(start, start + SOAK_SEEDS_AT_ONCE) for start in starts]):
            _check(played)
    finally:
        pool.shutdown(cancel_futures=True)


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


def _check(played: Played) -> None:
    if played.told is not None:
        pytest.fail(played.told, pytrace=False)
    assert played.judged > 20 * played.seeds, "hardly an answer came after an acknowledgement: the checker sees nothing"
