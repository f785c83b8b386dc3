"""`python -m tests.browser.bundler`: installs the bundler below .venv, in the version that package.json names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.conformance.node import find_node

HERE = Path(__file__).parent
FOLDER = HERE.parent.parent / ".venv" / "bundler"
INSTALL_TIMEOUT_S = 600.0
BUILD_TIMEOUT_S = 120.0


def install() -> None:
    """As npm does it; what is there already stays."""
    node = find_node()
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "package.json", FOLDER)
    words = [*node.npm, "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    path = f"{Path(node.program).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(words, cwd=FOLDER, env={**os.environ, "PATH": path}, check=True, timeout=INSTALL_TIMEOUT_S)


def build(name: str, folder: Path) -> Path:
    """The application's build of this name: the folder to deploy."""
    program = FOLDER / "node_modules" / "vite" / "bin" / "vite.js"
    assert program.is_file(), "the bundler is not installed: python -m tests.browser.bundler"
    source = shutil.copytree(HERE / "app", folder / "source")
    subprocess.run(
        [find_node().program, str(program), "build", "--outDir", str(folder / "dist")],
        cwd=source,
        env={**os.environ, "VITE_BUILD": name},
        check=True,
        capture_output=True,
        timeout=BUILD_TIMEOUT_S,
    )
    return folder / "dist"


if __name__ == "__main__":
    install()
