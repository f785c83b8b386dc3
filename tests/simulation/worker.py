"""Workers: the product's pool, relay and exchange between processes that can be stopped and killed one by one."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from cdn.edge.prepared import Prepared
from cdn.edge.visitor import Visitor
from cdn.edge.worker import Worker
from cdn.edge.worker_answering import Answering
from cdn.edge.worker_application import WorkerApplication
from cdn.edge.worker_exchange import ExchangeServer
from cdn.http.request import Request
from tests.simulation.pipe import PipeEnd, Pipes, open_stream
from tests.simulation.virtual_time import Machine, VirtualLoop, this_machine

if TYPE_CHECKING:
    from tests.simulation.node import Life

BEAT_S = 0.9
"""Rarer than the product's, so that less of a run goes by with it; a lease still takes two."""

VISITOR = Visitor("192.0.2.1", lambda status, fields: None)


class NoContent:
    """Of a GET."""

    size_bytes = 0

    def __aiter__(self) -> Any:
        raise AssertionError("nobody reads the content of a GET")


NO_CONTENT = NoContent()


class Socket:
    """A descriptor: of a pipe, or where a worker listens."""

    numbers = itertools.count(3)

    def __init__(self, end: PipeEnd | None = None) -> None:
        self.end = end
        self.number = next(self.numbers)

    def fileno(self) -> int:
        return self.number

    def getsockname(self) -> tuple[str, int]:
        return "", 80

    def close(self) -> None:
        """Its process keeps it until it ends."""

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


class Process:
    """asyncio.subprocess.Process, as far as the pool uses it."""

    def __init__(self, workers: Workers, machine: Machine, pid: int) -> None:
        self.pid = pid
        self.machine = machine
        self.returncode: int | None = None
        self._workers = workers
        self._ended = asyncio.Event()

    def kill(self) -> None:
        self._workers.kill(self, -9)

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def over(self, code: int) -> None:
        """Its parent may know now."""
        self.returncode = code
        self._ended.set()


class Listener:
    """What visitors connect to: what of cdn.edge.listener a worker uses, and the memo of heads before it."""

    def __init__(self, application: WorkerApplication, monotonic: Callable[[], float]) -> None:
        self.application = application
        self.machine = this_machine()
        self.serves_until = -inf
        self.open_connections = 0
        self.counters = SimpleNamespace(connections=0, memo_hits=0, recalled=0, answered=0, timed_out=0, refused={})
        self._memo: dict[tuple[str, str], Prepared] = {}
        self._monotonic = monotonic

    def withdraw(self) -> None:
        """Connections are not simulated."""

    async def drain(self, timeout_s: float) -> None:
        """Connections are not simulated."""

    async def get(self, request: Request) -> bytes:
        """The content of the answer, as the engine comes by it."""
        now, head = self._monotonic(), (request.host, request.target.path)
        if now < self.serves_until:
            hit = self._memo.get(head)
            if hit is None or not hit.is_usable(now):
                hit = self.application.recall(request, now)
            if hit is not None:
                self._memo[head] = hit
                self.counters.recalled += 1
                return hit.content
        response = await self.application.answer(request, NO_CONTENT, VISITOR)
        assert isinstance(response.content, bytes)
        return response.content


class Workers:
    """The processes of every node's workers."""

    def __init__(self, loop: VirtualLoop, pipes: Pipes, rng: random.Random) -> None:
        self.loop = loop
        self.pipes = pipes
        self._rng = rng
        self._exchanges: dict[str, tuple[ExchangeServer, Machine]] = {}
        self._sockets: dict[int, Socket] = {}
        self._running: dict[Machine, list[Process]] = {}
        self._listeners: dict[Machine, Listener] = {}
        self._pids = itertools.count(100)
        loop.connect_unix = self.connect

    def listeners(self, life: Life) -> list[Listener]:
        """Where a visitor of the node may come out."""
        running = self._running.get(life.machine, ())
        return [self._listeners[each.machine] for each in running if each.machine in self._listeners]

    def running(self, life: Life) -> list[Process]:
        """The node's workers."""
        return list(self._running.get(life.machine, ()))

    def died(self, machine: Machine) -> None:
        """A node's process has ended: none of its workers outlives it, stopped or not (PR_SET_PDEATHSIG)."""
        for process in tuple(self._running.pop(machine, ())):
            self.kill(process, -9)
        self.pipes.died(machine)

    def kill(self, process: Process, code: int) -> None:
        """Its parent hears of it a moment later."""
        if process.machine.is_dead:
            return
        self.loop.kill(process.machine)
        self.pipes.died(process.machine)
        self._listeners.pop(process.machine, None)
        for processes in self._running.values():
            if process in processes:
                processes.remove(process)
        self.loop.after(self._rng.uniform(0.0, 0.01), process.over, code)

    def offer(self, path: Path, server: ExchangeServer) -> None:
        """The node answers its workers there."""
        self._exchanges[str(path)] = server, this_machine()

    def connect(self, path: str, factory: Callable[[], Any]) -> tuple[Any, Any]:
        """A worker's connection to its node."""
        server, machine = self._exchanges[path]
        if machine.is_dead:
            raise ConnectionRefusedError(path)
        near, far = self.pipes.pair(this_machine(), machine)
        protocol = factory()
        near.begin(protocol)
        self.loop.call_soon(far.begin, Answering(server).channel, context=machine.context)
        return near, protocol

    # What of asyncio and socket the product's processes use

    def _socketpair(self) -> tuple[Socket, Socket]:
        here, there = map(Socket, self.pipes.pair(this_machine(), this_machine()))
        self._sockets[there.number] = there
        return here, there

    async def _open_connection(self, *, sock: Socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert sock.end is not None
        return open_stream(sock.end)

    async def _create_subprocess_exec(self, *command: str, pass_fds: tuple[int, ...]) -> Process:
        node = this_machine()
        relay = self._sockets.pop(int(command[-1]))
        machine = Machine(f"{node.name} worker")
        machine.clocks = node.clocks
        process = Process(self, machine, next(self._pids))
        assert relay.end is not None
        self.pipes.hand_over(relay.end, machine)
        self._running.setdefault(node, []).append(process)
        self.loop.start(machine, self._run(process, relay, self._rng.uniform(0.02, 0.4)))
        return process

    async def _run(self, process: Process, relay: Socket, starts_s: float) -> None:
        await asyncio.sleep(starts_s)
        code = 0
        try:
            await Worker.run(Socket(), relay)  # type: ignore[arg-type]
        except OSError:
            code = 1
        self.loop.after(0.0, self.kill, process, code)

    async def _adopt(self, listening: Socket, application: WorkerApplication, *_: object, **given: Any) -> Listener:
        made = self._listeners[this_machine()] = Listener(application, given["monotonic"])
        return made

    @contextmanager
    def patched(self) -> Iterator[None]:
        """The product's worker processes run here."""
        asyncio_here = _Instead(
            asyncio, create_subprocess_exec=self._create_subprocess_exec, open_connection=self._open_connection
        )
        with (
            mock.patch("cdn.edge.worker_pool.asyncio", asyncio_here),
            mock.patch("cdn.edge.worker.asyncio", asyncio_here),
            mock.patch("cdn.edge.worker_pool.socket", SimpleNamespace(socketpair=self._socketpair)),
            mock.patch("cdn.edge.worker_link.BEAT_S", BEAT_S),
            mock.patch("cdn.edge.worker.machine_clocks", _clocks_here),
            mock.patch("cdn.edge.worker.Listener", SimpleNamespace(adopt=self._adopt)),
        ):
            yield


def _clocks_here() -> Any:
    return this_machine().clocks


class _Instead:
    """A module, some of whose functions are others."""

    def __init__(self, module: Any, **functions: Any) -> None:
        self._module = module
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
