"""Content that waits, bounded in memory, until it is complete."""

from __future__ import annotations

import io
import tempfile
import threading
from typing import IO


class Spool:
    """A buffer in memory, or a temporary file without a name. Every method may be called from any thread.

    The lock keeps a `close` that follows a cancelled task away from a write that still runs in its thread.
    """

    def __init__(self, *, in_memory: bool) -> None:
        self._in_memory = in_memory
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._is_closed = False

    def write(self, content: bytes) -> None:
        """Append content. Raises OSError."""
        with self._lock:
            self._opened().write(content)

    def rewound(self) -> IO[bytes]:
        """All of it as a file, at its beginning; it ends with `close`. Raises OSError."""
        with self._lock:
            file = self._opened()
            file.flush()
            file.seek(0)
            return file

    def close(self) -> None:
        """Forget the content. Any number of times."""
        with self._lock:
            self._is_closed = True
            if self._file is not None:
                self._file.close()

    def _opened(self) -> IO[bytes]:
        if self._is_closed:
            raise OSError("the spool is closed")
        if self._file is None:
            self._file = io.BytesIO() if self._in_memory else tempfile.TemporaryFile()  # noqa: SIM115
        return self._file
