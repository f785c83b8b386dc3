"""A name server's own copies of tables, and a watch over the files that they are made from.

What is mapped must never be written again: a process that reads mapped bytes which were cut off is killed by the
system. So what users name is copied, or compiled, into a folder of the process's own first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path

from cdn.dns.geo_table import MAGIC, TABLE_VERSION, GeoTable, open_table
from cdn.errors import InvalidInput
from cdn.interpreter import module_command

COMPILE = module_command("cdn.dns.geo_compile")
"""A process of its own with a low priority, so that a minute of work does not stand in the way of answers."""

SUFFIX = ".geo"
OWN = "own-"
"""What the names of copies and of compiled tables begin with; those from control are named by their digest."""


class FileWatch:
    """Says when files are worth reading: once at the start, then whenever they changed and have come to rest."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._seen = ""
        self._taken = ""

    def look(self, *, at_once: bool = False) -> str | None:
        """A key made of the files' names, times and sizes, when they are to be read now; it is said once.

        A file that is still being written is another one at every look: two looks in a row have to find it the same,
        unless `at_once`. Raises OSError when one is not there.
        """
        facts = [(str(path), (stat := path.stat()).st_mtime_ns, stat.st_size, stat.st_ino) for path in self.paths]
        key = OWN + sha256(repr((TABLE_VERSION, facts)).encode()).hexdigest()
        is_settled = at_once or key == self._seen
        self._seen = key
        if not is_settled or key == self._taken:
            return None
        self._taken = key
        return key

    def forget(self) -> None:
        """The last key that was said was not heeded: say it again."""
        self._taken = ""


async def made_table(databases: Sequence[Path], path: Path) -> GeoTable:
    """The table of what the settings name, a table or databases, as a file of one's own at `path`; one that is there
    already is taken as it is. Raises InvalidInput, OSError."""
    table = await asyncio.to_thread(ready_table, databases, path)
    if table is not None:
        return table
    await _compile(databases, path)
    return await asyncio.to_thread(open_table, path)


def ready_table(databases: Sequence[Path], path: Path) -> GeoTable | None:
    """The same, None when it takes compiling. Raises InvalidInput, OSError."""
    with contextlib.suppress(OSError, InvalidInput):
        return open_table(path)
    return _copied(databases[0], path) if len(databases) == 1 and _is_table(databases[0]) else None


def newest_table(folder: Path) -> tuple[GeoTable, Path] | None:
    """The table that was made last of what settings named, None when there is none. Raises OSError."""
    made = sorted(folder.glob(f"{OWN}*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in made:
        with contextlib.suppress(InvalidInput):
            return open_table(path), path
    return None


def checked_table(path: Path) -> GeoTable:
    """A table from elsewhere, looked at whole. Raises InvalidInput, OSError."""
    table = open_table(path)
    try:
        table.check()
    except InvalidInput as exc:
        raise InvalidInput(f"{path} cannot be used: {exc.message}") from exc
    return table


def remove_others(folder: Path, kept: Collection[Path]) -> None:
    """Remove all tables but `kept`, and what was begun and never became one. Raises OSError."""
    for path in folder.iterdir():
        if path not in kept and (path.suffix == SUFFIX or path.name.startswith(".")):
            path.unlink(missing_ok=True)


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _copied(source: Path, path: Path) -> GeoTable:
    temporary = path.with_name(f".{path.name}")
    shutil.copyfile(source, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    try:
        checked_table(temporary)
    except InvalidInput as exc:
        temporary.unlink()
        raise InvalidInput(f"{source} cannot be used: {exc.message.partition(' cannot be used: ')[2]}") from exc
    temporary.replace(path)
    return open_table(path)


async def _compile(databases: Sequence[Path], path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMPILE, str(path), *map(str, databases), stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines()
        raise InvalidInput(lines[-1] if lines else f"compiling {' and '.join(map(str, databases))} was cut short")
