"""Where a file's content comes from: stored here and still good, stored and validated, or fetched (DESIGN I1, I5, I6).

`find` is the second half of the request road: key, floors, decide(), and what follows from the decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

from cdn.edge.content import ChunkStream
from cdn.edge.counters import NodeCounters
from cdn.edge.disk_tier import DiskTier
from cdn.edge.fetch import ChunkFetcher, UpstreamDamaged
from cdn.edge.part_stream import PartStream
from cdn.edge.site_view import SiteView
from cdn.edge.stored import Content, ResidenceClock, StoredKey, StoredResponse
from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.http.cache_status import Forward
from cdn.http.decide import Decision, Forwarded, Required, Serve, ServeStale, StoredFacts, Validate, decide
from cdn.http.multipart import ByteRangesLayout
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectMissing, ObjectStore
from cdn.sites.manifest import CHUNK_BYTES, FileEntry
from cdn.sites.path import names_of
from cdn.sites.representation import Representation
from cdn.sites.site import Site

VALIDATE_TIMEOUT_S = 10.0
"""A store that needs longer to say whether a blob exists counts as down."""

MAX_BACKGROUND_VALIDATIONS = 256
"""Stale responses validated behind the visitor's back at one time; more are left to the next request."""


class BlobGone(Unavailable):
    """The manifest names a blob that the store does not have (any more)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of a site as it is asked for: everything that does not depend on what is stored."""

    site: Site
    key: StoredKey
    entry: FileEntry
    representation: Representation
    names: tuple[str, ...]
    """The file's own URL paths, which it is stored with: the representation's may have the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A stored response that may be served now. Times are monotonic seconds.

    `content` is whole when the representation is small; larger ones are opened as streams. `fwd` is None for a hit.
    `is_stored`: later requests can expect to find it.
    """

    wanted: Wanted
    stored: StoredResponse
    validated_at: float
    fresh_until: float
    content: bytes | None = None
    fwd: Forward | None = None
    fwd_status: int | None = None
    is_collapsed: bool = False
    is_stored: bool = True
    detail: str | None = None


def wanted_of(site: Site, path: str, entry: FileEntry, representation: Representation) -> Wanted:
    """The file at `path` of a site's manifest, asked for."""
    return Wanted(site, StoredKey(site.id, path, entry.digest), entry, representation, names_of(path))


def _is_unseen(wanted: Wanted, tags: tuple[str, ...]) -> bool:
    """Whether it answers under a name, or a tag given by its deploy, that what is stored with `tags` does not have."""
    representation = wanted.representation
    return any(name not in wanted.names for name in representation.names) or any(
        tag not in tags for tag in representation.rule_tags
    )


class Storeroom:
    """The disk tier with its fetcher, seen from a request."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        disk: DiskTier,
        fetcher: ChunkFetcher,
        view: SiteView,
        counters: NodeCounters,
        residence: ResidenceClock,
        monotonic: Callable[[], float],
        max_in_memory_bytes: int,
        report_blob_fault: Callable[[str, str], None],
        swept_through: Callable[[str], int] = lambda site_id: 0,
    ) -> None:
        """`swept_through`: see `SweptFloors.through`."""
        self._swept_through = swept_through
        self._store = store
        self._disk = disk
        self._fetcher = fetcher
        self._view = view
        self._counters = counters
        self._residence = residence
        self._monotonic = monotonic
        self._max_in_memory_bytes = max_in_memory_bytes
        self._report_blob_fault = report_blob_fault
        self._validating: dict[StoredKey, asyncio.Task[None]] = {}

    async def find(self, site: Site, path: str, entry: FileEntry, representation: Representation) -> Found:
        """The response for a file, validated or fetched as far as needed. Raises Unavailable."""
        wanted = wanted_of(site, path, entry, representation)
        stored = await self._disk.find(wanted.key)
        if stored is None:
            return await self._fetch(wanted, Forward.URI_MISS)
        now = self._monotonic()
        decision = self.decide(wanted, stored)
        match decision:
            case Serve():
                return await self._serve(wanted, self._found(wanted, stored, now))
            case ServeStale(reason=reason):
                self._validate_later(wanted, stored)
                self._counters.stale_served += 1
                return await self._serve(wanted, self._stale(wanted, stored, now, reason.value))
            case Validate(may_serve_stale_on_error=may_serve_stale, reason=reason):
                return await self._validated(wanted, stored, may_serve_stale, reason.value)
            case Forwarded(reason=forward):
                return await self._fetch(wanted, forward)
            case _:
                assert_never(decision)

    async def open(self, found: Found, start: int, stop: int) -> tuple[Found, ChunkStream]:
        """The bytes [start, stop) of a large representation, once the first of them are there. Raises Unavailable.

        What was found is a hit only when the first of these bytes were here.
        """
        found, first = await self._first(found, start)
        at_hand = partial(self._disk.mapped_chunk, found.stored)
        return found, ChunkStream(lambda number: self._chunk(found, number), start, stop, first, at_hand)

    async def open_parts(self, found: Found, layout: ByteRangesLayout) -> tuple[Found, PartStream]:
        """Like `open`, for several ranges."""
        found, first = await self._first(found, layout.parts[0].byte_range.start)
        return found, PartStream(lambda number: self._chunk(found, number), layout, first)

    async def _first(self, found: Found, start: int) -> tuple[Found, Content]:
        """The chunk in which a response begins."""
        number = start // CHUNK_BYTES
        first = await self._disk.read_chunk(found.stored, number)
        if first is None:
            first, is_collapsed = await self._fetch_chunk(found.wanted, found.stored, number)
            found = replace(found, fwd=found.fwd or Forward.PARTIAL, is_collapsed=is_collapsed)
        elif found.fwd is None:
            self._counters.hits += 1
        return found, first

    def decide(self, wanted: Wanted, stored: StoredResponse | None) -> Decision:
        """What may be done with what is stored, as the floors stand now."""
        now = self._monotonic()
        return decide(self._facts(wanted, stored, now), self.required(wanted, stored), now)

    def required(self, wanted: Wanted, stored: StoredResponse | None) -> Required:
        """What floors demand now. Tags given by a header rule count from when they were given, and stay counted; those
        that a rule of the deploy gives, and the name that a rewrite leads from, no sweep sees."""
        tags = wanted.representation.tags
        if stored is not None and stored.tags != tags:
            tags = tuple(dict.fromkeys(tags + stored.tags))
        required = self._view.floors.of(wanted.site.id).required(wanted.representation.names, tags)
        if stored is None or not _is_unseen(wanted, stored.tags):
            return required
        return Required(max(required.hard, self._swept_through(wanted.site.id)), required.soft)

    def note_use(self, key: StoredKey) -> None:
        """A response is being served from memory: on disk it is not the one to go first."""
        self._disk.touch(key)

    async def aclose(self) -> None:
        """End validations under way."""
        tasks = list(self._validating.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _facts(self, wanted: Wanted, stored: StoredResponse | None, now: float) -> StoredFacts | None:
        if stored is None:
            return None
        settings = wanted.site.settings
        return StoredFacts(
            admitted_sequence=stored.admitted.sequence,
            is_same_epoch=stored.admitted.epoch == self._view.position.epoch,
            validated_at=self._residence.monotonic(stored.validated_at, now),
            freshness_lifetime_s=wanted.representation.freshness_lifetime_s,
            stale_if_error_s=settings.stale_if_error_s,
            stale_while_revalidate_s=settings.bundle_stale_while_revalidate_s,
        )

    def _found(self, wanted: Wanted, stored: StoredResponse, now: float) -> Found:
        validated_at = self._residence.monotonic(stored.validated_at, now)
        return Found(wanted, stored, validated_at, validated_at + wanted.representation.freshness_lifetime_s)

    def _stale(self, wanted: Wanted, stored: StoredResponse, now: float, detail: str) -> Found:
        """Served once, as it is: the next request decides anew."""
        return replace(self._found(wanted, stored, now), fresh_until=now, is_stored=False, detail=detail)

    async def _serve(self, wanted: Wanted, found: Found) -> Found:
        """Take the content along when it is small; what turns out to be damaged or gone is fetched again."""
        if wanted.entry.size_bytes > self._max_in_memory_bytes:
            return found
        content = await self._disk.read_chunk(found.stored, 0)
        if content is None:
            return await self._fetch(wanted, Forward.MISS)
        self._counters.hits += found.fwd is None
        return replace(found, content=bytes(content))

    async def _fetch(self, wanted: Wanted, forward: Forward) -> Found:
        """Ask the store, unconditionally, for the first bytes; larger content follows chunk by chunk as it is read."""
        self._counters.misses += 1
        now = self._monotonic()
        wall = self._residence.wall(now)
        asking = StoredResponse(
            key=wanted.key,
            entry=wanted.entry,
            names=wanted.names,
            tags=wanted.representation.tags,
            admitted=self._view.position,
            stored_at=wall,
            validated_at=wall,
        )
        stored = await self._disk.admit(asking, self.required(wanted, asking).hard)
        found = replace(self._found(wanted, stored, now), fwd=forward)
        if wanted.entry.size_bytes > self._max_in_memory_bytes:
            return found
        content, is_collapsed = await self._fetch_chunk(wanted, stored, 0)
        # A floor that rose meanwhile kept it out of the tier: then no later request finds it.
        may_store = self._may_store(wanted, stored, stored.admitted)
        is_stored = may_store and await self._disk.find(wanted.key) == stored
        return replace(found, content=bytes(content), is_collapsed=is_collapsed, is_stored=is_stored)

    async def _chunk(self, found: Found, number: int) -> Content:
        content = await self._disk.read_chunk(found.stored, number)
        if content is None:
            content, _ = await self._fetch_chunk(found.wanted, found.stored, number)
        return content

    async def _fetch_chunk(self, wanted: Wanted, stored: StoredResponse, number: int) -> tuple[Content, bool]:
        def may_store(admitted: Position) -> bool:
            return self._may_store(wanted, stored, admitted)

        try:
            floor = self.required(wanted, stored).hard
            fetched = await self._fetcher.chunk(stored, number, may_store=may_store, floor=floor)
        except UpstreamDamaged:
            self._report_blob_fault(wanted.key.site_id, wanted.key.digest)
            raise
        except ObjectMissing as exc:
            self._report_blob_fault(wanted.key.site_id, wanted.key.digest)
            raise BlobGone(f"the store has no blob for {wanted.key.path}: deploy the site again") from exc
        return fetched.content, fetched.is_collapsed

    def _may_store(self, wanted: Wanted, stored: StoredResponse, admitted: Position) -> bool:
        """Whether floors allow what was admitted there, in the present epoch, to enter the tier.

        Floors that a sweep has let go of since are kept by the disk tier's horizon.
        """
        position = self._view.position
        return admitted.epoch == position.epoch and admitted.sequence >= self.required(wanted, stored).hard

    # Validation

    async def _validated(self, wanted: Wanted, stored: StoredResponse, may_serve_stale: bool, reason: str) -> Found:
        try:
            again = await self._ask_store(wanted, stored)
        except Unavailable:
            # A hard floor that rose while the store kept silent is not crossed either (DESIGN I1).
            hard = self.required(wanted, stored).hard
            if not may_serve_stale or stored.is_below(hard, self._view.position.epoch):
                raise
            self._counters.upstream_failed += 1
            self._counters.stale_served += 1
            return await self._serve(wanted, self._stale(wanted, stored, self._monotonic(), f"{reason}-store-down"))
        if again is None:
            return await self._fetch(wanted, Forward.STALE)
        found = replace(self._found(wanted, again, self._monotonic()), fwd=Forward.STALE, fwd_status=304)
        return await self._serve(wanted, found)

    async def _ask_store(self, wanted: Wanted, stored: StoredResponse) -> StoredResponse | None:
        """Whether the blob is still there: then admitted again, at the position held when the store was asked."""
        self._counters.validated += 1
        asked_from = self._view.position
        try:
            async with asyncio.timeout(VALIDATE_TIMEOUT_S):
                facts = await self._store.head(blob_key(wanted.site.id, wanted.entry.digest))
        except TimeoutError as exc:
            raise Unavailable(f"the store did not say within {VALIDATE_TIMEOUT_S:g} s whether a blob exists") from exc
        if facts is None or facts.size_bytes != wanted.entry.size_bytes:
            return None
        wall = self._residence.wall(self._monotonic())
        return await self._disk.revalidated(stored, asked_from, wall, self.required(wanted, stored).hard)

    def _validate_later(self, wanted: Wanted, stored: StoredResponse) -> None:
        if wanted.key in self._validating or len(self._validating) >= MAX_BACKGROUND_VALIDATIONS:
            return
        task = asyncio.create_task(self._validate_quietly(wanted, stored), name=f"validate {wanted.site.id}")
        self._validating[wanted.key] = task
        task.add_done_callback(lambda done: self._validating.pop(wanted.key, None))

    async def _validate_quietly(self, wanted: Wanted, stored: StoredResponse) -> None:
        """Behind a visitor's back. What the store confirms is admitted again; what it lacks the next request finds."""
        try:
            await self._ask_store(wanted, stored)
        except Unavailable:
            self._counters.upstream_failed += 1
