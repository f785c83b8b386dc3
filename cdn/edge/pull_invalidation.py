"""What an answer to an unsafe request makes unusable on this node (RFC 9111 section 4.4, RFC 9875 section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cdn.edge.disk_index import IndexUnavailable
from cdn.edge.disk_tier import DiskTier
from cdn.edge.pull_flight import Flight, Flights
from cdn.edge.pull_key import PullKey
from cdn.edge.pull_marks import GroupMarks, Mark
from cdn.edge.pull_memory import PullMemory
from cdn.edge.pull_visit import PullVisit
from cdn.edge.site_view import SiteView
from cdn.http.cache_groups import invalidated_groups
from cdn.http.invalidation import invalidated_targets
from cdn.http.response_head import ResponseHead
from cdn.sites.query_policy import apply_query_policy

SCHEMES = ("http", "https")
"""A resource that changed has changed for those who asked by either."""

SWEEP_PAUSE_S = 0.02
"""Between two steps of a sweep, so that it takes a small part of one core."""


class PullInvalidation:
    """Acts before the answer is passed on: who has it, and asks again, is not given what it made obsolete."""

    def __init__(  # noqa: PLR0917 - everything that holds something
        self,
        disk: DiskTier,
        flights: Flights,
        marks: GroupMarks,
        memory: PullMemory,
        view: SiteView,
        on_obsolete: Callable[[str, str | None], None] = lambda site_id, path: None,
    ) -> None:
        """`on_obsolete` hears of each key's site and path, or of a site alone when some of its keys are meant."""
        self._on_obsolete = on_obsolete
        self._disk = disk
        self._flights = flights
        self._marks = marks
        self._memory = memory
        self._view = view
        self._sweeps: dict[str, asyncio.Task[None]] = {}
        self._unswept: set[str] = set()

    async def answered(self, visit: PullVisit, head: ResponseHead, flight: Flight) -> None:
        """The upstream answered a request; a safe or failed one invalidates nothing. `flight` brought the answer."""
        targets = invalidated_targets(visit.request, head.status, head.fields)
        if not targets:
            return
        for target in targets:
            query = apply_query_policy(visit.site.settings.query, target.query)
            name = target.path if query is None else f"{target.path}?{query}"
            for scheme in SCHEMES:
                await self._forget(_key_of(visit, scheme, name), flight)
        groups = invalidated_groups(head.fields)
        if groups:
            self._invalidate_groups(visit.site.id, groups)

    async def _forget(self, key: PullKey, flight: Flight) -> None:
        """Nothing stored under this key is used any more, nor stored if it was asked for before this answer."""
        self._on_obsolete(key.site_id, key.path)
        self._flights.detach(key, but=flight)
        for stored in await self._disk.find_all(key.site_id, key.path):
            self._disk.drop(stored)
        self._memory.forget(key)  # last: until then somebody could find it, and prepare it

    async def aclose(self) -> None:
        """End sweeps under way: what they left is dropped by marks as long as the node runs."""
        tasks = list(self._sweeps.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _invalidate_groups(self, site_id: str, groups: tuple[str, ...]) -> None:
        mark = Mark(self._disk.incarnation_now(), self._flights.next_number())
        self._on_obsolete(site_id, None)
        self._marks.raise_to(site_id, groups, mark)
        self._view.runtime(site_id).generation += 1  # nothing prepared is used without a look at its groups
        self._memory.forget_site(site_id)
        self._unswept.add(site_id)
        running = self._sweeps.get(site_id)
        if running is None or running.done():
            task = asyncio.create_task(self._sweep(site_id), name=f"sweep groups {site_id}")
            self._sweeps[site_id] = task
            task.add_done_callback(lambda done: self._forget_sweep(site_id, done))

    def _forget_sweep(self, site_id: str, task: asyncio.Task[None]) -> None:
        if self._sweeps.get(site_id) is task:
            del self._sweeps[site_id]

    async def _sweep(self, site_id: str) -> None:
        """Marks live in memory: what they cover has to leave the disk, so that a restart does not bring it back.

        What a sweep has passed already, when another mark is raised, the next one finds.
        """
        while site_id in self._unswept:
            self._unswept.discard(site_id)
            try:
                await self._disk.sweep(
                    site_id,
                    self._view.position,
                    lambda stored: self._marks.covers_stored(site_id, stored.tags, stored.incarnation),
                    pause_s=SWEEP_PAUSE_S,
                )
            except IndexUnavailable:
                return  # the marks hold as long as the node runs, and the index that fails is begun anew empty


def _key_of(visit: PullVisit, scheme: str, name: str) -> PullKey:
    _, _, host_and_name = visit.key.path.partition(" ")
    host = host_and_name.removesuffix(visit.key.name)
    return PullKey(visit.site.id, f"{scheme} {host}{name}", name)
