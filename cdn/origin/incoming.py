"""Bytes on their way into the store: a file nobody sees until it is complete, verified and synced."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path

ABANDONED_AFTER_S = 60.0
"""A file that no process holds is left over from a killed one after this time; younger ones may not be locked yet."""


class IncomingFile:
    """A file that is being received; made by the first write. Every method may be called from any thread.

    `discard` may come at any moment, and ends it for good. The lock keeps a `discard` that follows a cancelled task
    away from a write that still runs in its thread.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{os.getpid():x}-{secrets.token_hex(8)}"
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._is_discarded = False

    def write(self, content: bytes) -> None:
        """Append content. Raises OSError."""
        with self._lock:
            descriptor = self._opened()
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]

    def sync(self) -> None:
        """Make the content durable. Raises OSError.

        The time of change is set to the nanosecond first: it is part of the entity tag, and the kernel's own
        time stands still for milliseconds.
        """
        with self._lock:
            descriptor = self._opened()
            now_ns = time.time_ns()
            os.utime(descriptor, ns=(now_ns, now_ns))
            os.fsync(descriptor)

    def link(self, final: Path) -> bool:
        """Make the content visible under a name that is free; False when it is taken. Raises OSError."""
        with self._lock:
            self._opened()
            try:
                os.link(self.path, final)
            except FileExistsError:
                if final.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
                return False
            return True

    def replace(self, final: Path) -> None:
        """Make the content visible under a name, in place of what had it. Raises OSError."""
        with self._lock:
            self._opened()
            self.path.replace(final)

    def discard(self) -> None:
        """Close, and remove what is not visible under another name. Any number of times."""
        with self._lock:
            self._is_discarded = True
            if self._descriptor is None:
                return
            with suppress(FileNotFoundError):
                self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        if self._is_discarded:
            raise OSError(errno.EBADF, "the incoming file was discarded")
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # tells remove_abandoned that its owner lives
        return self._descriptor


def remove_abandoned(folder: Path, now: float) -> int:
    """Remove incoming files whose process is dead; returns how many. `now` is wall clock seconds. Raises OSError."""
    removed = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_mtime > now - ABANDONED_AFTER_S:
                    continue
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed += 1
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)
    return removed
