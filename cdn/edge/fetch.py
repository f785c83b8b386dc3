"""Fetching chunks from the object store: collapsed, checked, bounded, and stored on the way (DESIGN I1, I5, I6)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from cdn.edge.collapse import Collapse
from cdn.edge.disk_known import ChunkId
from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import Content, StoredKey, StoredResponse, StoreOutcome
from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectStore, StoreUnavailable

MAX_CONCURRENT = 64
"""Chunks asked of the store at once: 64 MiB under way at most, and enough to fill a line of 1 Gbit/s at 500 ms."""

MAX_CONCURRENT_PER_SITE = 32
"""The part of them that one site may take (DESIGN I10)."""

FETCH_TIMEOUT_S = 30.0
"""One chunk of 1 MiB: a store that needs longer counts as down."""

ATTEMPTS = 2
"""A damaged chunk is asked for once more: the line may have been at fault."""

INLINE_BYTES = 16 * 1024
"""Up to this size a digest is computed on the event loop; handing it to a thread costs more."""


class UpstreamDamaged(Unavailable):
    """The store holds, or sends, bytes that do not have the digest the manifest names. Nothing of them is sent on."""


@dataclass(slots=True)
class FetchCounters:
    """What was asked of the store since the start."""

    upstream_requests: int = 0
    upstream_bytes: int = 0
    collapsed: int = 0
    damaged: int = 0
    detached: int = 0
    not_stored: int = 0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A chunk from upstream. `is_collapsed`: another request had started this fetch."""

    content: Content
    is_collapsed: bool


class ChunkFetcher:
    """Brings chunks from the object store into the disk tier."""

    def __init__(
        self,
        store: ObjectStore,
        disk: DiskTier,
        *,
        max_concurrent: int = MAX_CONCURRENT,
        max_concurrent_per_site: int = MAX_CONCURRENT_PER_SITE,
        timeout_s: float = FETCH_TIMEOUT_S,
    ) -> None:
        self._store = store
        self._disk = disk
        self._timeout_s = timeout_s
        self._turns = _Turns(max_concurrent, max_concurrent_per_site)
        self._collapse: Collapse[ChunkId, Content] = Collapse()
        self.counters = FetchCounters()

    async def chunk(self, stored: StoredResponse, number: int, *, may_store: Callable[[Position], bool]) -> Fetched:
        """Chunk `number` of `stored`, as `DiskTier.admit` gave it, from the store.

        A fetch that runs already for the same admission is joined. `may_store` is asked about `stored.admitted` when
        the bytes are there: a floor raised meanwhile keeps them out of the tier, though those who wait for them still
        get them (DESIGN I1).

        Raises UpstreamDamaged, TooManyFetches, ObjectMissing and StoreUnavailable.
        """
        landed = await self._collapse.join(
            (stored.incarnation, number),
            site_id=stored.key.site_id,
            start=lambda: self._fetch(stored, number, may_store),
        )
        self.counters.collapsed += landed.is_collapsed
        return Fetched(landed.value, landed.is_collapsed)

    async def aclose(self) -> None:
        """End what is under way."""
        await self._collapse.aclose()

    async def _fetch(self, stored: StoredResponse, number: int, may_store: Callable[[Position], bool]) -> Content:
        # The fetch before may have ended between this request's look at the tier and its coming here.
        if self._disk.is_at_hand(stored, number):
            stored_meanwhile = await self._disk.read_chunk(stored, number)
            if stored_meanwhile is not None:
                return stored_meanwhile
        async with self._turns.take(stored.key.site_id):
            content = await self._fetch_checked(stored, number)
        # Storing belongs to the fetch: whoever asks before the chunk is in its place joins instead of asking upstream.
        outcome = await self._disk.put_chunk(stored, number, content, may_store=may_store)
        if outcome is StoreOutcome.DETACHED:
            self.counters.detached += 1
        elif outcome is not StoreOutcome.STORED:
            self.counters.not_stored += 1
        return content

    async def _fetch_checked(self, stored: StoredResponse, number: int) -> bytes:
        entry = stored.entry
        start, stop = entry.chunk_span(number)
        expected = entry.chunk_digest(number)
        for _ in range(ATTEMPTS):
            content = await self._ask(stored.key, start, stop)
            if len(content) == stop - start and await _digest(content) == expected:
                return content
            self.counters.damaged += 1
        raise UpstreamDamaged(
            f"the object store's copy of {stored.key.path} is damaged: chunk {number} of {entry.digest[:12]} came "
            f"{ATTEMPTS} times with another digest; upload the file again"
        )

    async def _ask(self, key: StoredKey, start: int, stop: int) -> bytes:
        if start == stop:
            return b""
        self.counters.upstream_requests += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                content = await self._store.get_range(blob_key(key.site_id, key.digest), start, stop)
        except TimeoutError as exc:
            raise StoreUnavailable(
                f"the object store did not send {stop - start} bytes of {key.path} within {self._timeout_s:g} s"
            ) from exc
        self.counters.upstream_bytes += len(content)
        return content


async def _digest(content: bytes) -> str:
    if len(content) <= INLINE_BYTES:
        return hashlib.sha256(content).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())


class _Turns:
    """Who may ask the store now: a bound for the node, and one for each site within it."""

    def __init__(self, max_concurrent: int, max_concurrent_per_site: int) -> None:
        self._node = asyncio.Semaphore(max_concurrent)
        self._max_per_site = max_concurrent_per_site
        self._sites: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @contextlib.asynccontextmanager
    async def take(self, site_id: str) -> AsyncIterator[None]:
        """Wait for a turn of the site, then for one of the node: a site that waits holds up only itself."""
        semaphore, users = self._sites.get(site_id) or (asyncio.Semaphore(self._max_per_site), 0)
        self._sites[site_id] = (semaphore, users + 1)
        try:
            async with semaphore, self._node:
                yield
        finally:
            semaphore, users = self._sites.pop(site_id)
            if users > 1:
                self._sites[site_id] = (semaphore, users - 1)
