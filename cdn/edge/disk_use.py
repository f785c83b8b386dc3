"""The order of use on disk: access times, gathered and written now and then, so that a hit writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cdn.edge.disk_index import DiskIndex
from cdn.edge.disk_known import ChunkId
from cdn.edge.disk_writes import Touch
from cdn.edge.stored import StoredKey

MAX_TOUCHED = 65_536
"""Access times waiting to be written; when there are more they are written at once."""

TOUCH_INTERVAL_S = 10.0
"""How often access times are written. What a crash loses of them only blurs the order of eviction."""

NEARLY_FULL = 0.9
"""From this part of the bound on, eviction is near: access times are written before more comes in."""


class AccessTimes:
    """What was used since the last writing. `clock` gives wall time in seconds."""

    def __init__(self, index: DiskIndex, clock: Callable[[], float], max_bytes: int) -> None:
        self._index = index
        self._clock = clock
        self._max_bytes = max_bytes
        self._chunks: dict[ChunkId, int] = {}
        self._keys: dict[StoredKey, int] = {}

    def now_ms(self) -> int:
        """The time of an access that happens now."""
        return int(self._clock() * 1000)

    def touch_key(self, key: StoredKey) -> None:
        """A response was used without its chunks being read."""
        self._keys[key] = int(self._clock() * 1000)
        if len(self._keys) + len(self._chunks) > MAX_TOUCHED:
            self.write()

    def touch_chunk(self, chunk: ChunkId) -> None:
        """A chunk was read. What is read of a pulled response counts for its chunk 0, which stands for all of it."""
        self._chunks[chunk] = int(self._clock() * 1000)
        if len(self._keys) + len(self._chunks) > MAX_TOUCHED:
            self.write()

    def write(self) -> None:
        """Hand what was gathered to the index; forget it when that is too busy."""
        chunks = tuple((at, *chunk) for chunk, at in self._chunks.items())
        keys = tuple((at, key) for key, at in self._keys.items())
        self._chunks, self._keys = {}, {}
        if (chunks or keys) and not self._index.is_busy:
            self._index.submit(Touch(chunks, keys))

    def write_when_nearly_full(self) -> None:
        """More is about to come in."""
        if self._index.cost_bytes > self._max_bytes * NEARLY_FULL:
            self.write()

    async def write_now_and_then(self) -> None:
        """For ever; cancel to stop."""
        while True:
            await asyncio.sleep(TOUCH_INTERVAL_S)
            self.write()
