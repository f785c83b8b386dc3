"""When the store is swept: now and then by one replica, and when an administrator asks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from cdn.control.sweep import Sweep, Swept
from cdn.errors import CdnError, Conflict, Unavailable
from cdn.journal.tenure import Offices, Tenure

OFFICE = "store-sweep"

HOLD_ON_EVERY_S = 5.0
"""A fraction of how long an office lasts (15 s and more): two words may be lost."""

FAULT_PAUSE_S = 600.0
"""After a sweep that could not be done."""

log = logging.getLogger(__name__)


class SweepWatch:
    """Runs `Sweep` under its office, so that no two replicas do so at a time, and one sweep at a time in this one."""

    def __init__(
        self,
        sweep: Sweep,
        offices: Offices,
        holder: str,
        *,
        every_s: float,
        first_after_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`every_s`: from the end of one to the next; `first_after_s`: from the start of this process."""
        self._sweep = sweep
        self._offices = offices
        self._holder = holder
        self._every_s = every_s
        self._first_after_s = first_after_s
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._entering = asyncio.Lock()
        self._users = 0
        """Of the office, in this process."""
        self._tenure: Tenure | None = None
        self._holding: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.counters: dict[str, int] = dict.fromkeys(("sweeps", "sweeps_failed", "swept_objects", "swept_bytes"), 0)

    def start(self) -> None:
        """Sweep now and then from now on."""
        self._task = asyncio.create_task(self._run(), name="control-sweep")

    async def aclose(self) -> None:
        """Stop; what was removed is removed, and the rest goes next time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def run(self, *, grace_s: float | None = None, is_dry: bool = False) -> Swept:
        """Sweep now. Raises Conflict when another replica does, StoreUnavailable."""
        async with self._turn, self._office():
            swept = await self._sweep.run(grace_s=grace_s, is_dry=is_dry)
        self._count(swept, is_dry=is_dry)
        return swept

    async def remove_now(self, site_id: str, digests: Collection[str]) -> Swept:
        """Remove what was taken down, also while this replica sweeps. Raises Conflict when another one does: then it
        goes with that or the next sweep; CannotMark, StoreUnavailable."""
        async with self._office():
            swept = await self._sweep.remove_now(site_id, digests)
        self._count(swept, is_dry=False)
        return swept

    def _count(self, swept: Swept, *, is_dry: bool) -> None:
        if not is_dry:
            self.counters["swept_objects"] += swept.removed
            self.counters["swept_bytes"] += swept.removed_bytes

    @asynccontextmanager
    async def _office(self) -> AsyncIterator[None]:
        """The office for as long as somebody here needs it. Raises Conflict, JournalUnavailable."""
        async with self._entering:
            if not self._users:
                self._tenure = await self._offices.acquire(OFFICE, self._holder, now=self._monotonic())
                if self._tenure is None:
                    raise Conflict("Another control sweeps the store now: try again in a while.")
                self._holding = asyncio.create_task(self._hold_on(), name="control-sweep-office")
            self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            async with self._entering:
                if not self._users:
                    await self._leave()

    async def _leave(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            await asyncio.gather(self._holding, return_exceptions=True)
        tenure, self._holding, self._tenure = self._tenure, None, None
        if tenure is not None:
            try:
                await self._offices.release(tenure)
            except Unavailable as exc:  # what was done counts
                log.info("the office %s is left when its time is over: %s", OFFICE, exc)

    async def _hold_on(self) -> None:
        while True:
            await asyncio.sleep(HOLD_ON_EVERY_S)
            try:
                tenure = await self._offices.acquire(OFFICE, self._holder, now=self._monotonic())
                self._tenure = tenure or self._tenure
            except CdnError as exc:  # a second sweep does no harm: each closes the gate by itself
                log.info("the office %s is not held on to: %s", OFFICE, exc)

    async def _run(self) -> None:
        await asyncio.sleep(self._first_after_s)
        while True:
            pause_s = self._every_s
            try:
                swept = await self.run()
                self.counters["sweeps"] += 1
                log.info("the store was swept: %s", swept)
            except Conflict:
                log.debug("another control sweeps the store")
            except Exception as exc:  # whatever it is: without it the store only grows
                fault = None if isinstance(exc, CdnError) else exc
                log.warning("the store could not be swept, trying again: %s", exc, exc_info=fault)
                self.counters["sweeps_failed"] += 1
                pause_s = min(pause_s, FAULT_PAUSE_S)
            await asyncio.sleep(pause_s)
