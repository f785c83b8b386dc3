"""Collapsed fetches: at most one upstream fetch per key that a new request may join (DESIGN I6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cdn.errors import Unavailable

MAX_FLIGHTS = 4096
"""Fetches under way or waiting for their turn, on the node: each may come to hold one chunk of 1 MiB."""

MAX_FLIGHTS_PER_SITE = 1024
"""The part of them that one site may take, so that one slow or crawled site leaves room for the others."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TooManyFetches(Unavailable):
    """The node has as many fetches under way as it may have; a request that needs another is turned away."""


@dataclass(frozen=True, slots=True)
class Landed(Generic[V]):
    """What a fetch brought, and whether this waiter had joined one that another request started."""

    value: V
    is_collapsed: bool


class Collapse(Generic[K, V]):
    """Running fetches by key. The key has to name one admission: what a floor forbids is admitted anew, so nobody who
    came after the floor joins a fetch from before it, whatever has become of the floor since (DESIGN I1).

    A fetch belongs to nobody: a waiter that is cancelled leaves it running for the others, and its result is stored
    even if nobody is left. Errors reach every waiter.
    """

    def __init__(self, *, max_flights: int = MAX_FLIGHTS, max_flights_per_site: int = MAX_FLIGHTS_PER_SITE) -> None:
        self._max_flights = max_flights
        self._max_flights_per_site = max_flights_per_site
        self._flights: dict[K, asyncio.Task[V]] = {}
        self._per_site: dict[str, int] = {}
        self.refused = 0

    def __len__(self) -> int:
        """Fetches under way."""
        return len(self._flights)

    async def join(self, key: K, *, site_id: str, start: Callable[[], Coroutine[object, object, V]]) -> Landed[V]:
        """Wait for the running fetch of `key`, or start one; between looking and starting nothing else runs.

        Raises TooManyFetches, and whatever the fetch raises.
        """
        flight = self._flights.get(key)
        is_collapsed = flight is not None
        if flight is None:
            flight = self._launch(key, site_id, start)
        # The shield keeps a cancelled waiter from cancelling the fetch.
        return Landed(await asyncio.shield(flight), is_collapsed)

    async def aclose(self) -> None:
        """Cancel what is under way and wait for its end."""
        flights = tuple(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _launch(self, key: K, site_id: str, start: Callable[[], Coroutine[object, object, V]]) -> asyncio.Task[V]:
        running = self._per_site.get(site_id, 0)
        if len(self._flights) >= self._max_flights or running >= self._max_flights_per_site:
            self.refused += 1
            raise TooManyFetches(
                f"{len(self._flights)} fetches are under way ({running} for site {site_id}); at most "
                f"{self._max_flights} ({self._max_flights_per_site} per site) may be: try again in a moment"
            )
        flight = self._flights[key] = asyncio.create_task(start(), name=f"fetch {site_id}")
        self._per_site[site_id] = running + 1
        flight.add_done_callback(lambda done: self._land(key, site_id, done))
        return flight

    def _land(self, key: K, site_id: str, flight: asyncio.Task[V]) -> None:
        del self._flights[key]
        left = self._per_site[site_id] - 1
        if left:
            self._per_site[site_id] = left
        else:
            del self._per_site[site_id]
        if not flight.cancelled():
            flight.exception()  # every waiter has it; without any, asyncio would complain that nobody looked


class Shared(Generic[K, V]):
    """One running call per key, unbounded: whoever asks meanwhile gets the same result."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[V]] = {}

    async def join(self, key: K, start: Callable[[], Coroutine[object, object, V]]) -> V:
        """The result of the running call, or of a new one. A cancelled waiter leaves it running."""
        task = self._tasks.get(key)
        # One that is over is forgotten a moment later: what it said may not hold any more.
        if task is None or task.done():
            task = self._tasks[key] = asyncio.create_task(start())
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Wait for what is under way: these calls are short."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _forget(self, key: K, task: asyncio.Task[V]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()
