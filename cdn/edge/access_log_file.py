"""The file of an access log, and the thread that writes to it.

Several processes append to one file, whole lines only: each locks it while it writes, and what a full disk or a death
in the middle of a write left of a line is taken away before the next line is written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import stat
import threading
import time
from pathlib import Path
from queue import SimpleQueue

from cdn.edge.access_line import MAX_LINE_BYTES
from cdn.edge.access_log_settings import STDOUT
from cdn.edge.fault_log import FaultLog
from cdn.errors import InvalidInput

MODE = 0o640
"""Of a file that is made: whom visitors are is for its owner and those who read logs."""

LOCK_PATIENCE_S = 1.0
"""What a writer gives others that hold the lock: a write takes a millisecond. Who holds it for longer was stopped, or
waits for a disk; then whole lines are appended without it, which the system does undivided as well."""

LOCK_LOOK_EVERY_S = 0.01
"""How often a writer that waits for the lock looks whether it is free."""

_OURS = b'{"time":"'

_log = logging.getLogger(__name__)


class AccessLogFile:
    """`offer`, `reopen` and `close` are called by one thread, the one that serves; everything else is the writer's."""

    def __init__(self, path: Path, descriptor: int, max_waiting_bytes: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._max_waiting_bytes = max_waiting_bytes
        self._offered_bytes = 0  # raised by the one who offers
        self._taken_bytes = 0  # raised by the writer: no lock is needed for either
        self._dropped_lines = 0
        self._written_lines = 0
        self._lost_lines = 0
        self._written_bytes = 0
        self._reopened = 0
        self._faults = 0
        self._lock_patience_s = LOCK_PATIENCE_S
        self._must_reopen = False
        self._fault_log = FaultLog(time.monotonic)
        self._queue: SimpleQueue[tuple[bytearray, int] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path, max_waiting_bytes: int) -> AccessLogFile:
        """Raises InvalidInput when the file can neither be made nor appended to."""
        try:
            descriptor = _open(path)
        except OSError as exc:
            raise _unwritable(path, exc.strerror) from exc
        return cls(path, descriptor, max_waiting_bytes)

    @staticmethod
    def check(path: Path) -> None:
        """Raises InvalidInput where `open` would, as far as can be told without making the file."""
        if path == STDOUT:
            return
        place = path if path.exists() else path.parent
        if not place.exists():
            fault = errno.ENOENT
        elif path.is_dir():
            fault = errno.EISDIR
        elif not path.exists() and not place.is_dir():
            fault = errno.ENOTDIR
        elif not os.access(place, os.R_OK | os.W_OK if path.exists() else os.W_OK | os.X_OK):
            fault = errno.EACCES
        else:
            return
        raise _unwritable(path, os.strerror(fault))

    def offer(self, lines: bytearray, count: int) -> None:
        """Have whole lines written, so many. Where too many wait already they are dropped, and counted.

        Who appends them counts them for less than it costs to look through them: 0.02 us each instead of 0.1.
        """
        if self._offered_bytes - self._taken_bytes + len(lines) > self._max_waiting_bytes:
            self._dropped_lines += count
            self._tell(f"{self._path} takes lines too slowly: some of the access log are dropped")
            return
        self._offered_bytes += len(lines)
        self._queue.put((lines, count))

    def reopen(self) -> None:
        """Open the file anew behind everything that was offered until now."""
        self._queue.put((bytearray(), 0))

    def close(self, timeout_s: float) -> None:
        """Return when everything is written, or after `timeout_s`: what a disk holds up then is lost, and said."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            _log.warning("%s took too long: the last lines of the access log are lost", self._path)

    @property
    def is_writing(self) -> bool:
        """Whether lines that were offered are not written yet."""
        return self._offered_bytes != self._taken_bytes

    def numbers(self) -> dict[str, int]:
        """Lines that were written, bytes of them, lines dropped because the disk was too slow, lines lost to faults."""
        return {
            "written": self._written_lines,
            "written_bytes": self._written_bytes,
            "dropped_slow": self._dropped_lines,
            "dropped_fault": self._lost_lines,
            "reopened": self._reopened,
            "faults": self._faults,
        }

    # The writer

    def _run(self) -> None:
        while True:
            offered = self._queue.get()
            if offered is None:
                os.close(self._descriptor)
                return
            lines, count = offered
            if not lines:
                self._must_reopen = self._path != STDOUT
            if self._must_reopen:
                self._open_anew()
            if lines:
                self._write(lines, count)
                self._taken_bytes += len(lines)

    def _open_anew(self) -> None:
        """Where that fails the old file is written on, and it is tried again with the next lines."""
        try:
            descriptor = _open(self._path)
        except OSError as exc:
            self._fault(
                f"the access log {self._path} cannot be opened anew: {exc.strerror}; the old file is written on"
            )
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._must_reopen = False
        self._reopened += 1

    def _write(self, lines: bytearray, count: int) -> None:
        try:
            is_file = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
            written = self._append(lines) if is_file else self._send(lines)
        except OSError as exc:
            self._fault(f"the access log cannot be written to {self._path}: {exc.strerror}")
            written = 0
        whole = count if written == len(lines) else lines.count(b"\n", 0, written)
        self._written_lines += whole
        self._written_bytes += written
        self._lost_lines += count - whole

    def _append(self, lines: bytearray) -> int:
        """To a file; how many bytes are there, whole lines. Raises OSError when nothing is."""
        if not self._lock():
            return self._append_unlocked(lines)
        try:
            begin = _mended(self._descriptor)
            written = 0
            view = memoryview(lines)
            try:
                while written < len(lines):
                    written += os.write(self._descriptor, view[written:])
            except OSError as exc:
                whole = lines.rfind(b"\n", 0, written) + 1
                self._fault(f"the access log cannot be written to {self._path}: {exc.strerror}")
                if whole < written:  # else nothing is to be taken away, and without the lock others go on behind it
                    with contextlib.suppress(OSError):  # the next one to write mends it
                        os.ftruncate(self._descriptor, begin + whole)
                return whole
            return written
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        """False when others have held it for too long; from then on it is looked for once, until it was free again."""
        end = time.monotonic() + self._lock_patience_s
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    self._lock_patience_s = 0.0
                    return False
                time.sleep(LOCK_LOOK_EVERY_S)
            else:
                self._lock_patience_s = LOCK_PATIENCE_S
                return True

    def _append_unlocked(self, lines: bytearray) -> int:
        """The same while another holds the lock. Raises OSError.

        Nothing is appended behind half a line: who holds the lock may be about to take it away, and all that is behind.
        """
        size = os.fstat(self._descriptor).st_size
        if size and _may_read(self._descriptor) and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self._fault(f"another process has held {self._path} for too long in the middle of a line: lines are lost")
            return 0
        written = os.write(self._descriptor, lines)
        return lines.rfind(b"\n", 0, written) + 1

    def _send(self, lines: bytearray) -> int:
        """To a pipe or a terminal, as many whole lines at once as a pipe takes undivided. Raises OSError."""
        begin = 0
        while begin < len(lines):
            end = (lines.rfind(b"\n", begin, begin + MAX_LINE_BYTES) + 1) or len(lines)
            while begin < end:
                try:
                    begin += os.write(self._descriptor, memoryview(lines)[begin:end])
                except BlockingIOError:  # somebody else has made it so
                    waiting = select.poll()
                    waiting.register(self._descriptor, select.POLLOUT)
                    waiting.poll()
        return begin

    def _fault(self, sentence: str) -> None:
        self._faults += 1
        self._tell(sentence)

    def _tell(self, sentence: str) -> None:
        self._fault_log.tell(sentence, sentence)


def _unwritable(path: Path, reason: str | None) -> InvalidInput:
    return InvalidInput(
        f"the access log cannot be written to {path}: {reason}; give a file in a folder that exists and that this "
        "process may write in",
        field="file",
    )


def _open(path: Path) -> int:
    """Raises OSError. Also read from: what a dead writer left is looked at. A pipe is opened though nobody reads it."""
    if path == STDOUT:
        if stat.S_ISREG(os.fstat(1).st_mode):  # or what this process prints itself would be written over lines
            fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_APPEND)
        try:
            return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError:  # a socket cannot be opened by its name
            return os.dup(1)
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, MODE)


def _mended(descriptor: int) -> int:
    """The size of the file, after the part of a line at its end is gone. Raises OSError."""
    size = os.fstat(descriptor).st_size
    if not _may_read(descriptor):
        return size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    before = min(size, MAX_LINE_BYTES)
    end = os.pread(descriptor, before, size - before)
    begin = end.rfind(b"\n") + 1
    if (begin == 0 and before < size) or not end[begin:].startswith(_OURS[: before - begin]):
        return size + os.write(descriptor, b"\n")  # no line of ours: it is left, and ends here
    os.ftruncate(descriptor, size - before + begin)
    return size - before + begin


def _may_read(descriptor: int) -> bool:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
