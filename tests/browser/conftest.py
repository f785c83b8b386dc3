"""Two builds of one application, by a real bundler: with other content, and so with other names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.bundler import build
from tests.e2e.running import RunningCdn


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the builds "one" and "two"."""
    return {name: build(name, tmp_path_factory.mktemp(name)) for name in ("one", "two")}


@pytest.fixture
def start_cdn(tmp_path: Path) -> Iterator[Callable[..., RunningCdn]]:
    """Makes `cdn up` processes of the test's own; whatever still runs is ended."""
    made: list[RunningCdn] = []

    def start(*options: str) -> RunningCdn:
        folder = tmp_path / f"up-{len(made)}"
        folder.mkdir()
        cdn = RunningCdn(folder, options=options)
        made.append(cdn)
        cdn.start()
        return cdn

    yield start
    for cdn in made:
        cdn.kill()
