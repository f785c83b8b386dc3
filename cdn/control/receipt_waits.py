"""Who waits for a receipt: woken when no node that may still serve is short of the record (DESIGN I8)."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from cdn.errors import Unavailable
from cdn.fleet.acknowledgements import Acknowledgements
from cdn.fleet.node import NodeView
from cdn.fleet.position import Position

MAX_WAITS = 4096
"""Callers waiting for receipts or preparations at once."""

SOONEST_LOOK_S = 0.001
"""Timers are coarse: one that rang a little before its time is set again for so long at least."""


class Room:
    """How many wait, for whatever it is: more are told to come back."""

    def __init__(self) -> None:
        self.taken = 0

    def __enter__(self) -> None:
        if self.taken >= MAX_WAITS:
            raise Unavailable(f"{MAX_WAITS} callers wait for nodes already: ask again without waiting")
        self.taken += 1

    def __exit__(self, *exc: object) -> None:
        self.taken -= 1


class ReceiptWaits:
    """Holds where every node stands that may serve by its lease, and those who wait for all of them to pass a record.

    They wait in order of the record, and only the first in line is compared when a node moves: an acknowledgement costs
    the same however many wait. Nothing is polled: a lease that runs out rings one timer.
    """

    def __init__(self, clock: Callable[[], float], room: Room) -> None:
        self._clock = clock
        self._room = room
        self._may_serve = Acknowledgements()
        self._over_at: dict[str, float] = {}
        self._leases: list[tuple[float, str]] = []
        self._lines: dict[str, list[tuple[int, int, asyncio.Event]]] = {}
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def stands(self, view: NodeView) -> None:
        """What is known of the node now."""
        over_at = view.detached_at
        if over_at is not None and over_at <= self._clock():
            self.forget(view.node_id)
            return
        self._may_serve.note(view.node_id, view.position)
        if over_at is None:
            self._over_at.pop(view.node_id, None)
        elif self._over_at.get(view.node_id) != over_at:
            self._over_at[view.node_id] = over_at
            heapq.heappush(self._leases, (over_at, view.node_id))
            self._set_timer()
        self._wake()

    def forget(self, node_id: str) -> None:
        """The node serves no more, or is no longer known."""
        self._may_serve.forget(node_id)
        self._over_at.pop(node_id, None)
        self._wake()

    def are_past(self, position: Position) -> bool:
        """Whether no node that may serve is short of `position` now."""
        self._end_leases()
        return self._may_serve.covers(position)

    async def wait(self, position: Position, timeout_s: float) -> bool:
        """Return when no node that may serve is short of `position`; False: not within `timeout_s`. Raises Unavailable.

        A node that comes back a moment later may be short of it again.
        """
        if timeout_s <= 0 or self.are_past(position):
            return self.are_past(position)
        with self._room:
            woken = asyncio.Event()
            entry = (position.sequence, next(self._numbers), woken)
            heapq.heappush(self._lines.setdefault(position.epoch, []), entry)
            self._set_timer()
            try:
                async with asyncio.timeout(timeout_s):
                    await woken.wait()
            except TimeoutError:
                return False
            finally:
                self._step_out(position.epoch, entry)
        return True

    def close(self) -> None:
        """No timer rings any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        for epoch, line in self._lines.items():
            while line and self._may_serve.covers(Position(epoch, line[0][0])):
                heapq.heappop(line)[2].set()

    def _step_out(self, epoch: str, entry: tuple[int, int, asyncio.Event]) -> None:
        line = self._lines.get(epoch)
        if line is None:
            return
        if not entry[2].is_set():
            line.remove(entry)
            heapq.heapify(line)
        if not line:
            del self._lines[epoch]

    def _end_leases(self) -> None:
        now = self._clock()
        while self._leases and self._leases[0][0] <= now:
            over_at, node_id = heapq.heappop(self._leases)
            if self._over_at.get(node_id) == over_at:
                self.forget(node_id)

    def _set_timer(self) -> None:
        """Ring when the next lease is over, if anybody waits."""
        self.close()
        if self._leases and self._lines:
            after_s = max(self._leases[0][0] - self._clock(), SOONEST_LOOK_S)
            self._timer = asyncio.get_running_loop().call_later(after_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._end_leases()
        self._set_timer()
