"""Whether an office is this replica's, asked again and again: what one replica does, another goes on with."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from cdn.errors import Unavailable
from cdn.journal.tenure import Offices, Tenure

log = logging.getLogger(__name__)


class OfficeTurn:
    """Takes an office when it is free and holds on to it.

    For work that two may do at once without harm: while nobody can say whose office it is, it stays with who had it.
    """

    def __init__(
        self,
        offices: Offices,
        office: str,
        holder: str,
        *,
        renew_every_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holder` names this process; `renew_every_s` is a fraction of how long the office lasts."""
        self._offices = offices
        self._office = office
        self._holder = holder
        self._renew_every_s = renew_every_s
        self._monotonic = monotonic
        self._tenure: Tenure | None = None
        self._not_before = monotonic()
        self._ours = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it was when that was last known."""
        return self._ours.is_set()

    async def wait_ours(self) -> None:
        """Return once it is."""
        await self._ours.wait()

    def start(self) -> None:
        """Ask from now on."""
        self._task = asyncio.create_task(self._run(), name=f"office-{self._office}")

    async def aclose(self) -> None:
        """Ask no more, and leave the office to another at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._leave()

    async def step_aside(self, for_s: float) -> None:
        """Let another have it: what it is for does not work here. Ask again after `for_s`."""
        self._not_before = self._monotonic() + for_s
        await self._leave()

    async def _leave(self) -> None:
        tenure, self._tenure = self._tenure, None
        self._ours.clear()
        if tenure is not None:
            try:
                await self._offices.release(tenure)
            except Unavailable as exc:
                log.info("the office %s is left when its time is over: %s", self._office, exc)

    async def _run(self) -> None:
        while True:
            asked_at = self._monotonic()
            if asked_at < self._not_before:
                await asyncio.sleep(min(self._renew_every_s, self._not_before - asked_at))
                continue
            try:
                tenure = await self._offices.acquire(self._office, self._holder, now=asked_at)
            except Unavailable as exc:
                log.info("whose the office %s is cannot be said now: %s", self._office, exc)
            else:
                if tenure is not None and asked_at < self._not_before:  # it stepped aside while it asked
                    self._tenure = tenure
                    await self._leave()
                    continue
                self._tenure = tenure
                if tenure is None:
                    self._ours.clear()
                elif not self.is_ours:
                    log.info("the office %s is this replica's now", self._office)
                    self._ours.set()
            await asyncio.sleep(max(0.0, asked_at + self._renew_every_s - self._monotonic()))
