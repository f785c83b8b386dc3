"""Descriptors of mapped files that are sent again and again.

A mapping has one of its own, but nobody else may use that. Opening the file anew costs 6 us each MiB that is sent.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict

from cdn.edge.mapped_file import MappedFile, OpenFile

MAX_OPEN_FILES = 128
"""Kept by one listener: what is sent again and again, within an eighth of the descriptors that a process mostly has."""


class OpenFiles:
    """Of the files used last. What is being sent stays open, and so does nothing whose mapping is gone."""

    def __init__(self, max_files: int = MAX_OPEN_FILES) -> None:
        self._max_files = max_files
        self._mapped: OrderedDict[int, weakref.ref[MappedFile]] = OrderedDict()

    def of(self, content: bytes | memoryview) -> OpenFile | None:
        """The very file that is mapped, whose whole content this is.

        None when it is a part, no file's, or when the file lies there no more: then only the mapping has it.
        """
        mapped = content.obj if isinstance(content, memoryview) else None
        if not isinstance(mapped, MappedFile) or len(content) != len(mapped):
            return None
        file, key = mapped.opened, id(mapped)
        if file is None:
            file = _opened(mapped)
            if file is None:
                return None
            mapped.opened = file
            self._mapped[key] = weakref.ref(mapped)
        if key in self._mapped:
            self._mapped.move_to_end(key)
        while len(self._mapped) > self._max_files:
            _, place = self._mapped.popitem(last=False)
            if (left := place()) is not None:
                left.opened = None
        return file


def _opened(mapped: MappedFile) -> OpenFile | None:
    try:
        file = OpenFile(os.open(mapped.path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return None
    facts = os.fstat(file.descriptor)
    return file if facts.st_ino == mapped.inode and facts.st_size == len(mapped) else None
