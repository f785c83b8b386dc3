"""Databases on disks of their own: what was synced stays when a machine dies, what was not may go."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cdn.errors import Unavailable
from cdn.journal.database import Database
from cdn.journal.record_tail import RecordTail
from tests.simulation.virtual_time import VirtualLoop

T = TypeVar("T")


class Disk:
    """One disk: a file is a database in memory that outlives the processes which use it."""

    def __init__(self, loop: VirtualLoop, rng: random.Random) -> None:
        self.loop = loop
        self.slowest_s = 0.01
        self.is_full = False
        self._rng = rng
        self._files: dict[Path, sqlite3.Connection] = {}
        self._tails: dict[Path, int] = {}
        self._wiped: list[int] = []
        self._waiting: deque[Callable[[], None]] = deque()
        self._free_at = 0.0
        self._life = 0

    def has(self, path: Path) -> bool:
        return path in self._files

    def open(self, path: Path, schema: str) -> sqlite3.Connection:
        if path not in self._files:
            made = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            made.executescript(schema)
            self._files[path] = made
        return self._files[path]

    def open_tail(self, path: Path) -> int:
        """The descriptor of a file of octets, which stays open until the disk is closed."""
        if path not in self._tails:
            self._tails[path] = os.memfd_create(path.name)
        return self._tails[path]

    def lose(self, path: Path) -> None:
        """The file is gone, or damaged so that it was set aside."""
        self._files.pop(path).close()

    def move(self, path: Path, to: Path) -> None:
        """Under another name, in place of what had it."""
        if to in self._files:
            self.lose(to)
        self._files[to] = self._files.pop(path)

    def wipe(self) -> None:
        """Another disk."""
        for connection in self._files.values():
            connection.close()
        self._files.clear()
        self._wiped += self._tails.values()  # a job of a process that died may still hold it
        self._tails.clear()

    def submit(self, work: Callable[[], None]) -> None:
        """Do it once everything given before is done, later."""
        self._waiting.append(work)
        self._free_at = max(self._free_at, self.loop.now) + self._rng.uniform(0.0, self.slowest_s)
        self.loop.after(self._free_at - self.loop.now, self._next, self._life)

    def crash(self) -> None:
        """The machine died: some of what was under way is on the disk, the rest never was."""
        for _ in range(self._rng.randint(0, len(self._waiting))):
            self._waiting.popleft()()
        self._waiting.clear()
        self._life += 1
        self._free_at = self.loop.now

    def close(self) -> None:
        for connection in self._files.values():
            connection.close()
        for descriptor in (*self._tails.values(), *self._wiped):
            os.close(descriptor)
        self._tails.clear()
        self._wiped.clear()

    def _next(self, life: int) -> None:
        if life == self._life:
            self._waiting.popleft()()


class SimulatedDatabase(Database):
    """`Database` on a simulated disk; the first folder of the path names the disk."""

    disks: dict[str, Disk]

    def __init__(
        self,
        path: Path,
        schema: str,
        *,
        schema_version: int,
        failure: Callable[[str], Unavailable],
        busy_timeout_s: float = 0.0,
    ) -> None:
        self._path = path
        self._schema = schema
        self._failure = failure
        self._is_closed = False
        self._connection = None
        self._disk = self.disks[path.parts[0]]

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._is_closed:
            raise self._failure(f"{self._path} is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def work() -> None:
            try:
                if self._disk.is_full:
                    raise self._failure(f"{self._path}: no space left")
                outcome: Any = self._run(job)
            except Exception as exc:
                if not future.done():
                    future.set_exception(exc)
                return
            if not future.done():
                future.set_result(outcome)

        self._disk.submit(work)
        return await future

    async def aclose(self) -> None:
        self._is_closed = True

    def _open(self) -> sqlite3.Connection:
        return self._disk.open(self._path, self._schema)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.in_transaction:
            connection.execute("ROLLBACK")

    @classmethod
    def put_in_place(cls, beginning: Path, path: Path) -> None:
        """As the journal puts a new file in the place of none."""
        cls.disks[path.parts[0]].move(beginning, path)


class SimulatedTail(RecordTail):
    """`RecordTail` on a simulated disk; the first folder of the path names the disk."""

    def _given(self, job: Callable[[], Any] | None) -> asyncio.Future[Any]:
        assert job is not None, "it has no thread to end"
        disk = SimulatedDatabase.disks[self.path.parts[0]]
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def work() -> None:
            try:
                if disk.is_full:
                    raise self._failure(f"{self.path}: no space left")
                outcome = job()
            except Exception as exc:
                if not done.done():
                    done.set_exception(exc)
                return
            if not done.done():
                done.set_result(outcome)

        disk.submit(work)
        return done

    def _open(self) -> None:
        self._descriptor = SimulatedDatabase.disks[self.path.parts[0]].open_tail(self.path)
        self._size_bytes = os.fstat(self._descriptor).st_size
        self._rewind()
