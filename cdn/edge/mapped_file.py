"""Files that are mapped, and that know where they lie: another process of the node may map them too."""

from __future__ import annotations

import mmap
import os
from pathlib import Path


class OpenFile:
    """A descriptor that is closed when nobody has it any more."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class MappedFile(mmap.mmap):
    """Content of a file in memory, read-only."""

    path: Path
    inode: int
    opened: OpenFile | None
    """A descriptor of it to send from, while `OpenFiles` keeps one."""


def map_file(descriptor: int, size_bytes: int, path: Path) -> memoryview:
    """The content of an open file of this size. Raises OSError."""
    mapped = MappedFile(descriptor, size_bytes, prot=mmap.PROT_READ)
    mapped.path = path
    mapped.inode = os.fstat(descriptor).st_ino
    mapped.opened = None
    return memoryview(mapped)


def path_of(content: bytes | memoryview) -> Path | None:
    """Where the file lies whose whole content this is; None when it is not a file's."""
    if isinstance(content, memoryview) and isinstance(content.obj, MappedFile):
        return content.obj.path
    return None
