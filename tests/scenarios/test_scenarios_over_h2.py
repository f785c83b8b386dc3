"""Scenario files once more, by HTTP/2: in `make test` those of what is most different, in `make soak` all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.language import read_scenario
from tests.scenarios.over_h2 import H2Sites
from tests.scenarios.play import play
from tests.scenarios.site import Sites
from tests.scenarios.test_scenarios import FILES

OF_HTTP_1 = frozenset({"connection-fields"})
"""Of fields that HTTP/2 does not have."""

DIFFERENT = (
    *("client-that-leaves", "if-range", "interim", "request-content", "slow-client-and-purge", "trailers"),
    *("upstream-closes-at-every-offset.", "upstream-resets"),
)
"""Scenarios of streams: content both ways, what comes before and behind it, those who leave or are slow, and content
that breaks off."""


def by_h2(file: Path) -> object:
    marks = () if file.name.startswith(DIFFERENT) else (pytest.mark.soak,)
    return pytest.param(file, id=file.stem, marks=marks)


@pytest.mark.parametrize("file", [by_h2(file) for file in FILES if file.stem not in OF_HTTP_1])
async def test_scenario_over_h2(file: Path, sites: Sites) -> None:
    await play(read_scenario(file.read_text()), H2Sites(sites).new)
