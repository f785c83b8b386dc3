"""Coded forms of one deploy's files: made by coding processes, put beside its blobs, and announced in steps.

Whoever calls `Precompression.run` has the manifest's office. What is done is remembered in the list that the journal
names: a run that is broken off goes on from there, wherever.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from cachetools import LRUCache

from cdn.control.coding_plan import Source, sources_of
from cdn.control.coding_pool import CodingPool, CodingProcessGone
from cdn.control.coding_work import CodingFault, CodingJob
from cdn.control.state import ControlState
from cdn.control.uploads import GrowingHold, Uploads
from cdn.errors import InvalidInput, TooLarge, Unavailable
from cdn.http.content_coding import CODINGS
from cdn.journal.record import Change, VariantsSet, version_of
from cdn.journal.takedown_fold import TakedownFold
from cdn.origin.layout import blob_key, manifest_key, variants_key
from cdn.origin.store import ObjectMissing, ObjectStore
from cdn.sites.catalog import Catalog
from cdn.sites.manifest import CHUNK_BYTES, FileEntry, Manifest, digest_of, load_manifest
from cdn.sites.variants import NO_FORMS, NO_VARIANTS, Forms, Variants, parse_variants

ACTOR: Final = "control"

FIRST_STEP_S: Final = 2.0
"""After so long what is done is announced for the first time, and then after twice as long each time: a record makes
nodes look at everything of the site anew, so a large deploy has a dozen of them."""

LONGEST_STEP_S: Final = 120.0

MAX_LISTS_READ: Final = 4
"""Lists of the site's other deploys in which forms are looked for before they are made, most recent deploys first."""

IN_FLIGHT: Final = 2
"""Contents per coding process that are read, coded or written at one time: while one is coded another is read. What
they take in memory is twice the largest content and its forms."""

MAX_FAILURES: Final = 2
"""Times that a process may end or hang over a content: then it counts as one that is not worth coding."""

MAX_FAILURES_KNOWN: Final = 4096

log = logging.getLogger(__name__)


class Outcome(Enum):
    """How a run ended."""

    COMPLETE = "complete"
    BROKEN_OFF = "broken-off"  # its time was over
    GONE = "gone"  # site or deploy are not there any more


@dataclass(slots=True)
class CodingCounters:
    """Plain integers, raised in place."""

    sources: int = 0
    """Contents that were looked at by a coding process."""
    not_worth: int = 0
    """Of these, those that no coding makes small enough."""
    ready_used: int = 0
    """Forms that came with the deploy, were checked and are used."""
    ready_refused: int = 0
    """Forms that came with the deploy and are not their source."""
    reused: int = 0
    """Contents whose forms an earlier deploy of the site had already."""
    source_bytes: int = 0
    coded_bytes: int = 0
    """All forms that were made."""
    failed: int = 0
    """Contents that could not be coded now."""
    announced: int = 0
    """Lists that were recorded."""
    lost: int = 0
    """Coded forms that the store had lost or damaged, to be made anew."""


@dataclass(slots=True)
class _Run:
    """One manifest while it is worked on. `done`: by source, its forms; `unmade`: sources that cannot be coded now."""

    site_id: str
    manifest_digest: str
    sources: Mapping[str, Source]
    done: dict[str, Forms]
    todo: deque[str] = field(default_factory=deque)
    unmade: int = 0
    announced: int = -1
    """Sources in the list that was announced last; -1: none was."""
    lists: set[str] = field(default_factory=set)
    """Announced lists that forms in `done` are from."""

    @property
    def is_announced(self) -> bool:
        """Whether there is nothing to say that was not said."""
        return len(self.done) == self.announced or not self.done


class _Gone(Exception):
    """Site or deploy are not there any more."""


class _Announced(Exception):
    """The journal names this very list."""


class Precompression:
    """Makes the coded forms of manifests."""

    def __init__(
        self,
        store: ObjectStore,
        state: ControlState,
        catalog: Catalog,
        takedowns: TakedownFold,
        pool: CodingPool,
        *,
        uploads: Uploads,
    ) -> None:
        """`uploads` keep what is made in the store until the journal names it."""
        self._uploads = uploads
        self._store = store
        self._state = state
        self._catalog = catalog
        self._takedowns = takedowns
        self._pool = pool
        self._failures: LRUCache[tuple[str, str], int] = LRUCache(MAX_FAILURES_KNOWN)
        self.counters = CodingCounters()

    async def run(
        self,
        site_id: str,
        manifest_digest: str,
        *,
        lost: Collection[str] = (),
        may_go_on: Callable[[], bool] = lambda: True,
        require_office: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Code what is not coded yet of a manifest, and announce it.

        `lost`: digests of forms that nodes could not have; those that the store does not have are made anew. Once
        `may_go_on` says no, what is done is announced and the rest left to the next run. `require_office` raises
        Unavailable when another may do the same by now.
        Raises Unavailable when store or journal do not answer either; Conflict when somebody who reads the journal
        would not understand the record; InvalidInput for what cannot be read.
        """
        try:
            run = await self._begin(site_id, manifest_digest, await self._still_lost(site_id, lost))
            if run.todo:
                await self._state.require_understood(version_of(VariantsSet("", "", "")))
            if run.todo or not run.is_announced:
                async with self._uploads.held_growing(site_id) as hold:
                    await self._hold_known(run, hold)
                    await self._work(run, hold, may_go_on, require_office)
        except _Gone:
            return Outcome.GONE
        if run.todo:
            return Outcome.BROKEN_OFF
        if run.unmade:
            raise Unavailable(f"{run.unmade} contents of manifest {manifest_digest[:12]} could not be coded now")
        return Outcome.COMPLETE

    async def _begin(self, site_id: str, manifest_digest: str, lost: set[str]) -> _Run:
        manifest = await self._manifest(site_id, manifest_digest)
        sources = await asyncio.to_thread(
            sources_of, manifest, lambda digest: self._takedowns.of(site_id, digest) is None
        )
        run = _Run(site_id, manifest_digest, sources, {})
        named = self._catalog.variants(site_id, manifest_digest)
        own = await self._list(site_id, named)
        self._take(run, named, own, lost)
        if named and len(run.done) == len(own.coded):
            run.announced = len(run.done)
        if len(run.done) < len(sources):
            for other in self._other_lists(site_id, manifest_digest):
                before = len(run.done)
                self._take(run, other, await self._list(site_id, other), lost)
                self.counters.reused += len(run.done) - before
        run.todo.extend(digest for digest in sources if digest not in run.done)
        return run

    async def _still_lost(self, site_id: str, digests: Collection[str]) -> set[str]:
        """Without those that another replica has made anew meanwhile."""
        return {digest for digest in digests if await self._store.head(blob_key(site_id, digest)) is None}

    async def _hold_known(self, run: _Run, hold: GrowingHold) -> None:
        """What other lists had is there, and stays. Raises Unavailable when a list is no longer named: its forms may
        have been swept before they were held."""
        await self._state.catch_up((await self._state.journal.position()).sequence)
        if not run.lists <= set(self._catalog.variants_of(run.site_id).values()):
            raise Unavailable(f"a list of coded forms of site {run.site_id} was replaced meanwhile")
        await hold.add(form.digest for forms in run.done.values() for form in forms.values())

    def _take(self, run: _Run, name: str, known: Variants, lost: set[str]) -> None:
        """What an announced list has of the sources that are not done."""
        for digest, forms in known.coded.items():
            if digest not in run.sources or digest in run.done:
                continue
            if lost and any(form.digest in lost for form in forms.values()):
                self.counters.lost += 1
                continue
            if all(self._takedowns.of(run.site_id, form.digest) is None for form in forms.values()):
                run.done[digest] = forms
                run.lists.add(name)

    def _other_lists(self, site_id: str, manifest_digest: str) -> list[str]:
        deploys = (one.manifest_digest for one in self._catalog.deploys(site_id))  # most recent first
        lists = (self._catalog.variants(site_id, one) for one in dict.fromkeys(deploys) if one != manifest_digest)
        return [one for one in dict.fromkeys(lists) if one][:MAX_LISTS_READ]

    async def _manifest(self, site_id: str, digest: str) -> Manifest:
        self._require_there(site_id, digest)
        try:
            raw = await self._store.get(manifest_key(site_id, digest))
        except ObjectMissing as exc:
            self._require_there(site_id, digest)
            raise InvalidInput(f"manifest {digest[:12]} of site {site_id} is not in the store") from exc
        return await asyncio.to_thread(load_manifest, raw)

    async def _list(self, site_id: str, digest: str) -> Variants:
        """What a list says; nothing when it is not to be had: then its forms are made again."""
        if not digest:
            return NO_VARIANTS
        try:
            raw = await self._store.get(variants_key(site_id, digest))
            return await asyncio.to_thread(_read_list, raw, digest)
        except (ObjectMissing, InvalidInput, TooLarge) as exc:
            log.warning("list %s of coded forms of site %s is made anew: %s", digest[:12], site_id, exc)
            return NO_VARIANTS

    def _require_there(self, site_id: str, manifest_digest: str) -> None:
        """Raises _Gone."""
        if all(one.manifest_digest != manifest_digest for one in self._catalog.deploys(site_id)):
            raise _Gone

    # The work

    async def _work(
        self, run: _Run, hold: GrowingHold, may_go_on: Callable[[], bool], require_office: Callable[[], None]
    ) -> None:
        """Code what is left, announcing what is done now and then."""
        coders = [
            asyncio.create_task(self._code_on(run, hold, may_go_on), name=f"precompress {run.site_id}")
            for _ in range(min(self._pool.size * IN_FLIGHT, len(run.todo)))
        ]
        step_s = FIRST_STEP_S
        try:
            while coders:
                _, running = await asyncio.wait(coders, timeout=step_s, return_when=asyncio.FIRST_EXCEPTION)
                failures = [coder.exception() for coder in coders if coder.done()]
                require_office()
                await hold.renew()
                await self._announce(run)
                for failure in failures:
                    if failure is not None:
                        raise failure
                if not running:
                    return
                step_s = min(2 * step_s, LONGEST_STEP_S)
            await self._announce(run)
        finally:
            for coder in coders:
                coder.cancel()
            await asyncio.gather(*coders, return_exceptions=True)

    async def _code_on(self, run: _Run, hold: GrowingHold, may_go_on: Callable[[], bool]) -> None:
        """Code one content after the other; one at least, so that every run gets somewhere."""
        while run.todo:
            self._require_there(run.site_id, run.manifest_digest)
            digest = run.todo.popleft()
            try:
                run.done[digest] = await self._code(run.site_id, run.sources[digest], hold)
            except (CodingProcessGone, CodingFault) as exc:
                self.counters.failed += 1
                log.warning("content %s of site %s is not coded: %s", digest, run.site_id, exc)
                self._failures[run.site_id, digest] = failures = 1 + self._failures.get((run.site_id, digest), 0)
                if failures < MAX_FAILURES:
                    run.todo.append(digest)
                else:
                    run.done[digest] = NO_FORMS
            except (ObjectMissing, InvalidInput) as exc:
                self.counters.failed += 1
                run.unmade += 1
                log.warning("content %s of site %s cannot be coded now: %s", digest, run.site_id, exc)
            except BaseException:
                run.todo.append(digest)
                raise
            if not may_go_on():
                return

    async def _code(self, site_id: str, source: Source, hold: GrowingHold) -> Forms:
        """The forms of one content, in the store. Raises Unavailable; InvalidInput and ObjectMissing for a blob that is
        damaged or gone, which nodes tell control of when they need it."""
        content = await self._content(site_id, source.entry)
        ready = {}
        for coding, form in source.ready.items():
            with contextlib.suppress(ObjectMissing, InvalidInput):  # then it is made
                ready[coding] = await self._content(site_id, form)
        answer = await self._pool.code(CodingJob(content, CODINGS, ready))
        self.counters.sources += 1
        self.counters.source_bytes += len(content)
        self.counters.not_worth += not answer.forms
        for fault in answer.faults:
            self.counters.ready_refused += 1
            log.info("of content %s of site %s, %s", source.entry.digest, site_id, fault)
        forms: dict[str, FileEntry] = {}
        for coding, coded in answer.forms.items():
            if coded is None:
                self.counters.ready_used += 1
                forms[coding] = source.ready[coding]
                continue
            form = await asyncio.to_thread(_entry_of, coded)
            if self._takedowns.of(site_id, form.digest) is None:
                await hold.add((form.digest,))  # it may lie there, useless, and be about to be swept
                await self._store.put(blob_key(site_id, form.digest), coded, if_absent=True)
                self.counters.coded_bytes += len(coded)
                forms[coding] = form
        return forms or NO_FORMS

    async def _content(self, site_id: str, entry: FileEntry) -> bytes:
        """Raises InvalidInput when it is not what its digest says, ObjectMissing, StoreUnavailable."""
        content = await self._store.get(blob_key(site_id, entry.digest))
        if len(content) != entry.size_bytes or await asyncio.to_thread(digest_of, content) != entry.digest:
            raise InvalidInput(f"blob {entry.digest} of site {site_id} is damaged in the store")
        return content

    async def _announce(self, run: _Run) -> None:
        """Record what is done, unless that is known. Raises _Gone, Unavailable, Conflict."""
        if run.is_announced:
            return
        count, done = len(run.done), dict(run.done)
        try:
            raw = await asyncio.to_thread(lambda: Variants(done).to_bytes())
        except TooLarge as exc:
            log.warning("of site %s only the coded forms announced so far are used: %s", run.site_id, exc)
            run.announced = count
            return
        digest = digest_of(raw)
        await self._store.put(variants_key(run.site_id, digest), raw)  # what lies there may be damaged

        def change() -> Change:
            self._require_there(run.site_id, run.manifest_digest)
            if self._catalog.variants(run.site_id, run.manifest_digest) == digest:
                raise _Announced
            return VariantsSet(site_id=run.site_id, manifest_digest=run.manifest_digest, variants_digest=digest)

        with contextlib.suppress(_Announced):
            await self._state.append(f"variants/{run.site_id}/{run.manifest_digest}", change, ACTOR)
            self.counters.announced += 1
        run.announced = count


def _read_list(raw: bytes, digest: str) -> Variants:
    if digest_of(raw) != digest:
        raise InvalidInput("it is damaged in the store")
    return parse_variants(raw)


def _entry_of(content: bytes) -> FileEntry:
    chunks: tuple[str, ...] = ()
    if len(content) > CHUNK_BYTES:
        starts = range(0, len(content), CHUNK_BYTES)
        chunks = tuple(hashlib.sha256(content[start : start + CHUNK_BYTES]).hexdigest() for start in starts)
    return FileEntry(digest_of(content), len(content), chunks)
