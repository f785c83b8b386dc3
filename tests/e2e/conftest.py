"""A running CDN per test module: tests in one module use sites of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.running import RunningCdn


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCdn]:
    """One `cdn up` for the module."""
    cdn = RunningCdn(tmp_path_factory.mktemp("up"))
    cdn.start()
    yield cdn
    cdn.stop()


@pytest.fixture
def start_cdn(tmp_path: Path) -> Iterator[Callable[..., RunningCdn]]:
    """Makes `cdn up` processes of the test's own; whatever still runs is ended."""
    made: list[RunningCdn] = []

    def start(*options: str, name: str = "up", **environ: str) -> RunningCdn:
        folder = tmp_path / name
        folder.mkdir()
        cdn = RunningCdn(folder, options=options, environ=environ)
        made.append(cdn)
        cdn.start()
        return cdn

    yield start
    for cdn in made:
        cdn.kill()
