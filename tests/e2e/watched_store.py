"""A real directory store that counts what is asked of it, and waits or fails when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from cdn.origin.directory import DirectoryStore
from cdn.origin.store import ObjectFacts, StoreUnavailable


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of `get_range`."""

    key: str
    start: int
    stop: int
    at: float  # monotonic seconds


class WatchedStore(DirectoryStore):
    """Without being told anything it is a DirectoryStore with a list of what was read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[Asked] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.hides_manifests = False
        self.is_down = False

    def close_gate(self) -> None:
        """From now on `get_range` waits, and `arrived` says that a call does."""
        self.gate.clear()
        self.arrived.clear()

    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        if self.is_down or (self.hides_manifests and "/manifests/" in key):
            raise StoreUnavailable(f"The store cannot be used for {key}: this test says so.")
        return await super().get(key)

    async def get_range(self, key: str, start: int, stop: int) -> bytes:
        """See ObjectStore."""
        if self.is_down:
            raise StoreUnavailable(f"The store cannot be used for {key}: this test says so.")
        self.asked.append(Asked(key, start, stop, asyncio.get_running_loop().time()))
        content = await super().get_range(key, start, stop)
        self.arrived.set()
        await self.gate.wait()
        return content

    async def scan(self, prefix: str) -> AsyncIterator[ObjectFacts]:
        """See ObjectStore."""
        if self.is_down:
            raise StoreUnavailable(f"The store cannot be used for {prefix}: this test says so.")
        async for facts in super().scan(prefix):
            yield facts
