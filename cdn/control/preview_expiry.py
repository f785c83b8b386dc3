"""Removes previews whose time is over, in the background, at one replica at a time."""

from __future__ import annotations

import asyncio
import logging

from cdn.control.aliases import Aliases
from cdn.control.services import Services
from cdn.errors import CdnError, Unavailable
from cdn.journal.tenure import Tenure

LOOK_EVERY_S = 60.0
"""How often it is looked for them. Nodes answer nothing of a preview from the moment on that its time is over."""

KEPT_OVER_S = 86_400.0
"""A preview that is over is removed a day later: until then visitors are told that it was there, and whoever wants it
for longer gives it another end."""

OFFICE = "preview-expiry"

ACTOR = "control"

log = logging.getLogger(__name__)


class PreviewExpiry:
    """Looks again and again; what cannot be removed now is removed the next time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._aliases = Aliases(services)
        self._task: asyncio.Task[None] | None = None
        self._tenure: Tenure | None = None

    def start(self) -> None:
        """Look from now on."""
        self._task = asyncio.create_task(self._run(), name="control-preview-expiry")

    async def aclose(self) -> None:
        """Stop looking, and leave the office to another at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._tenure is not None:
            tenure, self._tenure = self._tenure, None
            try:
                await self._services.offices.release(tenure)
            except Unavailable as exc:
                log.info("the office %s is left when its time is over: %s", OFFICE, exc)

    async def look(self) -> int:
        """Remove what is over now, if this replica has the office. How many went. Raises Unavailable."""
        services = self._services
        self._tenure = await services.offices.acquire(OFFICE, services.holder, now=services.monotonic())
        if self._tenure is None:
            return 0
        before = services.clock() - KEPT_OVER_S
        catalog, count = services.catalog, 0
        for site in catalog.sites():
            for alias, state in catalog.aliases(site.id).items():
                if state.is_over(before) and await self._aliases.remove_over(site, alias, ACTOR):
                    log.info("the preview %s of site %s is removed: its time is over", alias, site.name)
                    count += 1
            await asyncio.sleep(0)
        return count

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except CdnError as exc:
                log.warning("previews that are over are looked for later: %s", exc)
            except Exception:  # whatever it is: without this they only grow in number
                log.exception("previews that are over are looked for later")
