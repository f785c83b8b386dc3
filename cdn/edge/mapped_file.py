"""Files that are mapped, and that know where they lie: another process of the node may map them too."""

from __future__ import annotations

import mmap
import os
from pathlib import Path


class MappedFile(mmap.mmap):
    """Content of a file in memory, read-only."""

    path: Path
    inode: int


def map_file(descriptor: int, size_bytes: int, path: Path) -> memoryview:
    """The content of an open file of this size. Raises OSError."""
    mapped = MappedFile(descriptor, size_bytes, prot=mmap.PROT_READ)
    mapped.path = path
    mapped.inode = os.fstat(descriptor).st_ino
    return memoryview(mapped)


def path_of(content: bytes | memoryview) -> Path | None:
    """Where the file lies whose whole content this is; None when it is not a file's."""
    if isinstance(content, memoryview) and isinstance(content.obj, MappedFile):
        return content.obj.path
    return None


def opened_again(content: bytes | memoryview) -> int | None:
    """A descriptor of the very file that is mapped, whose whole content this is: its user closes it.

    None when it is a part, no file's, or when the file lies there no more: then only the mapping has it.
    """
    mapped = content.obj if isinstance(content, memoryview) else None
    if not isinstance(mapped, MappedFile) or len(content) != len(mapped):
        return None
    try:
        descriptor = os.open(mapped.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    facts = os.fstat(descriptor)
    if facts.st_ino != mapped.inode or facts.st_size != len(mapped):
        os.close(descriptor)
        return None
    return descriptor
