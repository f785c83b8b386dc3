"""Every scenario is answered as it says."""

from __future__ import annotations

import pytest

from tests.sites.rules.scenario import FOLDER, Scenario


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.txt")))
def test_scenario(name: str) -> None:
    Scenario.read(FOLDER / f"{name}.txt").play()


def test_there_are_scenarios() -> None:
    assert len(list(FOLDER.glob("*.txt"))) > 8
