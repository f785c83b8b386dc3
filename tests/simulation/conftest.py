"""`pytest tests/simulation --seed N`, or SIMULATION_SEED=N, plays one seed again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="play this seed of the simulation alone")


@pytest.fixture
def given_seed(request: pytest.FixtureRequest) -> int | None:
    """The seed that was asked for; None: play many."""
    given: int | None = request.config.getoption("--seed", default=None)
    text = os.environ.get("SIMULATION_SEED")
    if given is None and text:
        given = int(text)
    return given


@pytest.fixture
def control_folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "control"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
