"""Every scenario file, against a real edge of each size."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.language import read_scenario
from tests.scenarios.play import play
from tests.scenarios.site import Sites

FILES = sorted((Path(__file__).parent / "files").glob("*.scenario"))

CROSSING = (
    *("client-that-leaves", "collapse-in-the-middle", "collapse-before", "content-coding-by", "head-misses"),
    *("host-of-the-visitor", "if-none-match", "if-range", "interim", "methods", "post-that", "purge-", "ranges."),
    *("request-content", "slow-client", "stale-while-revalidate", "trailers", "unsafe-methods", "upstream-closes-at"),
    *("upstream-resets", "vary.", "waiters-of"),
)
"""Scenarios of what is most different when a worker is between visitor and node: content both ways, interim responses
and trailers, those who leave or are slow, and whatever makes obsolete what is in memory. All the others are played over
workers by `make soak`."""


PASSING_ON = (
    *("client-that-leaves", "interim", "purge-during", "ranges.", "trailers", "unsafe-methods-invalidate"),
    *("upstream-resets", "vary.", "waiters-go"),
)
"""Scenarios of what is most different when another node is between edge and upstream. All the others are played so by
`make soak`."""

OTHER_THROUGH_A_SHIELD = frozenset({"validation-of-several-variants"})
"""A 304 of the upstream's that says nothing of Vary updates variants with one strong entity tag and different Vary. A
shield's is about one of them and says its Vary, as it has to (RFC 9110 section 15.4.5): others are asked for anew."""


def behind_a_shield(file: Path) -> object:
    marks = () if file.name.startswith(PASSING_ON) else (pytest.mark.soak,)
    return pytest.param(file, id=file.stem, marks=marks)


def over_workers(file: Path) -> object:
    marks = () if file.name.startswith(CROSSING) else (pytest.mark.soak,)
    return pytest.param(file, id=file.stem, marks=marks)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_scenario(file: Path, sites: Sites) -> None:
    await play(read_scenario(file.read_text()), sites.new)


@pytest.mark.parametrize("file", [over_workers(file) for file in FILES])
async def test_scenario_over_workers(file: Path, sites_of_workers: Sites) -> None:
    await play(read_scenario(file.read_text()), sites_of_workers.new)


@pytest.mark.parametrize("file", [behind_a_shield(file) for file in FILES if file.stem not in OTHER_THROUGH_A_SHIELD])
async def test_scenario_behind_a_shield(file: Path, sites_behind_a_shield: Sites) -> None:
    await play(read_scenario(file.read_text()), sites_behind_a_shield.new)
