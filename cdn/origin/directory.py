"""Objects as files below one folder: the embedded default, nothing to install."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NoReturn, TypeVar

from cachetools import LRUCache

from cdn.errors import InvalidInput
from cdn.origin.arrival import Arrival, gathered
from cdn.origin.incoming import IncomingFile, remove_abandoned
from cdn.origin.key import check_key, check_prefix
from cdn.origin.store import (
    MAX_WHOLE_BYTES,
    ObjectFacts,
    ObjectMissing,
    PresignedPut,
    PutOutcome,
    StoreUnavailable,
    UploadTarget,
)

T = TypeVar("T")

THREADS = 16
"""Calls that run at once: most wait for the disk, and a disk syncs about so many files together."""

SCAN_PAGE = 1000
"""Objects that `scan` reads in one go."""

WRITE_BYTES = 1024 * 1024
"""How much `put_stream` gathers before it hands content to a thread: a hand-over costs more than a small write."""

MAX_SYNCED_FOLDERS = 65_536
"""Folders remembered as durable; a forgotten one is merely synced once more."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DirectoryStore:
    """An ObjectStore in `root/objects`, for any number of processes of one machine.

    A write goes to a file in `root/incoming`, which is synced, then renamed (or linked, when it may not overwrite),
    then the folder and every folder made for it are synced, and only then does the call return (DESIGN I11).
    Folders stay when their last object goes. A key may not be the folder of another key. The file system has to
    know hard links. Entity tags change with every write. Raises StoreUnavailable when the root cannot be used.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._objects = root / "objects"
        self._incoming = root / "incoming"
        self._lock_path = root / "lock"
        self._synced: LRUCache[Path, None] = LRUCache(MAX_SYNCED_FOLDERS)
        self._synced_lock = threading.Lock()
        try:
            for folder in (self._objects, self._incoming):
                folder.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
            remove_abandoned(self._incoming, time.time())
            _sync_with_parents(root.absolute())
        except OSError as exc:
            raise StoreUnavailable(f"The folder {root} cannot be used as a store: {exc.strerror or exc}.") from exc
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="directory-store")

    async def put(
        self, key: str, content: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> PutOutcome:
        """See ObjectStore."""
        check_key(key)
        if len(content) > MAX_WHOLE_BYTES:
            raise InvalidInput(f"The object {key} has {len(content)} bytes; a whole one may have {MAX_WHOLE_BYTES}.")
        return await self._run(key, lambda: self._put(key, content, if_absent, if_match))

    async def put_stream(self, target: UploadTarget, content: AsyncIterator[bytes]) -> None:
        """See ObjectStore."""
        final = self._path(target.key)
        if await self._run(target.key, lambda: self._sync_existing(final)):
            return
        incoming = IncomingFile(self._incoming)
        arrival = Arrival(target)

        def receive(piece: bytes) -> None:
            arrival.update(piece)
            incoming.write(piece)

        try:
            async for piece in gathered(content, WRITE_BYTES):
                await self._run(target.key, partial(receive, piece))
            arrival.finish()
            await self._run(target.key, lambda: self._show_if_absent(incoming, final))
        finally:
            await asyncio.shield(self._run(target.key, incoming.discard))

    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        return await self._run(key, lambda: self._read(key, 0, None))

    async def get_range(self, key: str, start: int, stop: int) -> bytes:
        """See ObjectStore."""
        if not 0 <= start <= stop:
            raise InvalidInput(f"The range {start} to {stop} of object {key} is not a range.")
        return await self._run(key, lambda: self._read(key, start, stop))

    async def head(self, key: str) -> ObjectFacts | None:
        """See ObjectStore."""
        return await self._run(key, lambda: self._facts(key))

    async def scan(self, prefix: str) -> AsyncIterator[ObjectFacts]:
        """See ObjectStore."""
        check_prefix(prefix)
        walk = self._walk(self._objects, "", prefix)
        while page := await self._run(prefix, lambda: list(islice(walk, SCAN_PAGE))):
            for facts in page:
                yield facts

    async def delete(self, key: str) -> None:
        """See ObjectStore."""
        await self._run(key, lambda: self._delete(key))

    async def takes_direct_uploads(self) -> bool:
        """Never: nobody but this machine reaches the folder."""
        return False

    async def presign(self, targets: Sequence[UploadTarget], *, expires_s: int) -> list[PresignedPut]:
        """Always raises StoreUnavailable: see `takes_direct_uploads`."""
        raise StoreUnavailable(
            f"The store in {self._root} takes no direct uploads ({len(targets)} asked for, {expires_s} s); "
            "send the content to control."
        )

    async def aclose(self) -> None:
        """See ObjectStore. Waits for calls that run."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    async def _run(self, key: str, call: Callable[[], T]) -> T:
        """Run a call in a thread of the pool. Its queue is bounded by the number of tasks that await here."""

        def translated() -> T:
            with self._translated(key):
                return call()

        return await asyncio.get_running_loop().run_in_executor(self._threads, translated)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            self._raise_unavailable(key, exc)

    def _raise_unavailable(self, key: str, exc: OSError) -> NoReturn:
        reason = exc.strerror or str(exc)
        if exc.errno in _FULL:
            raise StoreUnavailable(
                f"The store in {self._root} has no room for {key}: {reason}. Make room on the disk, then try again."
            ) from exc
        if exc.errno in {errno.ENOTDIR, errno.EISDIR, errno.EEXIST}:
            raise InvalidInput(f"The object key {key} is the folder of another key, or below an object.") from exc
        raise StoreUnavailable(f"The store in {self._root} cannot be used for {key}: {reason}.") from exc

    def _path(self, key: str) -> Path:
        return self._objects / check_key(key)

    def _put(self, key: str, content: bytes, if_absent: bool, if_match: str | None) -> PutOutcome:
        final = self._path(key)
        incoming = IncomingFile(self._incoming)
        try:
            incoming.write(content)
            if if_absent:
                return self._show_if_absent(incoming, final)
            incoming.sync()
            self._make_folder(final.parent)
            with self._exclusive():
                if if_match is not None and not _matches(final, if_match):
                    return PutOutcome.PRECONDITION_FAILED
                incoming.replace(final)
                _sync_folder(final.parent)
            return PutOutcome.STORED
        finally:
            incoming.discard()

    def _show_if_absent(self, incoming: IncomingFile, final: Path) -> PutOutcome:
        if self._sync_existing(final):
            return PutOutcome.PRECONDITION_FAILED
        incoming.sync()
        self._make_folder(final.parent)
        is_new = incoming.link(final)
        _sync_folder(final.parent)
        return PutOutcome.STORED if is_new else PutOutcome.PRECONDITION_FAILED

    def _sync_existing(self, final: Path) -> bool:
        """Whether the object exists; then its name is durable too, even when its writer has not come so far."""
        if not final.is_file():
            return False
        self._make_folder(final.parent)
        _sync_folder(final.parent)
        return True

    def _make_folder(self, folder: Path) -> None:
        """Make a folder of objects and sync the folders above it that this process has not seen durable yet."""
        with self._synced_lock:
            if folder in self._synced:
                return
        if folder != self._objects:
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)
        with self._synced_lock:
            self._synced[folder] = None

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One writer that overwrites or deletes at a time, in all processes: between its look and its rename."""
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self, key: str, start: int, stop: int | None) -> bytes:
        try:
            with self._path(key).open("rb", buffering=0) as file:
                size_bytes = os.fstat(file.fileno()).st_size
                if stop is None and size_bytes > MAX_WHOLE_BYTES:
                    raise StoreUnavailable(
                        f"The object {key} has {size_bytes} bytes; read it in ranges of at most {MAX_WHOLE_BYTES}."
                    )
                end = size_bytes if stop is None else min(stop, size_bytes)
                return _read_span(file.fileno(), start, end)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
            raise ObjectMissing(f"The store has no object {key}.") from exc

    def _facts(self, key: str) -> ObjectFacts | None:
        try:
            status = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return ObjectFacts(key, status.st_size, _entity_tag(status))

    def _delete(self, key: str) -> None:
        path = self._path(key)
        with self._exclusive(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            _sync_folder(path.parent)

    def _walk(self, folder: Path, key: str, prefix: str) -> Iterator[ObjectFacts]:
        """Objects below a folder in the order of their keys; folders that cannot hold the prefix are not opened."""
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:
            entries = {f"{entry.name}/" if entry.is_dir() else entry.name: entry for entry in found}
            for name, entry in sorted(entries.items()):
                inner = key + name
                if name.endswith("/"):
                    if inner.startswith(prefix) or prefix.startswith(inner):
                        yield from self._walk(Path(entry.path), inner, prefix)
                elif inner.startswith(prefix):
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat()
                        yield ObjectFacts(inner, status.st_size, _entity_tag(status))


def _read_span(descriptor: int, start: int, end: int) -> bytes:
    pieces: list[bytes] = []
    while start < end and (piece := os.pread(descriptor, end - start, start)):
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _entity_tag(status: os.stat_result) -> str:
    return f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'


def _matches(path: Path, entity_tag: str) -> bool:
    try:
        return _entity_tag(path.stat()) == entity_tag
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_with_parents(folder: Path) -> None:
    """Make a folder durable with those above it, up to its mount point or to one that somebody else must have made."""
    for above in (folder, *folder.parents):
        try:
            _sync_folder(above)
        except PermissionError:
            if above == folder:
                raise
            return
        if above.is_mount():
            return
