"""Two builds of one application, by a real bundler: with other content, and so with other names."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.running import RunningCdn

HERE = Path(__file__).parent
TOOLS = HERE.parent.parent / ".venv" / "bundler"
"""Where `make` installs what tests/browser/package.json names."""


def _built(build: str, folder: Path) -> Path:
    node = shutil.which("node") or str(TOOLS.parent / "bin" / "node")
    source = folder / "source"
    shutil.copytree(HERE / "app", source)
    subprocess.run(
        [node, str(TOOLS / "node_modules" / "vite" / "bin" / "vite.js"), "build", "--outDir", str(folder / "dist")],
        cwd=source,
        env={**os.environ, "VITE_BUILD": build},
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder / "dist"


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the builds "one" and "two"."""
    return {build: _built(build, tmp_path_factory.mktemp(build)) for build in ("one", "two")}


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
