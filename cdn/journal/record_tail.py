"""The newest records of a node's copy: a file that each batch goes into with one synced write (DESIGN I3, I11).

A commit of SQLite writes pages, and the file grows: two to three times the processor's and the disk's time of one write
into room that is there already. So records come here first, and into the database together (see `Replica`).

The file: 16 bytes of head, eight of them random, then one entry per record: length and sequence of the content, a
CRC-32 over both, the content and the CRC before it (the head's, for the first), the content. The CRCs are a chain: what
stood there from before a reset or a cut is no continuation, so nothing has to be overwritten to be forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import queue
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from cdn.errors import Unavailable

GROWTH_BYTES = 256 * 1024
"""Room made at a time, filled with zeros: a write into it changes nothing that the file system has to write as well."""

MAX_KEPT_BYTES = 8 * 1024 * 1024
"""A longer file is cut to this when it begins anew."""

_MAGIC = b"CDNTAIL1"
_HEAD_BYTES = 16
_ENTRY = struct.Struct("<IQI")
_CHECKED = struct.Struct("<IQ")
_END = bytes(_ENTRY.size)

Entry = tuple[int, bytes]
"""A record's sequence, and the record encoded."""

_Result = TypeVar("_Result")
_Work = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any] | None]
"""Who waits, and for what; None: for the end of the thread."""


class RecordTail:
    """Entries in the order in which they were appended; those that returned from `append` survive power loss.

    One call at a time. Every call raises what `failure` makes when the file cannot be written or read; then nothing
    of the call counts, and the next may succeed.
    """

    def __init__(self, path: Path, failure: Callable[[str], Unavailable]) -> None:
        self.path = path
        self._failure = failure
        self._descriptor: int | None = None
        self._size_bytes = 0
        self._end = _HEAD_BYTES
        self._check = 0
        self._is_closed = False
        self._work: queue.SimpleQueue[_Work] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def size_bytes(self) -> int:
        """What its entries take."""
        return self._end - _HEAD_BYTES

    async def read(self, most: int) -> list[Entry]:
        """The next `most` entries, from the first on; none at the end. What was not read is overwritten by `append`."""
        return await self._run(lambda: self._read(most))

    async def append(self, entries: Sequence[Entry]) -> None:
        """Add entries; when this returns they are durable."""
        await self._run(lambda: self._append(entries))

    async def cut(self, through: int) -> None:
        """Forget the entries after sequence `through`, durably."""
        await self._run(lambda: self._cut(through))

    async def reset(self) -> None:
        """Forget everything, durably."""
        await self._run(self._reset)

    async def rewind(self) -> None:
        """Read from the first entry again."""
        await self._run(self._rewind)

    async def aclose(self) -> None:
        """Finish what was begun and close. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._thread is not None:
            await self._given(None)

    async def _run(self, job: Callable[[], _Result]) -> _Result:
        if self._is_closed:
            raise self._failure(f"{self.path} is closed")
        outcome: _Result = await self._given(lambda: self._try(job))
        return outcome

    def _given(self, job: Callable[[], Any] | None) -> asyncio.Future[Any]:
        """The job's outcome, on a thread of its own: handing it over costs a third of what an executor takes."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=f"tail-{self.path.stem}", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        self._work.put((loop, done, job))
        return done

    def _serve(self) -> None:
        is_over = False
        while not is_over:
            loop, done, job = self._work.get()
            outcome: object = None
            fault: BaseException | None = None
            try:
                if job is None:
                    is_over = True
                    self._close()
                else:
                    outcome = job()
            except BaseException as exc:  # noqa: BLE001 - handed to who waits
                fault = exc
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who waited
                loop.call_soon_threadsafe(_settle, done, outcome, fault)

    def _try(self, job: Callable[[], _Result]) -> _Result:
        try:
            if self._descriptor is None:
                self._open()
            return job()
        except OSError as exc:
            raise self._failure(f"{self.path}: {exc.strerror or exc}") from exc

    # On the thread.

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_DSYNC | os.O_CLOEXEC, 0o600)
        try:
            _sync_folder(self.path.parent)  # of one that is there too: who made it may have died before this
            self._size_bytes = os.fstat(descriptor).st_size
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._rewind()

    def _rewind(self) -> None:
        head = os.pread(self._file, _HEAD_BYTES, 0)
        if len(head) < _HEAD_BYTES or not head.startswith(_MAGIC):  # new, or its first write was cut short
            self._reset()
            return
        self._end, self._check = _HEAD_BYTES, crc32(head)

    def _reset(self) -> None:
        head = _MAGIC + os.urandom(_HEAD_BYTES - len(_MAGIC))
        self._write(head, 0)
        self._end, self._check = _HEAD_BYTES, crc32(head)
        if self._size_bytes > MAX_KEPT_BYTES:
            os.ftruncate(self._file, MAX_KEPT_BYTES)
            self._size_bytes = MAX_KEPT_BYTES

    def _read(self, most: int) -> list[Entry]:
        return list(itertools.islice(self._entries(), most))

    def _entries(self) -> Iterator[Entry]:
        """Those from where it stands on; it stands behind each that was taken."""
        while True:
            fixed = os.pread(self._file, _ENTRY.size, self._end)
            if len(fixed) < _ENTRY.size or fixed == _END:
                return
            length, sequence, check = _ENTRY.unpack(fixed)
            if self._end + len(fixed) + length > self._size_bytes:
                return
            content = os.pread(self._file, length, self._end + len(fixed))
            if check != _check_of(self._check, sequence, content):
                return
            self._end += len(fixed) + length
            self._check = check
            yield sequence, content

    def _append(self, entries: Sequence[Entry]) -> None:
        check = self._check
        parts: list[bytes] = []
        for sequence, content in entries:
            check = _check_of(check, sequence, content)
            parts += (_ENTRY.pack(len(content), sequence, check), content)
        parts.append(_END)  # what was cut off there may have been the very same, and what came after it would follow
        written = b"".join(parts)
        self._make_room(self._end + len(written))
        self._write(written, self._end)
        self._end += len(written) - len(_END)
        self._check = check

    def _cut(self, through: int) -> None:
        self._rewind()
        end, check = self._end, self._check
        for sequence, _ in self._entries():
            if sequence > through:
                break
            end, check = self._end, self._check
        self._end, self._check = end, check
        if end + len(_END) <= self._size_bytes:
            self._write(_END, end)

    def _make_room(self, end: int) -> None:
        while self._size_bytes < end:
            self._write(bytes(GROWTH_BYTES), self._size_bytes)

    def _write(self, content: bytes, offset: int) -> None:
        """Durable when it returns: the file was opened so."""
        view = memoryview(content)
        while view:
            written = os.pwrite(self._file, view, offset)
            view = view[written:]
            offset += written
            self._size_bytes = max(self._size_bytes, offset)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @property
    def _file(self) -> int:
        assert self._descriptor is not None
        return self._descriptor


def _check_of(before: int, sequence: int, content: bytes) -> int:
    return crc32(content, crc32(_CHECKED.pack(len(content), sequence), before))


def _settle(done: asyncio.Future[object], outcome: object, fault: BaseException | None) -> None:
    if done.done():
        return  # who waited was cancelled
    if fault is None:
        done.set_result(outcome)
    else:
        done.set_exception(fault)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
