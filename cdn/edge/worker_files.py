"""Chunk files that the node names instead of sending what is in them."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Final

from cdn.edge.mapped_file import map_file

MAX_FILES: Final = 64
"""Files kept mapped, of 1 MiB at most: what is asked for again is not mapped again. One that was removed since keeps
its room on the disk as long as it is among them."""


class LentFiles:
    """What the node has checked, mapped a second time."""

    def __init__(self, most: int = MAX_FILES) -> None:
        self._most = most
        self._mapped: OrderedDict[str, tuple[int, memoryview]] = OrderedDict()

    def part(self, path: str, size_bytes: int, start: int, stop: int) -> memoryview | None:
        """The bytes [start, stop) of a file of that size; None when it is not there, or another one."""
        found = self._mapped.get(path)
        try:
            # A chunk that was damaged is another file since; its number is not given again while the old one is mapped.
            if found is None or found[0] != Path(path).stat().st_ino:
                found = self._map(path, size_bytes)
        except OSError:
            self._mapped.pop(path, None)
            return None
        if found is None:
            return None
        self._mapped.move_to_end(path)
        return found[1][start:stop]

    def _map(self, path: str, size_bytes: int) -> tuple[int, memoryview] | None:
        self._mapped.pop(path, None)
        with Path(path).open("rb", buffering=0) as file:
            facts = os.fstat(file.fileno())
            # A mapping beyond the end of a file kills the process at the first touch: the size comes first.
            if facts.st_size != size_bytes:
                return None
            found = self._mapped[path] = facts.st_ino, map_file(file.fileno(), size_bytes, Path(path))
        if len(self._mapped) > self._most:
            self._mapped.popitem(last=False)
        return found
