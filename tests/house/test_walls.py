"""The walls of the house: imports run downward, neighbours do not know each other, pure rooms touch nothing."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "cdn"

FLOOR_OF = {
    "http": 0,
    "sites": 1,
    "fleet": 2,
    "journal": 3,
    "origin": 3,
    "purge": 4,
    "tls": 4,
    "control": 5,
    "edge": 5,
    "dns": 5,
    "publish": 5,
    "cli": 6,
}
"""Each room's row in the picture of ARCHITECTURE.md: a room imports rooms of lower rows only."""

PURE_ROOMS = ("http", "sites", "fleet")

FORBIDDEN_IN_PURE_ROOMS = frozenset(
    {"asyncio", "socket", "ssl", "os", "pathlib", "time", "random", "secrets", "threading", "subprocess", "sqlite3"}
    | {"io", "tempfile", "shutil", "selectors", "signal", "uuid", "logging", "concurrent", "multiprocessing"}
)


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def imports_of(tree: ast.Module) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            found.append((node.lineno, node.module or ""))
    return found


def broken_walls(room: str, tree: ast.Module) -> list[str]:
    """Every import of a module in `room` that crosses a wall."""
    faults: list[str] = []
    for line, name in imports_of(tree):
        parts = name.split(".")
        if parts[0] == "cdn":
            other = parts[1] if len(parts) > 1 else ""
            if other in FLOOR_OF and other != room and FLOOR_OF[other] >= FLOOR_OF[room]:
                faults.append(f"line {line}: {room} imports {name}")
        elif room in PURE_ROOMS and (parts[0] not in sys.stdlib_module_names or parts[0] in FORBIDDEN_IN_PURE_ROOMS):
            faults.append(f"line {line}: the pure room {room} imports {name}")
    return faults


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_wall_is_broken(path: Path) -> None:
    relative = path.relative_to(ROOT)
    if len(relative.parts) == 1:
        inside = {name for _, name in imports_of(ast.parse(path.read_text())) if name.startswith("cdn.")}
        allowed = {"cdn.cli.main"} if relative.name == "__main__.py" else set()
        assert inside <= allowed, f"{relative} stands below every room and imports none"
        return
    room = relative.parts[0]
    assert room in FLOOR_OF, f"the room {room} has no place in the house"
    assert broken_walls(room, ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("sites", "from cdn.journal.record import Record"),
        ("edge", "import cdn.control.app"),
        ("journal", "from cdn.origin import store"),
        ("http", "import time"),
        ("fleet", "import msgspec"),
    ],
)
def test_a_broken_wall_is_seen(room: str, source: str) -> None:
    assert broken_walls(room, ast.parse(source)) != []


def test_downward_imports_are_allowed() -> None:
    source = "from cdn.purge.floors import Floors\nimport cdn.http.date\nimport time"
    assert broken_walls("edge", ast.parse(source)) == []
