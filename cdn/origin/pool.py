"""Connections to upstreams, kept between requests and bounded: per upstream, in total, and in how long one waits."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from cdn.origin.endpoint import Endpoint
from cdn.origin.http1.connection import UpstreamConnection
from cdn.origin.upstream import UpstreamBroken, UpstreamFault
from cdn.origin.upstream_limits import UpstreamLimits

SURE_CONNECTIONS = 8
"""Connections that an upstream may have however many others have theirs. Beyond, it gets no more than a share of what
is free: so slow upstreams, together, leave places for the others (DESIGN I10)."""

SHARE_OF_FREE = 4
"""An upstream may have a quarter of what the others leave free."""

Connect = Callable[[Endpoint, float], Awaitable[UpstreamConnection]]
"""Makes a connection within so many seconds per step."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A connection for one exchange. `release` takes it back, once: True when another request may be sent on it."""

    connection: UpstreamConnection
    is_reused: bool
    release: Callable[[bool], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Idle:
    endpoint: Endpoint
    connection: UpstreamConnection
    since: float
    timer: asyncio.TimerHandle


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A request in the queue. It is given an idle connection, or None: the place for a new one, already counted."""

    endpoint: Endpoint
    granted: asyncio.Future[UpstreamConnection | None]


class Pool:
    """All connections of a node to its upstreams. One loop only.

    A request takes the connection that was used last; else opens one; else waits, first come, first served among those
    that can be served. A place is counted from before it is connected until it is closed.
    """

    def __init__(self, connect: Connect, limits: UpstreamLimits) -> None:
        self._connect = connect
        self._limits = limits
        self._open: Counter[Endpoint] = Counter()
        self._total = 0
        self._idle: dict[Endpoint, deque[_Idle]] = {}
        self._used: set[UpstreamConnection] = set()
        self._waiting: deque[_Waiting] = deque()
        self._is_closed = False

    @property
    def open_connections(self) -> int:
        """Connections that are open or being opened."""
        return self._total

    @property
    def idle_connections(self) -> int:
        """Connections that wait for a request."""
        return sum(len(idle) for idle in self._idle.values())

    async def acquire(self, endpoint: Endpoint, timeout_s: float, *, max_idle_s: float | None = None) -> Lease:
        """A connection to `endpoint`, idle for at most `max_idle_s` (0: a new one), whatever it takes to get one.

        Raises UpstreamBroken; TOO_MANY_CONNECTIONS when none is free within `timeout_s`.
        """
        if self._has_closed():
            raise _shutting_down()
        connection = self._take_idle(endpoint, max_idle_s)
        if connection is None and not self._take_place(endpoint):
            connection = await self._wait(endpoint, timeout_s)
        is_reused = connection is not None
        if connection is None:
            try:
                connection = await self._connect(endpoint, timeout_s)
            except BaseException:
                self._give_place(endpoint)
                raise
        if self._has_closed():
            connection.abort()
            self._give_place(endpoint)
            raise _shutting_down()
        self._used.add(connection)
        return Lease(connection, is_reused, partial(self._release, endpoint, connection))

    async def aclose(self) -> None:
        """Close all connections, also those in use: their exchanges end as broken."""
        self._is_closed = True
        for idle in [kept for of_endpoint in self._idle.values() for kept in of_endpoint]:
            self._drop(idle)
        for connection in self._used:
            connection.abort()
        for waiting in self._waiting:
            if not waiting.granted.done():
                waiting.granted.set_exception(_shutting_down())
        self._waiting.clear()
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    def _has_closed(self) -> bool:
        return self._is_closed

    def _release(self, endpoint: Endpoint, connection: UpstreamConnection, is_reusable: bool) -> None:
        self._used.discard(connection)
        if is_reusable and not connection.is_lost and not self._is_closed:
            self._keep(endpoint, connection)
        else:
            connection.abort()
            self._give_place(endpoint)

    def _keep(self, endpoint: Endpoint, connection: UpstreamConnection) -> None:
        for waiting in self._waiting:
            if waiting.endpoint == endpoint and not waiting.granted.done():
                waiting.granted.set_result(connection)
                return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._limits.idle_timeout_s, lambda: self._discard(idle))
        idle: _Idle = _Idle(endpoint, connection, loop.time(), timer)
        connection.on_lost = lambda: self._discard(idle)
        self._idle.setdefault(endpoint, deque()).append(idle)
        self._serve_waiting()  # one that waits for a place in total can have this one's

    def _take_idle(self, endpoint: Endpoint, max_idle_s: float | None) -> UpstreamConnection | None:
        kept = self._idle.get(endpoint)
        if kept is None:
            return None
        newest = kept[-1]
        if max_idle_s is not None and asyncio.get_running_loop().time() - newest.since >= max_idle_s:
            return None
        self._forget(newest)
        return newest.connection

    def _forget(self, idle: _Idle) -> None:
        idle.timer.cancel()
        idle.connection.on_lost = None
        kept = self._idle[idle.endpoint]
        kept.remove(idle)
        if not kept:
            del self._idle[idle.endpoint]

    def _drop(self, idle: _Idle) -> None:
        self._forget(idle)
        idle.connection.abort()
        self._count_down(idle.endpoint)

    def _discard(self, idle: _Idle) -> None:
        self._drop(idle)
        self._serve_waiting()

    def _take_place(self, endpoint: Endpoint) -> bool:
        """Count one more connection to `endpoint` if the bounds allow, when idle ones are closed for it."""
        if self._has_its_share(endpoint):
            if endpoint not in self._idle:
                return False
            self._drop(self._idle[endpoint][0])
        elif self._total >= self._limits.max_connections:
            if not self._idle:
                return False
            self._drop(min((kept[0] for kept in self._idle.values()), key=lambda idle: idle.since))
        self._open[endpoint] += 1
        self._total += 1
        return True

    def _has_its_share(self, endpoint: Endpoint) -> bool:
        opened = self._open[endpoint]
        if opened >= self._limits.max_connections_per_upstream:
            return True
        if opened < SURE_CONNECTIONS:
            return False
        free = self._limits.max_connections - self._total + self.idle_connections
        return opened >= max(SURE_CONNECTIONS, free // SHARE_OF_FREE)

    def _give_place(self, endpoint: Endpoint) -> None:
        self._count_down(endpoint)
        self._serve_waiting()

    def _count_down(self, endpoint: Endpoint) -> None:
        self._total -= 1
        self._open[endpoint] -= 1
        if not self._open[endpoint]:
            del self._open[endpoint]

    def _serve_waiting(self) -> None:
        """Give the place that became free to the first that can use it."""
        for waiting in self._waiting:
            if not waiting.granted.done() and self._take_place(waiting.endpoint):
                waiting.granted.set_result(None)
                return

    async def _wait(self, endpoint: Endpoint, timeout_s: float) -> UpstreamConnection | None:
        if len(self._waiting) >= self._limits.max_waiting:
            raise _too_many(endpoint, f"{self._limits.max_waiting} requests wait for one")
        waiting = _Waiting(endpoint, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        granted = waiting.granted
        try:
            async with asyncio.timeout(timeout_s):
                return await granted
        except BaseException as exc:
            # It may have been granted in the very moment in which this was cancelled or out of time.
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._return_grant(endpoint, granted.result())
            if isinstance(exc, TimeoutError):
                raise _too_many(endpoint, f"none became free within {timeout_s:g} s") from exc
            raise
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def _return_grant(self, endpoint: Endpoint, connection: UpstreamConnection | None) -> None:
        if connection is None:
            self._give_place(endpoint)
        else:
            self._release(endpoint, connection, is_reusable=True)


def _too_many(endpoint: Endpoint, why: str) -> UpstreamBroken:
    return UpstreamBroken(
        UpstreamFault.TOO_MANY_CONNECTIONS, f"All connections to the upstream {endpoint} are in use: {why}."
    )


def _shutting_down() -> UpstreamBroken:
    return UpstreamBroken(UpstreamFault.CLOSED, "The node is shutting down.")
