"""Removes from the store what no deploy names any more (mark and sweep), site by site.

One site's sweep: its objects are listed; what nothing names is noted with the time, in a document of its own. What was
noted `grace_s` ago and is still not named is removed: the gate is closed, open uploads and then the journal are read
once more, and what neither names goes. So three things keep an object: a deploy in the catalog, an upload that
announced it, and having become useless only lately.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from cdn.control.named_objects import NamedObjects, digest_in
from cdn.control.state import ControlState
from cdn.control.sweep_gate import SWEEPS, SweepGate
from cdn.control.uploads import Pinned, Uploads
from cdn.errors import CdnError
from cdn.journal.takedown_fold import TakedownFold
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectMissing, ObjectStore
from cdn.sites.catalog import Catalog

SITES = "sites/"

BATCH = 256
"""Objects removed while a gate is closed: a second or two, with which an upload may be late."""

CONCURRENT_DELETES = 16

MAX_NOTED_PER_SITE = 1_000_000
"""Objects noted as useless, of one site: some 100 MB while they are worked on; the rest is noted by the next sweep."""

log = logging.getLogger(__name__)


class Useless(msgspec.Struct, frozen=True):
    """What nothing named when it was last looked at: keys, and since when (wall time in seconds)."""

    version: int
    since: dict[str, float]


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did, or would do. `waiting`: useless, but not for long enough; `pinned`: an upload has it."""

    sites: int = 0
    objects: int = 0
    removed: int = 0
    removed_bytes: int = 0
    waiting: int = 0
    pinned: int = 0
    faults: tuple[str, ...] = ()

    def __add__(self, other: Swept) -> Swept:
        return Swept(
            self.sites + other.sites,
            self.objects + other.objects,
            self.removed + other.removed,
            self.removed_bytes + other.removed_bytes,
            self.waiting + other.waiting,
            self.pinned + other.pinned,
            self.faults + other.faults,
        )


def useless_key(site_id: str) -> str:
    """Where it is noted what of a site nothing names."""
    return f"{SWEEPS}{site_id}/useless"


class Sweep:
    """Sweeps sites. Who calls it has the office: two replicas at one site's gate are one too many."""

    def __init__(  # noqa: PLR0917 - what it looks at
        self,
        store: ObjectStore,
        state: ControlState,
        catalog: Catalog,
        takedowns: TakedownFold,
        uploads: Uploads,
        gate: SweepGate,
        *,
        clock: Callable[[], float],
        grace_s: float,
    ) -> None:
        """`clock` is wall time. `grace_s`: how long an object has to have been useless."""
        self._store = store
        self._state = state
        self._catalog = catalog
        self._takedowns = takedowns
        self._uploads = uploads
        self._gate = gate
        self._clock = clock
        self._removing = asyncio.Lock()
        """A takedown removes what it is about while a sweep is under way: they take turns at the gate."""
        self.grace_s = grace_s

    async def run(self, *, grace_s: float | None = None, is_dry: bool = False) -> Swept:
        """Sweep every site that has objects, those of removed sites too. A site that cannot be swept is a fault and
        stays as it is. `is_dry`: say what would go. Raises StoreUnavailable."""
        swept = Swept()
        async for site_id, facts in self._listed():
            try:
                swept += await self._sweep_site(site_id, facts, self.grace_s if grace_s is None else grace_s, is_dry)
            except CdnError as exc:
                log.warning("site %s is not swept: %s", site_id, exc)
                swept += Swept(sites=1, objects=len(facts), faults=(f"{site_id}: {exc}",))
        return swept

    async def remove_now(self, site_id: str, digests: Collection[str]) -> Swept:
        """Remove blobs that were taken down, and their coded forms, as far as nothing may have them any more.

        Raises CannotMark, StoreUnavailable.
        """
        named = NamedObjects(self._store, self._catalog, self._takedowns, site_id)
        await named.mark()
        keys = [blob_key(site_id, digest) for digest in {*digests, *named.dropped}]
        heads = [(key, await self._store.head(key)) for key in keys if not named.has(key)]
        sizes = {key: facts.size_bytes for key, facts in heads if facts is not None}
        return (await self._remove(site_id, list(sizes), sizes, named, is_taken_down=True)).swept

    async def _sweep_site(self, site_id: str, sizes: Mapping[str, int], grace_s: float, is_dry: bool) -> Swept:
        now = self._clock()
        named = NamedObjects(self._store, self._catalog, self._takedowns, site_id)
        await named.mark()
        useless = [key for key in sizes if not self._is_named(site_id, key, named)]
        before = await self._noted(site_id)
        since = {key: min(now, before.get(key, now)) for key in useless[:MAX_NOTED_PER_SITE]}
        ripe = [key for key, at in since.items() if at <= now - grace_s or self._is_taken_down(site_id, key)]
        done = Swept(sites=1, objects=len(sizes), waiting=len(since) - len(ripe))
        if is_dry:
            return done + Swept(removed=len(ripe), removed_bytes=sum(sizes[key] for key in ripe))
        removed = await self._remove(site_id, ripe, sizes, named)
        left = {key: at for key, at in since.items() if key not in removed.keys}
        if left != before:
            await self._note(site_id, left)
        return done + removed.swept

    async def _remove(
        self,
        site_id: str,
        keys: Sequence[str],
        sizes: Mapping[str, int],
        named: NamedObjects,
        *,
        is_taken_down: bool = False,
    ) -> _Removed:
        """`is_taken_down`: all of `keys` are, so nobody is told any more that they are there."""
        removed, pinned_count = set[str](), 0
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            async with self._removing, self._gate.closed(site_id) as may_remove:
                pinned = await self._uploads.pinned(site_id)  # before the journal: see the gate
                await self._state.catch_up((await self._state.journal.position()).sequence)
                await named.mark()
                useless = [key for key in batch if not self._is_named(site_id, key, named)]
                free = [key for key in useless if is_taken_down or not self._is_held(site_id, key, pinned)]
                pinned_count += len(useless) - len(free)
                removed |= await self._delete(free, may_remove)
        if removed:
            log.info("%d objects of site %s that nothing names are removed from the store", len(removed), site_id)
        size_bytes = sum(sizes[key] for key in removed)
        return _Removed(removed, Swept(removed=len(removed), removed_bytes=size_bytes, pinned=pinned_count))

    def _is_taken_down(self, site_id: str, key: str) -> bool:
        digest = digest_in(key, site_id)
        return bool(digest) and self._takedowns.of(site_id, digest) is not None

    def _is_held(self, site_id: str, key: str, pinned: Pinned) -> bool:
        """What was taken down is held by no upload: no deploy may name it again."""
        return not self._is_taken_down(site_id, key) and (pinned.is_all or _is_pinned(site_id, key, pinned))

    def _is_named(self, site_id: str, key: str, named: NamedObjects) -> bool:
        return self._catalog.site(site_id) is not None and named.has(key)

    async def _delete(self, keys: Sequence[str], may_remove: Callable[[], bool]) -> set[str]:
        """Those that are gone when this returns."""
        turn, gone = asyncio.Semaphore(CONCURRENT_DELETES), set[str]()

        async def delete(key: str) -> None:
            async with turn:
                if may_remove():
                    await self._store.delete(key)
                    gone.add(key)

        await asyncio.gather(*map(delete, keys))
        return gone

    async def _listed(self) -> AsyncIterator[tuple[str, dict[str, int]]]:
        """Sites that have objects, with the sizes of those by key. A site whose objects do not come in one row comes
        again."""
        site_id, sizes = "", dict[str, int]()
        async for facts in self._store.scan(SITES):
            found = facts.key.removeprefix(SITES).partition("/")[0]
            if found != site_id and sizes:
                yield site_id, sizes
                sizes = {}
            site_id = found
            sizes[facts.key] = facts.size_bytes
        if sizes:
            yield site_id, sizes

    async def _noted(self, site_id: str) -> dict[str, float]:
        try:
            raw = await self._store.get(useless_key(site_id))
            return (await asyncio.to_thread(msgspec.json.decode, raw, type=Useless)).since
        except (ObjectMissing, msgspec.MsgspecError):
            return {}  # noted anew, and kept for as long again

    async def _note(self, site_id: str, since: dict[str, float]) -> None:
        if not since and self._catalog.site(site_id) is None:
            async for facts in self._store.scan(f"{SWEEPS}{site_id}/"):
                await self._store.delete(facts.key)
            return
        raw = await asyncio.to_thread(msgspec.json.encode, Useless(1, since))
        await self._store.put(useless_key(site_id), raw)


@dataclass(frozen=True, slots=True)
class _Removed:
    keys: Collection[str]
    swept: Swept


def _is_pinned(site_id: str, key: str, pinned: Pinned) -> bool:
    """A manifest, or a list, is not removed while an upload is open: its deploy may be about to name it."""
    digest = digest_in(key, site_id)
    return digest in pinned.digests if digest else pinned.is_any
