"""Collapsed fetches: at most one upstream fetch per key that a new request may join (DESIGN I6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cdn.errors import Unavailable
from cdn.fleet.position import Position

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


@dataclass(frozen=True, slots=True, eq=False)
class _Flight(Generic[V]):
    admitted: Position
    task: asyncio.Task[V]


class Collapse(Generic[K, V]):
    """Running fetches by key.

    A fetch belongs to nobody: a waiter that is cancelled leaves it running for the others, and its result is stored
    even if nobody is left. Errors reach every waiter.
    """

    def __init__(self, *, max_flights: int = MAX_FLIGHTS, max_flights_per_site: int = MAX_FLIGHTS_PER_SITE) -> None:
        self._max_flights = max_flights
        self._max_flights_per_site = max_flights_per_site
        self._current: dict[K, _Flight[V]] = {}
        self._tasks: set[asyncio.Task[V]] = set()
        self._per_site: dict[str, int] = {}
        self.refused = 0

    def __len__(self) -> int:
        """Fetches under way, those that a floor detached included."""
        return len(self._tasks)

    async def join(
        self, key: K, *, site_id: str, admitted: Position, hard: int, start: Callable[[], Awaitable[V]]
    ) -> Landed[V]:
        """Wait for the running fetch of `key`, or start one.

        `admitted` is the position the node stands at now, `hard` the hard floor that applies now. A running fetch
        that was admitted below that floor, or in another epoch, is left to its earlier waiters and another one starts
        (DESIGN I1). Between looking and starting nothing else runs.

        Raises TooManyFetches, and whatever the fetch raises.
        """
        flight = self._current.get(key)
        is_collapsed = flight is not None and _may_join(flight.admitted, admitted.epoch, hard)
        if flight is None or not is_collapsed:
            flight = self._launch(key, site_id, admitted, start)
        # The shield keeps a cancelled waiter from cancelling the fetch.
        value = await asyncio.shield(flight.task)
        return Landed(value, is_collapsed)

    async def aclose(self) -> None:
        """Cancel what is under way and wait for its end."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _launch(self, key: K, site_id: str, admitted: Position, start: Callable[[], Awaitable[V]]) -> _Flight[V]:
        running = self._per_site.get(site_id, 0)
        if len(self._tasks) >= self._max_flights or running >= self._max_flights_per_site:
            self.refused += 1
            raise TooManyFetches(
                f"{len(self._tasks)} fetches are under way ({running} for site {site_id}); at most "
                f"{self._max_flights} ({self._max_flights_per_site} per site) may be: try again in a moment"
            )

        async def run() -> V:
            return await start()

        task = asyncio.create_task(run(), name=f"fetch {site_id}")
        flight = _Flight(admitted, task)
        self._current[key] = flight
        self._tasks.add(task)
        self._per_site[site_id] = running + 1
        task.add_done_callback(lambda done: self._land(key, site_id, flight, done))
        return flight

    def _land(self, key: K, site_id: str, flight: _Flight[V], task: asyncio.Task[V]) -> None:
        self._tasks.discard(task)
        left = self._per_site[site_id] - 1
        if left:
            self._per_site[site_id] = left
        else:
            del self._per_site[site_id]
        # A floor may have put another flight in this one's place.
        if self._current.get(key) is flight:
            del self._current[key]
        if not task.cancelled():
            task.exception()  # every waiter has it; without any, asyncio would complain that nobody looked


def _may_join(admitted: Position, epoch: str, hard: int) -> bool:
    return admitted.epoch == epoch and admitted.sequence >= hard


class Shared(Generic[K, V]):
    """One running call per key, without floors: whoever asks meanwhile gets the same result."""

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
