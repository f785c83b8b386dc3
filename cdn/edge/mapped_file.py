"""Files that are mapped, and that know where they lie: another process of the node may map them too."""

from __future__ import annotations

import mmap
from pathlib import Path


class MappedFile(mmap.mmap):
    """Content of a file in memory, read-only."""

    path: Path


def map_file(descriptor: int, size_bytes: int, path: Path) -> memoryview:
    """The content of an open file of this size. Raises OSError."""
    mapped = MappedFile(descriptor, size_bytes, prot=mmap.PROT_READ)
    mapped.path = path
    return memoryview(mapped)


def path_of(content: bytes | memoryview) -> Path | None:
    """Where the file lies whose whole content this is; None when it is not a file's."""
    if isinstance(content, memoryview) and isinstance(content.obj, MappedFile):
        return content.obj.path
    return None
