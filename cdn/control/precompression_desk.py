"""Which deploys have their files coded now: those just activated first, one run of a site at a time, in slices."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Final

from cachetools import LRUCache

from cdn.control.coding_pool import CodingPool
from cdn.control.name_offices import NameOffice, NameOffices
from cdn.control.precompression import Outcome, Precompression
from cdn.errors import CdnError, Conflict, Unavailable
from cdn.sites.catalog import Catalog

AT_ONCE: Final = 2
"""Manifests worked on at one time: of the largest one run holds some 200 MB."""

SLICE_S: Final = 60.0
"""How long a run goes on while others wait: a bundle of 100,000 files does not keep the next one waiting for hours."""

SCAN_EVERY_S: Final = 600.0
"""How often all active deploys are looked at: what a replica left behind that is gone, is found then."""

SCAN_BATCH: Final = 1000
"""Sites looked at between two looks at the loop."""

SCANNED_PAUSE_S: Final = 0.05
"""After each manifest that a scan found: after a start all of them are read, 20 a second and runner, and control has
other things to do."""

ELSEWHERE_S: Final = 60.0
"""Before a manifest is looked at again that another replica works on."""

NOT_UNDERSTOOD_S: Final = 600.0
"""The same, where not every node understands that there are coded forms."""

RETRY_FIRST_S: Final = 5.0
RETRY_LONGEST_S: Final = 300.0

MAX_ATTEMPTS: Final = 8
"""Tries of one manifest in a row; the next scan begins anew."""

MAX_WAITING: Final = 100_000
"""Manifests that wait, some 400 bytes each; more are found by the next scan."""

MAX_COMPLETE: Final = 100_000
"""Manifests remembered as complete; one that was forgotten costs two reads of the store at the next scan."""

MAX_LOST: Final = 1024
"""Lost forms of one site that wait to be made anew; nodes tell the others again."""

log = logging.getLogger(__name__)

Wanted = tuple[str, str]
"""(site id, digest of a manifest)."""


@dataclass(slots=True)
class _Wish:
    """`not_before` is monotonic. `is_scanned`: nobody asked for it. `lost`: forms that nodes could not have."""

    not_before: float = -inf
    is_scanned: bool = False
    attempts: int = 0
    lost: set[str] = field(default_factory=set)


class PrecompressionDesk:
    """Started with the plane, and closed before its state is."""

    def __init__(
        self,
        work: Precompression,
        pool: CodingPool,
        offices: NameOffices,
        catalog: Catalog,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._work = work
        self._pool = pool
        self._offices = offices
        self._catalog = catalog
        self._monotonic = monotonic
        self._waiting: OrderedDict[Wanted, _Wish] = OrderedDict()
        self._busy_sites: set[str] = set()
        self._complete: LRUCache[Wanted, None] = LRUCache(MAX_COMPLETE)
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def counters(self) -> Mapping[str, int]:
        """What was done, by names of metrics."""
        counted = {f"precompression_{name}": count for name, count in asdict(self._work.counters).items()}
        return {**counted, "precompression_processes_died": self._pool.died}

    @property
    def waiting(self) -> int:
        """Manifests that wait or are worked on."""
        return len(self._waiting) + len(self._busy_sites)

    def want(self, site_id: str, manifest_digest: str) -> None:
        """A deploy is active: code its files before those that only wait to be looked at. Never waits."""
        wanted = (site_id, manifest_digest)
        if wanted in self._complete:
            return
        wish = self._waiting.setdefault(wanted, _Wish())
        wish.not_before, wish.is_scanned = -inf, False
        self._waiting.move_to_end(wanted, last=False)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem()  # the last in line
        self._news.set()

    def lost(self, site_id: str, digest: str) -> None:
        """The store has lost this blob: when it is a coded form of an active deploy it is made anew. Never waits."""
        for wanted in self._active_of(site_id):
            if not self._catalog.variants(*wanted):
                continue
            self._complete.pop(wanted, None)
            if wanted in self._waiting or len(self._waiting) < MAX_WAITING:
                wish = self._waiting.setdefault(wanted, _Wish())
                if len(wish.lost) < MAX_LOST:
                    wish.lost.add(digest)
        self._news.set()

    def start(self) -> None:
        """Work from now on."""
        runs = [asyncio.create_task(self._run(), name=f"precompression-{number}") for number in range(AT_ONCE)]
        self._tasks = [*runs, asyncio.create_task(self._scan_on(), name="precompression-scan")]

    async def aclose(self) -> None:
        """Stop. What is under way is gone on with after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.aclose()

    # What waits

    async def _scan_on(self) -> None:
        while True:
            for count, site in enumerate(self._catalog.sites(), start=1):
                for wanted in self._active_of(site.id):
                    if wanted not in self._complete and len(self._waiting) < MAX_WAITING:
                        self._waiting.setdefault(wanted, _Wish(is_scanned=True))
                if count % SCAN_BATCH == 0:
                    await asyncio.sleep(0)
            self._news.set()
            await asyncio.sleep(SCAN_EVERY_S)

    def _active_of(self, site_id: str) -> list[Wanted]:
        states = self._catalog.aliases(site_id).values()
        return list(dict.fromkeys((site_id, one.active.manifest_digest) for one in states if one.active is not None))

    def _next(self) -> tuple[Wanted, _Wish] | None:
        """The first in line that may be worked on now."""
        now = self._monotonic()
        for wanted, wish in self._waiting.items():
            if wish.not_before <= now and wanted[0] not in self._busy_sites:
                del self._waiting[wanted]
                return wanted, wish
        return None

    async def _wait_news(self) -> None:
        self._news.clear()
        soonest = min((wish.not_before for wish in self._waiting.values()), default=inf)
        delay_s = min(SCAN_EVERY_S, max(1.0, soonest - self._monotonic()))
        try:
            async with asyncio.timeout(delay_s):
                await self._news.wait()
        except TimeoutError:
            pass  # the time of one that was put off has come

    def _others_wait(self) -> bool:
        now = self._monotonic()
        return any(
            wish.not_before <= now and wanted[0] not in self._busy_sites for wanted, wish in self._waiting.items()
        )

    # The work

    async def _run(self) -> None:
        while True:
            found = self._next()
            if found is None:
                await self._wait_news()
                continue
            wanted, wish = found
            self._busy_sites.add(wanted[0])
            try:
                await self._serve(wanted, wish)
            except Exception:
                log.exception("coding the files of manifest %s of site %s failed", wanted[1][:12], wanted[0])
                self._complete[wanted] = None
            finally:
                self._busy_sites.discard(wanted[0])
                self._news.set()
            if wish.is_scanned:
                await asyncio.sleep(SCANNED_PAUSE_S)

    async def _serve(self, wanted: Wanted, wish: _Wish) -> None:
        try:
            async with self._offices.held(f"precompression {wanted[0]} {wanted[1]}") as office:
                if office is None:
                    self._put_off(wanted, wish, ELSEWHERE_S)
                    return
                outcome = await self._with_office(wanted, wish, office)
        except Conflict as exc:
            log.info("files of site %s are not coded yet: %s", wanted[0], exc)
            self._put_off(wanted, wish, NOT_UNDERSTOOD_S)
        except Unavailable as exc:
            self._retry(wanted, wish, exc)
        except CdnError as exc:
            log.warning("files of manifest %s of site %s are not coded: %s", wanted[1][:12], wanted[0], exc)
            self._complete[wanted] = None
        else:
            if outcome is Outcome.BROKEN_OFF:
                self._put_off(wanted, _Wish(), 0.0)
            elif outcome is Outcome.COMPLETE:
                self._complete[wanted] = None

    async def _with_office(self, wanted: Wanted, wish: _Wish, office: NameOffice) -> Outcome:
        until = self._monotonic() + SLICE_S
        return await self._work.run(
            *wanted,
            lost=tuple(wish.lost),
            may_go_on=lambda: office.is_held and (self._monotonic() < until or not self._others_wait()),
            require_office=office.require,
        )

    def _retry(self, wanted: Wanted, wish: _Wish, exc: Unavailable) -> None:
        wish.attempts += 1
        delay_s = min(RETRY_FIRST_S * 2 ** (wish.attempts - 1), RETRY_LONGEST_S)
        log.info("files of site %s are coded later: %s", wanted[0], exc)
        if wish.attempts < MAX_ATTEMPTS:
            self._put_off(wanted, wish, delay_s)

    def _put_off(self, wanted: Wanted, wish: _Wish, delay_s: float) -> None:
        """At the back of the line; what was wanted meanwhile of the same manifest counts too."""
        since = self._waiting.pop(wanted, None)
        if since is not None:
            wish.lost |= since.lost
        wish.not_before = self._monotonic() + delay_s
        self._waiting[wanted] = wish
