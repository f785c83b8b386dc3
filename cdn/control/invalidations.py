"""What is known of a site's invalidations: documents in the object store, so that every replica of control knows.

The journal has the purge; a document says which record it is, and under what reference and id a caller knows it. The id
of a document sorts by time, the newest first, and its second half is the digest of the reference.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence

import msgspec
from cachetools import LRUCache

from cdn.errors import NotFound
from cdn.fleet.position import Position
from cdn.origin.store import ObjectMissing, ObjectStore, PutOutcome
from cdn.purge.cloudfront import Batch

MAX_KEPT = 1_000
"""Invalidations of a site that are kept: the newest. CloudFront's console shows the last hundred. One takes a few
hundred octets as a rule, and never more than a request may have."""

PRUNE_EVERY = 100
"""Invalidations of a site after which those beyond MAX_KEPT are looked for."""

MAX_COUNTED = 10_000
"""Sites of which it is known how many were made since."""

CONCURRENT_READS = 16

DOCUMENT_VERSION = 1
"""Of documents; those of a newer program are read as none."""

_DIGEST_CHARS = 16
_LATEST_MS = 1 << 45
"""Times are counted down from here, the year 3084, in nine characters."""


class Invalidation(msgspec.Struct, frozen=True):
    """One of them. `epoch` and `sequence` name the purge's record, `recorded_at` its time; wall times in seconds."""

    id: str
    reference: str
    paths: tuple[str, ...]
    epoch: str
    sequence: int
    recorded_at: float
    version: int = DOCUMENT_VERSION

    @property
    def batch(self) -> Batch:
        """What was asked for."""
        return Batch(self.paths, self.reference)

    @property
    def position(self) -> Position:
        """Where its record stands."""
        return Position(self.epoch, self.sequence)


class Invalidations:
    """Reads and writes the documents. Every method may raise StoreUnavailable."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._made: LRUCache[str, int] = LRUCache(MAX_COUNTED)

    async def of_reference(self, site_id: str, reference: str) -> Invalidation | None:
        """What was asked for under this reference."""
        try:
            found = (await self._store.get(_reference_key(site_id, _digest(reference)))).decode("ascii")
            return await self.get(site_id, found)
        except (ObjectMissing, NotFound):
            return None

    async def get(self, site_id: str, invalidation_id: str) -> Invalidation:
        """Raises NotFound, also for one that cannot be read."""
        if not _is_id(invalidation_id):
            raise _none(invalidation_id)
        try:
            raw = await self._store.get(_key(site_id, invalidation_id))
        except ObjectMissing as exc:
            raise _none(invalidation_id) from exc
        try:
            found = msgspec.json.decode(raw, type=Invalidation)
        except msgspec.MsgspecError as exc:
            raise _none(invalidation_id) from exc
        if found.version != DOCUMENT_VERSION:
            raise _none(invalidation_id)
        return found

    async def keep(self, site_id: str, batch: Batch, position: Position, recorded_at: float) -> Invalidation:
        """A new one for this record, or the one that somebody else kept under the same reference meanwhile."""
        digest = _digest(batch.reference)
        made = Invalidation(
            _id(recorded_at, digest), batch.reference, batch.paths, position.epoch, position.sequence, recorded_at
        )
        await self._store.put(_key(site_id, made.id), msgspec.json.encode(made))
        key = _reference_key(site_id, digest)
        outcome = await self._store.put(key, made.id.encode("ascii"), if_absent=True)
        if outcome is PutOutcome.PRECONDITION_FAILED:
            other = await self.of_reference(site_id, batch.reference)
            if other is not None and other.id != made.id:
                await self._store.delete(_key(site_id, made.id))
                return other
            await self._store.put(key, made.id.encode("ascii"))  # it led to one that is no longer kept
        await self._count(site_id)
        return made

    async def listed(self, site_id: str, after: str, most: int) -> tuple[Sequence[Invalidation], bool]:
        """Up to `most` that are older than the one with the id `after` ("": from the newest), and whether there are
        more."""
        ids = [one for one in await self._ids(site_id) if one > after]
        turn = asyncio.Semaphore(CONCURRENT_READS)

        async def read(invalidation_id: str) -> Invalidation | None:
            async with turn:
                try:
                    return await self.get(site_id, invalidation_id)
                except NotFound:
                    return None  # removed meanwhile

        found = await asyncio.gather(*map(read, ids[:most]))
        return [one for one in found if one is not None], len(ids) > most

    async def _ids(self, site_id: str) -> list[str]:
        folder = _key(site_id, "")
        return sorted([facts.key.removeprefix(folder) async for facts in self._store.scan(folder)])

    async def _count(self, site_id: str) -> None:
        """Remove the oldest, once in a while."""
        made = self._made.get(site_id, PRUNE_EVERY - 1) + 1  # of a site not known: nobody counts over a restart
        self._made[site_id] = made % PRUNE_EVERY
        if made < PRUNE_EVERY:
            return
        for invalidation_id in (await self._ids(site_id))[MAX_KEPT:]:
            await self._store.delete(_reference_key(site_id, invalidation_id[-_DIGEST_CHARS:]))
            await self._store.delete(_key(site_id, invalidation_id))


def _key(site_id: str, invalidation_id: str) -> str:
    return f"sites/{site_id}/invalidations/{invalidation_id}"


def _reference_key(site_id: str, digest: str) -> str:
    return f"sites/{site_id}/invalidation-references/{digest}"


def _digest(reference: str) -> str:
    digest = hashlib.sha256(reference.encode("utf-8", "surrogatepass")).digest()
    return base64.b32hexencode(digest)[:_DIGEST_CHARS].decode("ascii")


def _id(at: float, digest: str) -> str:
    """`I`, nine characters of time counted down, and the reference's digest."""
    left = _LATEST_MS - int(at * 1000)
    return "I" + base64.b32hexencode((left << 3).to_bytes(6, "big"))[:9].decode("ascii") + digest


def _is_id(text: str) -> bool:
    return len(text) == 10 + _DIGEST_CHARS and text.isascii() and text.isalnum()


def _none(invalidation_id: str) -> NotFound:
    return NotFound(f"There is no invalidation {invalidation_id[:80]!r}, or it is too old to be kept.")
