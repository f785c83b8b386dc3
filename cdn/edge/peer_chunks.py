"""Chunks of bundles that this node keeps for others: named by their own digest, so nobody can put another one there."""

from __future__ import annotations

from collections.abc import Callable

from cdn.edge.collapse import Collapse
from cdn.edge.disk_tier import DiskTier
from cdn.edge.fetch import BlobChunk, ChunkFetcher
from cdn.edge.site_view import SiteView
from cdn.edge.stored import StoredKey, StoredResponse
from cdn.fleet.position import Position
from cdn.sites.manifest import FileEntry

PATH = "chunk"
"""In the place of a file's path, which begins with a slash: the same bytes in two files are kept once."""


class PeerChunks:
    """One request to the store per chunk, for this node's visitors and for all nodes that ask it; a NearChunks."""

    def __init__(
        self, view: SiteView, disk: DiskTier, fetcher: ChunkFetcher, residence_now: Callable[[], float]
    ) -> None:
        """`residence_now` gives the residence time to remember for now."""
        self._view = view
        self._disk = disk
        self._fetcher = fetcher
        self._residence_now = residence_now
        self._collapse: Collapse[int, bytes] = Collapse()

    async def chunk(self, wanted: BlobChunk, floor: int) -> bytes:
        """See NearChunks; never None. Raises as ChunkFetcher.from_store, and TooManyFetches."""
        if wanted.start == wanted.stop:
            return b""
        now = self._residence_now()
        asking = StoredResponse(
            key=StoredKey(wanted.site_id, PATH, wanted.chunk_digest),
            entry=FileEntry(wanted.chunk_digest, wanted.stop - wanted.start),
            names=(),
            tags=(),
            admitted=self._view.position,
            stored_at=now,
            validated_at=now,
        )
        stored = await self._disk.admit(asking, max(floor, self._own_floor(wanted.site_id)))
        at_hand = await self._disk.read_chunk(stored, 0)
        if at_hand is not None:
            return bytes(at_hand)
        landed = await self._collapse.join(
            stored.incarnation, site_id=wanted.site_id, start=lambda: self._fetch(stored, wanted)
        )
        return landed.value

    async def aclose(self) -> None:
        """End what is under way."""
        await self._collapse.aclose()

    async def _fetch(self, stored: StoredResponse, wanted: BlobChunk) -> bytes:
        if self._disk.is_at_hand(stored, 0):
            stored_meanwhile = await self._disk.read_chunk(stored, 0)
            if stored_meanwhile is not None:
                return bytes(stored_meanwhile)
        content = await self._fetcher.from_store(wanted)

        def may_store(admitted: Position) -> bool:
            is_same_epoch = admitted.epoch == self._view.position.epoch
            return is_same_epoch and admitted.sequence >= self._own_floor(wanted.site_id)

        await self._disk.put_chunk(stored, 0, content, may_store=may_store)
        return content

    def _own_floor(self, site_id: str) -> int:
        return self._view.floors.of(site_id).required((), ()).hard
