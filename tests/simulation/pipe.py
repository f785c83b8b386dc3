"""Sockets in memory between the processes of one machine: in order, a little late, and ended when a process dies."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from tests.simulation.virtual_time import Machine, VirtualLoop


class PipeEnd(asyncio.Transport):
    """One process's end. What came before anybody listened here waits."""

    def __init__(self, pipes: Pipes, machine: Machine) -> None:
        super().__init__()
        self.machine = machine
        self.other: PipeEnd
        self._pipes = pipes
        self._protocol: Any = None
        self._held: list[bytes | None] = []
        self._due = 0.0
        self._is_closing = False
        self._is_lost = False

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """From now on `protocol` is told what comes."""
        self._protocol = protocol
        protocol.connection_made(self)
        held, self._held = self._held, []
        for item in held:
            self.arrive(item)

    def write(self, data: Any) -> None:
        if not self._is_closing:
            self._carry(bytes(data))

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._carry(None)
            self._pipes.loop.call_soon(self._lose, context=self.machine.context)

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """There is room for everything that a simulation sends."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def died(self) -> None:
        """The process is gone: its kernel closes."""
        if not self._is_closing:
            self._is_closing = self._is_lost = True
            self._carry(None)

    def _carry(self, item: bytes | None) -> None:
        loop = self._pipes.loop
        self._due = max(self._due, loop.now + self._pipes.latency_s())
        loop.deliver(self._due, self.other.machine, self.other.arrive, item)

    def arrive(self, item: bytes | None) -> None:
        """Something came, None: the end."""
        if self._protocol is None:
            self._held.append(item)
        elif item is None:
            self._is_closing = True
            self._lose()
        elif not self._is_lost:
            self._protocol.data_received(item)

    def _lose(self) -> None:
        if not self._is_lost and self._protocol is not None:
            self._is_lost = True
            self._protocol.connection_lost(None)


class Pipes:
    """Every pipe of a run. `slowest_s`: what comes through one takes so long at most."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, slowest_s: float) -> None:
        self.loop = loop
        self.slowest_s = slowest_s
        self._rng = rng
        self._ends: dict[Machine, list[PipeEnd]] = {}

    def latency_s(self) -> float:
        return self._rng.uniform(0.0, self.slowest_s)

    def pair(self, one: Machine, other: Machine) -> tuple[PipeEnd, PipeEnd]:
        """Two ends that are connected."""
        near, far = PipeEnd(self, one), PipeEnd(self, other)
        near.other, far.other = far, near
        for end in (near, far):
            self._ends.setdefault(end.machine, []).append(end)
        return near, far

    def hand_over(self, end: PipeEnd, machine: Machine) -> None:
        """The end belongs to another process now, which was started with it."""
        self._ends[end.machine].remove(end)
        end.machine = machine
        self._ends.setdefault(machine, []).append(end)

    def died(self, machine: Machine) -> None:
        """The process is gone: the other ends hear of it."""
        for end in self._ends.pop(machine, ()):
            end.died()


def open_stream(end: PipeEnd) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The end, as asyncio's streams have it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    end.begin(protocol)
    return reader, asyncio.StreamWriter(end, protocol, reader, loop)
