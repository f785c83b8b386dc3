"""Reclaiming space behind purges, in the background and in small steps.

A purge is done when its floor is raised (DESIGN I2). What it made unusable still takes room; a sweep removes it and
lets the floor itself go. Nothing waits for that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cdn.edge.disk_index import IndexUnavailable
from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import StoredResponse
from cdn.fleet.position import Position
from cdn.http.decide import Required
from cdn.http.no_vary_search import parse_no_vary_search

DELAY_S = 5.0
"""From a purge to the sweep behind it: a burst of purges is swept once."""

REST_S = 60.0
"""Between two sweeps of one site, which may have to look at a million responses."""

RETRY_S = 10.0
"""After a sweep that the index did not take."""

PAUSE_S = 0.02
"""Between two steps of a sweep, so that it takes a small part of one core."""


class FloorsOfSite(Protocol):
    """What reclaiming asks of a site's floors."""

    @property
    def sweepable(self) -> int: ...

    def required(self, names: tuple[str, ...], tags: tuple[str, ...]) -> Required: ...

    def required_with_any_query(self, path: str) -> Required: ...


class SweptFloors(Protocol):
    """What reclaiming asks of the node's floors."""

    def of(self, site_id: str) -> FloorsOfSite: ...

    def swept(self, site_id: str, through: Position) -> None: ...


@dataclass(slots=True)
class ReclaimCounters:
    """What sweeps did since the start."""

    sweeps: int = 0
    failed_sweeps: int = 0
    responses_removed: int = 0


@dataclass(slots=True)
class _Work:
    due_at: float
    removed_at: Position | None


class Reclaim:
    """Sweeps sites whose floors rose, one at a time.

    `position` says where the node stands now, `tags_of` which cache tags a stored response counts under now: more than
    it was stored with when the site's rules have given it others since.

    `floors_rose` and `site_removed` only note what is to be done; waiting work is bounded by the number of sites.
    """

    def __init__(
        self,
        disk: DiskTier,
        floors: SweptFloors,
        position: Callable[[], Position],
        tags_of: Callable[[StoredResponse], tuple[str, ...]],
        *,
        delay_s: float = DELAY_S,
        rest_s: float = REST_S,
        retry_s: float = RETRY_S,
        pause_s: float = PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._disk = disk
        self._floors = floors
        self._position = position
        self._tags_of = tags_of
        self._delay_s = delay_s
        self._rest_s = rest_s
        self._retry_s = retry_s
        self._pause_s = pause_s
        self._clock = clock
        self._work: dict[str, _Work] = {}
        self._swept_at: dict[str, float] = {}
        self._noted = asyncio.Event()
        self.counters = ReclaimCounters()

    @property
    def waiting(self) -> int:
        """Sites that are to be swept."""
        return len(self._work)

    def floors_rose(self, site_id: str) -> None:
        """A purge was applied for this site; also to be called for every site at a start."""
        if site_id not in self._work:
            now = self._clock()
            rested_at = self._swept_at.get(site_id, float("-inf")) + self._rest_s
            self._note(site_id, _Work(max(now + self._delay_s, rested_at), None))

    def site_removed(self, site_id: str, at: Position) -> None:
        """The site was removed at that position: everything it stored goes."""
        self._swept_at.pop(site_id, None)
        self._note(site_id, _Work(self._clock(), at))

    def _note(self, site_id: str, work: _Work) -> None:
        self._work[site_id] = work
        self._noted.set()

    async def run(self) -> None:
        """Sweep what is due, for ever; cancel to stop."""
        while True:
            self._noted.clear()
            if not self._work:
                await self._noted.wait()
                continue
            site_id = min(self._work, key=lambda each: self._work[each].due_at)
            wait_s = self._work[site_id].due_at - self._clock()
            if wait_s > 0:
                await self._wait(wait_s)
                continue
            await self.sweep_now(site_id)

    async def _wait(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._noted.wait()
        except TimeoutError:
            return

    async def sweep_now(self, site_id: str) -> None:
        """Sweep one site. When the index cannot take it, its floors stay and it is tried again later."""
        work = self._work.pop(site_id, None)
        removed_at = work.removed_at if work is not None else None
        try:
            if removed_at is not None:
                removed = await self._disk.remove_site(site_id, removed_at)
            else:
                removed = await self._sweep(site_id)
        except IndexUnavailable:
            self.counters.failed_sweeps += 1
            if site_id not in self._work:
                self._note(site_id, _Work(self._clock() + self._retry_s, removed_at))
            return
        self.counters.responses_removed += removed

    async def _sweep(self, site_id: str) -> int:
        floors = self._floors.of(site_id)
        if floors.sweepable == 0:
            return 0
        # Floors up to here are complete in what the sweep sees; one raised while it runs waits for the next.
        through = self._position()

        def is_unusable(stored: StoredResponse) -> bool:
            hard = floors.required(stored.names, self._tags_of(stored)).hard
            if _answers_other_queries(stored):  # also those that were purged, and nothing else would remember that
                paths = {name.partition("?")[0] for name in stored.names}
                hard = max(hard, *(floors.required_with_any_query(path).hard for path in paths))
            return stored.is_below(hard, self._position().epoch)

        removed = await self._disk.sweep(site_id, through, is_unusable, pause_s=self._pause_s)
        self._floors.swept(site_id, through)
        self.counters.sweeps += 1
        self._remember_sweep(site_id)
        return removed

    def _remember_sweep(self, site_id: str) -> None:
        now = self._clock()
        self._swept_at = {site: at for site, at in self._swept_at.items() if at + self._rest_s > now}
        self._swept_at[site_id] = now


def _answers_other_queries(stored: StoredResponse) -> bool:
    return stored.pulled is not None and parse_no_vary_search(stored.pulled.head.fields) is not None
