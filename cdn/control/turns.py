"""Who may do something costly now: so many at one time, and of these only a fair share for one site (DESIGN I10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cdn.errors import Unavailable


@dataclass(slots=True)
class _Share:
    free: asyncio.Semaphore
    users: int = 0
    waiting: int = 0


class Turns:
    """At most `most` at one time, `most_of_site` of them for one site.

    With `most_waiting`, that many wait and half as many of one site; further ones are refused with `refusal`.
    """

    def __init__(
        self,
        most: int,
        most_of_site: int,
        *,
        most_waiting: int | None = None,
        refusal: str = "",
        retry_after_s: int = 1,
    ) -> None:
        self._free = asyncio.Semaphore(most)
        self._most_of_site = most_of_site
        self._most_waiting = most_waiting
        self._refusal = refusal
        self._retry_after_s = retry_after_s
        self._shares: dict[str, _Share] = {}
        self._waiting = 0

    @asynccontextmanager
    async def take(self, site_id: str) -> AsyncIterator[None]:
        """Wait for a turn of the site, then for one of all: a site that waits holds up only itself.

        Raises Unavailable when too many wait.
        """
        share = self._shares.setdefault(site_id, _Share(asyncio.Semaphore(self._most_of_site)))
        share.users += 1
        try:
            await self._wait(share)
            try:
                yield
            finally:
                self._free.release()
                share.free.release()
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[site_id]

    async def _wait(self, share: _Share) -> None:
        if (share.free.locked() or self._free.locked()) and self._is_full(share):
            raise Unavailable(self._refusal, retry_after_s=self._retry_after_s)
        self._waiting += 1
        share.waiting += 1
        try:
            await share.free.acquire()
            try:
                await self._free.acquire()
            except BaseException:
                share.free.release()
                raise
        finally:
            self._waiting -= 1
            share.waiting -= 1

    def _is_full(self, share: _Share) -> bool:
        most = self._most_waiting
        return most is not None and (self._waiting >= most or share.waiting >= (most + 1) // 2)
