"""Chunks as files: one file per chunk, complete or not there, mapped when large.

A file's name says which key, which admission and which chunk it holds; nothing but its digest says that it is whole.
Files are not synced: a crash of the machine may leave one torn, and its first opening afterwards finds that out.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cdn.edge.mapped_file import map_file
from cdn.edge.stored import Content

SHARDS = 4096
"""Folders the files are spread over: about 250 files each when the tier holds a million."""

MAPPED_BYTES = 64 * 1024
"""Chunks from this size on are mapped; below it a copy is cheaper than a mapping and needs no descriptor."""

BLOCK_BYTES = 4096
"""What a file's size is rounded up to when the tier counts what it holds."""

NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT))
"""Errors that mean: the disk takes no more now."""


class ReadFault(Enum):
    """Why a chunk's file gave nothing."""

    MISSING = "missing"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"  # the system refused (descriptors, permissions, a failing disk)


@dataclass(frozen=True, slots=True)
class ChunkName:
    """Which chunk of which admission of which key. `fingerprint` is StoredKey.fingerprint()."""

    fingerprint: bytes
    incarnation: int
    number: int

    @property
    def shard(self) -> str:
        return self.fingerprint.hex()[:3]

    def file_name(self) -> str:
        return f"{self.fingerprint.hex()}-{self.incarnation:x}-{self.number}"


def parse_file_name(name: str) -> ChunkName | None:
    """The chunk a file belongs to, None when no chunk's file is called so."""
    fingerprint, _, rest = name.partition("-")
    incarnation, _, number = rest.partition("-")
    try:
        parsed = ChunkName(bytes.fromhex(fingerprint), int(incarnation, 16), int(number))
    except ValueError:
        return None
    return parsed if parsed.file_name() == name else None


def shard_names() -> Iterator[str]:
    """The names of all folders, in order."""
    return (f"{number:03x}" for number in range(SHARDS))


def held_bytes(size_bytes: int) -> int:
    """What a file of this size takes on the disk."""
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


class ContentFolder:
    """The files below one folder. Every method blocks; call them off the event loop. Safe in several threads."""

    def __init__(self, root: Path) -> None:
        self._content = root / "content"
        self._incoming = root / "incoming"
        self._serial = itertools.count()

    def prepare(self) -> None:
        """Make the folders, and clear away what a killed process was writing."""
        self._content.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(exist_ok=True)

    def clear(self) -> None:
        """Remove every chunk."""
        shutil.rmtree(self._content, ignore_errors=True)
        self._content.mkdir(parents=True, exist_ok=True)

    def path(self, name: ChunkName) -> Path:
        """Where a chunk lies."""
        return self._content / name.shard / name.file_name()

    def write(self, name: ChunkName, content: Content) -> None:
        """Put a chunk in its place in one step. Raises OSError; then nothing is left behind."""
        incoming = self._incoming / f"{next(self._serial)}"
        try:
            with incoming.open("xb", buffering=0) as file:
                left = memoryview(content)
                while left:
                    left = left[file.write(left) :]
            path = self.path(name)
            try:
                incoming.replace(path)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                incoming.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                incoming.unlink(missing_ok=True)
            raise

    def read(self, name: ChunkName, size_bytes: int, digest: str | None) -> Content | ReadFault:
        """A chunk's content; checked against `digest` unless that is None. A damaged file is removed."""
        try:
            content = self._load(name, size_bytes)
        except FileNotFoundError:
            return ReadFault.MISSING
        except OSError:
            return ReadFault.UNREADABLE
        if content is not None and (digest is None or hashlib.sha256(content).hexdigest() == digest):
            return content
        self.remove(name)
        return ReadFault.DAMAGED

    def _load(self, name: ChunkName, size_bytes: int) -> Content | None:
        with self.path(name).open("rb", buffering=0) as file:
            # A mapping beyond the end of a file kills the process at the first touch: the size comes first.
            if os.fstat(file.fileno()).st_size != size_bytes:
                return None
            if size_bytes < MAPPED_BYTES:
                return file.read(size_bytes)
            return map_file(file.fileno(), size_bytes, self.path(name))

    def remove(self, name: ChunkName) -> bool:
        """Remove a chunk's file; False when there was none, or the system refused (then a later scan meets it)."""
        try:
            self.path(name).unlink()
        except OSError:
            return False
        return True

    def held_bytes(self, name: ChunkName) -> int:
        """What a chunk's file takes on the disk, 0 when there is none."""
        try:
            return held_bytes(self.path(name).stat().st_size)
        except OSError:
            return 0

    def is_older(self, name: ChunkName, wall_s: float) -> bool:
        """Whether the file was written before that wall time."""
        try:
            return self.path(name).stat().st_mtime < wall_s
        except OSError:
            return False

    def list_shard(self, shard: str) -> tuple[list[ChunkName], int]:
        """The chunks that lie in one folder, and how many foreign files were removed from it."""
        names: list[ChunkName] = []
        foreign = 0
        try:
            entries = list(os.scandir(self._content / shard))
        except OSError:
            return names, 0
        for entry in entries:
            name = parse_file_name(entry.name)
            if name is not None and name.shard == shard:
                names.append(name)
            elif entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    Path(entry.path).unlink()
                    foreign += 1
        return names, foreign

    def free_some(self, wanted_bytes: int) -> int:
        """Remove chunks, whichever come first, until that many bytes are free. For a start on a full disk."""
        freed = 0
        for shard in shard_names():
            for name in self.list_shard(shard)[0]:
                try:
                    size_bytes = self.path(name).stat().st_size
                except OSError:
                    continue
                if self.remove(name):
                    freed += held_bytes(size_bytes)
                if freed >= wanted_bytes:
                    return freed
        return freed
