"""Fetching chunks from the object store: collapsed, checked, bounded, and stored on the way (DESIGN I1, I5, I6)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from cdn.edge.collapse import Collapse
from cdn.edge.disk_known import ChunkId
from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import Content, StoredResponse, StoreOutcome
from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectStore, StoreUnavailable
from cdn.sites.manifest import CHUNK_BYTES

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


@dataclass(frozen=True, slots=True)
class BlobChunk:
    """The bytes [start, stop) of a site's blob, which have the SHA-256 `chunk_digest` (hex). `path` is a file of it."""

    site_id: str
    digest: str
    start: int
    stop: int
    chunk_digest: str
    path: str


class NearChunks(Protocol):
    """Somebody who may have a chunk, and is asked before the store is."""

    async def chunk(self, wanted: BlobChunk, floor: int) -> bytes | None:
        """The chunk, checked against its digest; None: the store has to be asked.

        What was asked of the store before `floor` was applied does not count (DESIGN I1). Raises as `from_store` does.
        """
        ...


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
        self.near: NearChunks | None = None
        self._store = store
        self._disk = disk
        self._timeout_s = timeout_s
        self._turns = Turns(max_concurrent, max_concurrent_per_site)
        self._collapse: Collapse[ChunkId, Content] = Collapse()
        self.counters = FetchCounters()

    async def chunk(
        self, stored: StoredResponse, number: int, *, may_store: Callable[[Position], bool], floor: int = 0
    ) -> Fetched:
        """Chunk `number` of `stored`, as `DiskTier.admit` gave it, from who is near or from the store.

        A fetch that runs already for the same admission is joined. `may_store` is asked about `stored.admitted` when
        the bytes are there: a floor raised meanwhile keeps them out of the tier, though those who wait for them still
        get them (DESIGN I1). `floor` is the sequence that it must have been asked from by whoever asked the store.

        Raises UpstreamDamaged, TooManyFetches, ObjectMissing and StoreUnavailable.
        """
        landed = await self._collapse.join(
            (stored.incarnation, number),
            site_id=stored.key.site_id,
            start=lambda: self._fetch(stored, number, may_store, floor),
        )
        self.counters.collapsed += landed.is_collapsed
        return Fetched(landed.value, landed.is_collapsed)

    async def aclose(self) -> None:
        """End what is under way."""
        await self._collapse.aclose()

    async def from_store(self, wanted: BlobChunk) -> bytes:
        """A chunk from the store itself, checked, when it is its site's turn.

        Raises UpstreamDamaged, ObjectMissing and StoreUnavailable.
        """
        async with self._turns.take(wanted.site_id):
            return await self._fetch_checked(wanted)

    async def _fetch(
        self, stored: StoredResponse, number: int, may_store: Callable[[Position], bool], floor: int
    ) -> Content:
        # The fetch before may have ended between this request's look at the tier and its coming here.
        if self._disk.is_at_hand(stored, number):
            stored_meanwhile = await self._disk.read_chunk(stored, number)
            if stored_meanwhile is not None:
                return stored_meanwhile
        wanted = _wanted(stored, number)
        near = None if self.near is None else await self.near.chunk(wanted, floor)
        content = await self.from_store(wanted) if near is None else near
        # Storing belongs to the fetch: whoever asks before the chunk is in its place joins instead of asking upstream.
        outcome = await self._disk.put_chunk(stored, number, content, may_store=may_store)
        if outcome is StoreOutcome.DETACHED:
            self.counters.detached += 1
        elif outcome is not StoreOutcome.STORED:
            self.counters.not_stored += 1
        return content

    async def _fetch_checked(self, wanted: BlobChunk) -> bytes:
        for _ in range(ATTEMPTS):
            content = await self._ask(wanted)
            if await is_chunk(content, wanted):
                return content
            self.counters.damaged += 1
        number = wanted.start // CHUNK_BYTES
        raise UpstreamDamaged(
            f"the object store's copy of {wanted.path} is damaged: chunk {number} of {wanted.digest[:12]} came "
            f"{ATTEMPTS} times with another digest; upload the file again"
        )

    async def _ask(self, wanted: BlobChunk) -> bytes:
        start, stop = wanted.start, wanted.stop
        if start == stop:
            return b""
        self.counters.upstream_requests += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                content = await self._store.get_range(blob_key(wanted.site_id, wanted.digest), start, stop)
        except TimeoutError as exc:
            raise StoreUnavailable(
                f"the object store did not send {stop - start} bytes of {wanted.path} within {self._timeout_s:g} s"
            ) from exc
        self.counters.upstream_bytes += len(content)
        return content


def _wanted(stored: StoredResponse, number: int) -> BlobChunk:
    start, stop = stored.entry.chunk_span(number)
    key = stored.key
    return BlobChunk(key.site_id, key.digest, start, stop, stored.entry.chunk_digest(number), key.path)


async def is_chunk(content: bytes, wanted: BlobChunk) -> bool:
    """Whether these are the bytes that are wanted (DESIGN I5)."""
    return len(content) == wanted.stop - wanted.start and await _digest(content) == wanted.chunk_digest


async def _digest(content: bytes) -> str:
    if len(content) <= INLINE_BYTES:
        return hashlib.sha256(content).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())


class Turns:
    """Who may ask now: a bound for the node, and one for each site within it."""

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
