"""Reading chunks of the disk tier: off the event loop, once for all who ask at the same time, large ones mapped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cdn.edge.collapse import Shared
from cdn.edge.disk_files import ChunkName, ContentFolder, ReadFault
from cdn.edge.disk_known import ChunkId, OpenMaps, VerifiedChunks
from cdn.edge.stored import Content

MAX_VERIFIED = 131_072
"""Chunks remembered as checked since the start, about 25 MiB; one that was forgotten is checked again when opened."""


class ChunkReader:
    """`maps` holds what is open now, `verified` what this process has checked or written itself."""

    def __init__(self, files: ContentFolder, pool: ThreadPoolExecutor, max_maps: int) -> None:
        self._files = files
        self._pool = pool
        self._openings: Shared[ChunkId, Content | None] = Shared()
        self.maps = OpenMaps(max_maps)
        self.verified = VerifiedChunks(MAX_VERIFIED)

    async def read(
        self, name: ChunkName, size_bytes: int, digest: str, on_fault: Callable[[ReadFault], None]
    ) -> Content | None:
        """A chunk's content; checked against its digest when this process has not done so before.

        `on_fault` is told once why there is none, however many wait for it. A damaged file is removed.
        """
        chunk = (name.incarnation, name.number)
        mapped = self.maps.get(chunk)
        if mapped is not None:
            return mapped
        return await self._openings.join(chunk, lambda: self._open(name, size_bytes, digest, on_fault))

    async def _open(
        self, name: ChunkName, size_bytes: int, digest: str, on_fault: Callable[[ReadFault], None]
    ) -> Content | None:
        chunk = (name.incarnation, name.number)
        expected = None if chunk in self.verified else digest
        loop = asyncio.get_running_loop()
        content = await loop.run_in_executor(self._pool, self._files.read, name, size_bytes, expected)
        if isinstance(content, ReadFault):
            on_fault(content)
            return None
        self.verified.add(chunk)
        if isinstance(content, memoryview):
            self.maps.put(chunk, content)
        return content

    def forget(self, name: ChunkName) -> None:
        """Its file is gone."""
        self.maps.drop((name.incarnation, name.number))
        self.verified.drop((name.incarnation, name.number))

    async def aclose(self) -> None:
        """Wait for what is being opened, and let all maps go; those that are being sent from stay valid."""
        await self._openings.aclose()
        self.maps.clear()
