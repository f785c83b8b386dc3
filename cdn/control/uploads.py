"""Open uploads of one replica of control, or of several that take each other's over (DESIGN I7, I10)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cdn.control.kept_upload import (
    KEPT_UPLOADS,
    KeptUpload,
    UnreadableUpload,
    decode_kept,
    encode_kept,
    is_over,
    is_upload_id,
    kept_upload_key,
    kept_upload_prefix,
    new_upload_id,
    upload_id_of,
)
from cdn.control.sweep_gate import SweepGate
from cdn.control.upload_session import UploadSession, UploadSessions
from cdn.errors import NotFound, Unavailable
from cdn.origin.store import ObjectMissing, ObjectStore

SWEEP_EVERY_S = 600.0
"""How often sessions that are over are removed from the store: some that nobody ended lie there until then."""

CLOCKS_APART_S = 60.0
"""Replicas' clocks may differ by this much: a session is removed only so long after its end."""

CONCURRENT_DELETES = 8

HOLD_S = 900.0
"""What a replica held that died counts for so long: far more than any deploy takes to be prepared."""

STAY_S = 3600.0
"""How long a site stays as it is once somebody was told what it has: as long as a session. It is said anew when half of
it is over, so a client may be silent for half an hour."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pinned:
    """What open uploads of a site announced. `is_any`: whether there is one at all; `is_all`: one did not say what it
    relies on, so that may be anything."""

    digests: Collection[str]
    is_any: bool
    is_all: bool = False


@dataclass(slots=True)
class _Stay:
    """`has_passed` the gate: what is looked up from then on stays."""

    session: UploadSession
    has_passed: bool = False


class GrowingHold:
    """What somebody is making of a site, piece by piece, and records in the end: see `Uploads.held_growing`."""

    def __init__(self, uploads: Uploads, site_id: str) -> None:
        self._uploads = uploads
        self._site_id = site_id
        self._made: dict[str, int] = {}
        self._session: UploadSession | None = None

    async def add(self, digests: Iterable[str]) -> None:
        """These stay from now on; whoever puts one that is there already does so afterwards. Raises StoreUnavailable,
        Unavailable."""
        self._made.update(dict.fromkeys(digests, 0))
        await self._uploads.enter(self._site_id)

    async def renew(self) -> None:
        """Hold on, when half of the time is over. Raises StoreUnavailable, Unavailable."""
        before = self._session
        if before is None or before.expires_at - self._uploads.now() < HOLD_S / 2:
            session = self._session = await self._uploads.begin_hold(self._site_id, {})
            session.blobs = self._made  # what lies in the store still says: anything
            self._end(before)

    def end(self) -> None:
        """What was made is recorded, or is of no use."""
        self._end(self._session)

    def _end(self, session: UploadSession | None) -> None:
        if session is not None:
            self._uploads.end_hold(session)


class Uploads:
    """The sessions of this replica; where they are `shared`, those that another opened as well.

    A shared session lies in the object store before its opener hears of it, so it outlives the replica that opened it.
    What was proved for it is proved by the blobs themselves, whichever replica took them.
    """

    def __init__(
        self,
        sessions: UploadSessions,
        store: ObjectStore,
        clock: Callable[[], float],
        *,
        shared: bool,
        gate: SweepGate | None = None,
    ) -> None:
        """`clock` is wall time. `gate` None: nothing is ever removed from the store."""
        self._gate = gate
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._shared = shared
        self._holds: dict[str, UploadSession] = {}
        self._stays: dict[str, _Stay] = {}
        self._fetching: dict[tuple[str, str], asyncio.Task[UploadSession | None]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Remove now and then what is over."""
        if self._shared:
            self._sweeping = asyncio.create_task(self._sweep_always(), name="control-uploads")

    async def aclose(self) -> None:
        """Finish what was begun in the store."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        await asyncio.gather(*self._background, *self._fetching.values(), return_exceptions=True)

    async def open(self, site_id: str, blobs: Mapping[str, int]) -> UploadSession:
        """A new session, which every replica knows: what the store has of `blobs` from now on stays there.

        So whoever wants to know that looks afterwards. Raises as `UploadSessions.open`, and StoreUnavailable.
        """
        session = await self._opened(site_id, blobs)
        try:
            await self._keep(session)
            await self.enter(site_id)
        except BaseException:
            self.close(site_id, session.id)
            raise
        return session

    @asynccontextmanager
    async def held(self, site_id: str, blobs: Mapping[str, int]) -> AsyncIterator[None]:
        """While something is recorded that names `blobs` and no session pins: what the store has of them stays there.

        Raises StoreUnavailable, Unavailable.
        """
        hold = await self.begin_hold(site_id, blobs)
        try:
            yield
        finally:
            self.end_hold(hold)

    @asynccontextmanager
    async def held_growing(self, site_id: str) -> AsyncIterator[GrowingHold]:
        """While things are made that something recorded later names: what was added to the hold stays in the store;
        until something was, all that the site has does. Other replicas, which are not told of each, leave all of it
        there meanwhile. Raises StoreUnavailable, Unavailable.
        """
        hold = GrowingHold(self, site_id)
        await hold.renew()
        try:
            yield hold
        finally:
            hold.end()

    async def begin_hold(self, site_id: str, blobs: Mapping[str, int]) -> UploadSession:
        """A hold of `held` or `held_growing`: whoever looks afterwards at what the store has finds what stays. Raises
        StoreUnavailable, Unavailable."""
        expires_at = self._clock() + HOLD_S
        hold = UploadSession(new_upload_id(expires_at), site_id, blobs, expires_at)
        self._holds[hold.id] = hold
        try:
            await self._keep(hold)
            await self.enter(site_id)
        except BaseException:
            self.end_hold(hold)
            raise
        return hold

    def end_hold(self, hold: UploadSession) -> None:
        """It holds no more."""
        del self._holds[hold.id]
        if hold.is_kept:
            self._in_background(self._remove(kept_upload_key(hold.site_id, hold.id)))

    async def enter(self, site_id: str) -> None:
        """Pass the gate of the site. Raises StoreUnavailable, Unavailable."""
        if self._gate is not None:
            await self._gate.enter(site_id)

    def now(self) -> float:
        """Wall time in seconds."""
        return self._clock()

    async def stay(self, site_id: str) -> None:
        """What the site has in the store stays there for half of STAY_S at least: for those who are told by names of
        another kind what need not be sent, and of whom nobody knows when they are done.

        Whoever looks afterwards finds what stays. Raises StoreUnavailable, Unavailable.
        """
        now = self._clock()
        known = self._stays.get(site_id)
        if known is not None and known.has_passed and STAY_S / 2 < known.session.expires_at - now <= STAY_S:
            return
        for over in [each for each, stay in self._stays.items() if stay.session.expires_at <= now]:
            del self._stays[over]
        stay = _Stay(UploadSession(new_upload_id(now + STAY_S), site_id, {}, now + STAY_S))
        await self._keep(stay.session)
        self._stays[site_id] = stay
        await self.enter(site_id)
        stay.has_passed = True

    async def _opened(self, site_id: str, blobs: Mapping[str, int]) -> UploadSession:
        try:
            return self._sessions.open(site_id, blobs)
        except Unavailable:
            if not self._shared:
                raise
        await self._forget_ended(site_id)
        return self._sessions.open(site_id, blobs)

    async def _keep(self, session: UploadSession) -> None:
        if not self._shared:
            return
        content = await asyncio.to_thread(encode_kept, KeptUpload(session.blobs, session.expires_at))
        await self._store.put(kept_upload_key(session.site_id, session.id), content)
        session.is_kept = True

    async def get(self, site_id: str, upload_id: str) -> UploadSession:
        """The session of this site, whoever opened it. Raises NotFound, StoreUnavailable."""
        session = self.find(site_id, upload_id)
        if session is None and self._shared and is_upload_id(upload_id):
            session = await self._adopted(site_id, upload_id)
        if session is None:
            raise NotFound(f"There is no open upload {upload_id}: it expired or never was. Open a new one.")
        return session

    def find(self, site_id: str, upload_id: str) -> UploadSession | None:
        """The session of this site if this replica has it in memory."""
        return self._sessions.find(site_id, upload_id)

    def close(self, site_id: str, upload_id: str) -> None:
        """Its deploy is recorded, or it will have none. What lies in the store is removed in the background."""
        session = self.find(site_id, upload_id)
        if session is not None:
            self._sessions.close(upload_id)
        was_kept = session.is_kept if session is not None else True
        if self._shared and was_kept and is_upload_id(upload_id):
            self._in_background(self._remove(kept_upload_key(site_id, upload_id)))

    async def pinned(self, site_id: str) -> Pinned:
        """What open uploads of the site announced, at every replica. Raises StoreUnavailable; Unavailable for one that
        cannot be read: nobody knows what it announced."""
        digests = set[str]()
        holds = [each for each in self._holds.values() if each.site_id == site_id]
        sessions = [*self._sessions.open_of_site(site_id), *holds]
        now = self._clock()
        stay = self._stays.get(site_id)
        if stay is not None and stay.session.expires_at > now:
            sessions.append(stay.session)
        digests.update(*(each.blobs for each in sessions))
        is_any, is_all = bool(sessions), any(not each.blobs for each in sessions)
        known = {each.id for each in sessions}
        if not self._shared:
            return Pinned(digests, is_any, is_all)
        async for facts in self._store.scan(kept_upload_prefix(site_id)):
            if upload_id_of(facts.key) in known or is_over(facts.key, now - CLOCKS_APART_S):
                continue
            is_any = True
            try:
                kept = await asyncio.to_thread(decode_kept, await self._store.get(facts.key))
            except ObjectMissing:
                continue  # it ended just now: its deploy is in the journal
            except UnreadableUpload as exc:
                raise Unavailable(f"upload {facts.key} cannot be read: {exc}") from exc
            digests.update(kept.blobs)
            is_all = is_all or not kept.blobs
        return Pinned(digests, is_any, is_all)

    def close_site(self, site_id: str) -> None:
        """The site is gone."""
        self._sessions.close_site(site_id)
        self._stays.pop(site_id, None)
        if self._shared:
            self._in_background(self._remove_all(kept_upload_prefix(site_id), is_gone=lambda key: True))

    async def sweep(self) -> None:
        """Remove every session from the store that is over. Raises StoreUnavailable."""
        before = self._clock() - CLOCKS_APART_S
        await self._remove_all(KEPT_UPLOADS, is_gone=lambda key: is_over(key, before))

    async def _adopted(self, site_id: str, upload_id: str) -> UploadSession | None:
        """The session as another replica kept it; those who ask at one time share one look. Raises StoreUnavailable."""
        key = (site_id, upload_id)
        fetching = self._fetching.get(key)
        if fetching is None:
            fetching = self._fetching[key] = asyncio.create_task(self._fetch(site_id, upload_id))
            fetching.add_done_callback(lambda done: self._fetching.pop(key, None))
        return await asyncio.shield(fetching)

    async def _fetch(self, site_id: str, upload_id: str) -> UploadSession | None:
        try:
            raw = await self._store.get(kept_upload_key(site_id, upload_id))
            kept = await asyncio.to_thread(decode_kept, raw)
        except ObjectMissing:
            return None
        except UnreadableUpload as exc:
            log.warning("upload %s of site %s, which another replica opened, is opened anew: %s",
                        upload_id, site_id, exc)  # fmt: skip
            return None
        if kept.expires_at <= self._clock():
            return None
        return self._sessions.adopt(UploadSession(upload_id, site_id, kept.blobs, kept.expires_at, is_kept=True))

    async def _forget_ended(self, site_id: str) -> None:
        """Sessions opened here whose deploy another replica recorded count no longer. Raises StoreUnavailable."""
        kept = {upload_id_of(facts.key) async for facts in self._store.scan(kept_upload_prefix(site_id))}
        for session in self._sessions.of_site(site_id):
            if session.is_kept and session.id not in kept:
                self._sessions.close(session.id)

    async def _remove_all(self, prefix: str, *, is_gone: Callable[[str], bool]) -> None:
        keys = [facts.key async for facts in self._store.scan(prefix) if is_gone(facts.key)]
        turn = asyncio.Semaphore(CONCURRENT_DELETES)

        async def remove(key: str) -> None:
            async with turn:
                await self._store.delete(key)

        await asyncio.gather(*(remove(key) for key in keys))

    async def _remove(self, key: str) -> None:
        await self._store.delete(key)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except Unavailable as exc:
                log.info("what is over is removed from the store later: %s", exc)

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _sweep_always(self) -> None:
        while True:
            try:
                await self.sweep()
            except Unavailable as exc:
                log.info("uploads that are over are removed later: %s", exc)
            await asyncio.sleep(SWEEP_EVERY_S)
