"""Who is due: rounds over claims, domains and certificates, at their times and at most so many at one time."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable

from cdn.control.domain_documents import spread
from cdn.control.domain_work import DomainWork
from cdn.control.office_turn import OfficeTurn
from cdn.control.state import ControlState
from cdn.errors import CdnError
from cdn.fleet.position import Position

FAULT_PAUSE_S = 30.0
"""Before a name is worked on again after journal or store failed in the middle of it."""

log = logging.getLogger(__name__)

NOTICE_PAUSES = 20.0
"""So much longer than it took to look at all names nobody looks again: a thousand that come one by one cost a
twentieth of a core, and not a look at all of them each."""

STALE_PART = 2
STALE_LEAST = 1_000
"""Times that a name had before stay until they come; beyond so many a name, and so many at all, they are dropped."""

MAX_PASSED = 1000
"""Names of sites with their share that are passed by in one round, to find one of another's: 1 ms."""

REGIONS_S = 5.0
"""How often it is looked whether sites have moved to other regions: a look at every site."""

Name = tuple[str, str]
"""A domain and its site; "" is the CDN's own zone's."""


class DomainWatch:
    """Works on names when they are due, while the office of all domains is this replica's.

    A name that is new is due at once; one that was worked on says itself when it is due next. Where the office comes
    from another replica, all names are new: those that are not due find so in their document.
    """

    def __init__(
        self,
        work: DomainWork,
        state: ControlState,
        turn: OfficeTurn,
        *,
        round_s: float,
        most: int,
        clock: Callable[[], float],
    ) -> None:
        """`clock` is wall time; `most` names are worked on at one time."""
        self._work = work
        self._state = state
        self._turn = turn
        self._round_s = round_s
        self._clock = clock
        self._most = most
        self._due: dict[Name, float] = {}
        self._heap: list[tuple[float, Name]] = []
        self._running: dict[Name, asyncio.Task[None]] = {}
        self._seen: object = None
        self._was_ours = False
        self._gone: set[Name] = set()
        self._again: set[Name] = set()
        self._notice_not_before = 0.0
        self._sweeping: asyncio.Task[None] | None = None
        self._regions_seen_at = 0.0
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Rounds run from now on."""
        self._turn.start()
        self._state.watch(self._look_up)
        self._task = asyncio.create_task(self._run(), name="domain-watch")

    async def aclose(self) -> None:
        """Stop; what is under way is gone on with by whoever is next."""
        of_own = [task for task in (self._task, self._sweeping) if task is not None]
        tasks = [*self._running.values(), *of_own]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None
        await self._turn.aclose()

    def due_at(self, domain: str, site_id: str) -> float | None:
        """When the name is worked on next, if it is for this replica to do."""
        return self._due.get((domain, site_id))

    def look_soon(self, domain: str, site_id: str) -> None:
        """Something was said of the name: it is due."""
        self._set((domain, site_id), self._clock())
        self._moved.set()

    def worked(self, domain: str, site_id: str, next_at: float) -> None:
        """The name was worked on for a caller."""
        if (domain, site_id) in self._due:
            self._set((domain, site_id), next_at)

    def forgotten(self, domain: str, site_id: str) -> None:
        """The site has the name no more."""
        self._due.pop((domain, site_id), None)
        self._gone.discard((domain, site_id))

    async def round(self) -> None:
        """Begin work on every name that is due, as far as there is room."""
        if not self._turn.is_ours:
            self._was_ours = False
            self._due, self._heap, self._gone, self._seen = {}, [], set(), None
            return
        if not self._was_ours:
            self._was_ours, self._seen, self._notice_not_before = True, None, 0.0
            self._sweeping = asyncio.create_task(self._sweep(), name="domain-sweep")
        self._notice()
        now = self._clock()
        if not self._regions_seen_at <= now < self._regions_seen_at + REGIONS_S:
            self._regions_seen_at = now
            for name in self._work.moved() & self._due.keys():
                self._set(name, now)
        passed: list[tuple[float, Name]] = []
        while self._heap and len(self._running) < self._most and len(passed) < MAX_PASSED:
            at, name = self._heap[0]
            if at > now:
                break
            heapq.heappop(self._heap)
            if self._due.get(name) != at:
                continue  # it has another time by now
            if self._has_its_share(name[1]):
                passed.append((at, name))
            else:
                self._begin(name)
        for at, name in passed:  # what others leave
            if len(self._running) < self._most:
                self._begin(name)
            else:
                heapq.heappush(self._heap, (at, name))

    def _has_its_share(self, site_id: str) -> bool:
        """Whether the site has half of what is under way: names of others go first, however long they have waited."""
        return 2 * sum(name[1] == site_id for name in self._running) >= self._most

    def _begin(self, name: Name) -> None:
        if name in self._running:
            self._again.add(name)  # what is under way began before whatever makes it due
        else:
            self._running[name] = asyncio.create_task(self._worked(name), name=f"domain-{name[0]}")

    async def settled(self) -> None:
        """Return once what was begun is done."""
        while self._running:
            await asyncio.wait(tuple(self._running.values()))

    def _notice(self) -> None:
        """Names that came are due, and those that went are forgotten."""
        seen, began = self._work.generation, time.monotonic()
        if seen == self._seen or began < self._notice_not_before:
            return
        self._seen, now = seen, self._clock()
        busy_s = time.thread_time()
        names = self._work.names()
        for name in self._due.keys() - names - self._gone:
            self._gone.add(name)  # worked on once more: what is known of it goes
            self._set(name, now)
        self._gone -= names
        for name in names - self._due.keys():
            self._set(name, self._work.first_due_at(*name, now))
        self._notice_not_before = began + NOTICE_PAUSES * (time.thread_time() - busy_s)

    async def _sweep(self) -> None:
        """What is known of names that went while nobody looked goes too."""
        try:
            async for name in self._work.remembered():
                if name not in self._due:
                    self._gone.add(name)
                    self._set(name, self._clock())
        except CdnError as error:
            log.info("what is known of names that are gone is dropped some other time: %s", error)

    def _set(self, name: Name, at: float) -> None:
        self._due[name] = at
        heapq.heappush(self._heap, (at, name))
        if len(self._heap) > STALE_LEAST + STALE_PART * len(self._due):
            self._heap = [(due_at, each) for each, due_at in self._due.items()]
            heapq.heapify(self._heap)

    async def _worked(self, name: Name) -> None:
        now = self._clock()
        next_at = now + FAULT_PAUSE_S * (1 + spread(f"{name[0]}{now}"))
        try:
            next_at = await self._work.advance(*name)
        except CdnError as error:
            log.warning("%s is looked at again later: %s", name[0], error)
        except Exception:  # one name that this program cannot work on must not stop the others
            log.exception("%s is looked at again later", name[0])
        finally:
            del self._running[name]
            if name in self._again:
                self._again.discard(name)
                next_at = self._clock()
            if name in self._gone and next_at == float("inf"):
                self._gone.discard(name)
                self._due.pop(name, None)
            elif name in self._due:
                self._set(name, next_at)
            self._moved.set()

    def _look_up(self, position: Position) -> None:
        if self._work.generation != self._seen:
            self._moved.set()

    async def _run(self) -> None:
        while True:
            self._moved.clear()
            try:
                await self.round()
            except CdnError as error:
                log.warning("domains are looked at later: %s", error)
            try:
                async with asyncio.timeout(self._round_s):
                    await self._moved.wait()
            except TimeoutError:
                continue
