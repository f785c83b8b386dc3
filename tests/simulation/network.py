"""WebSockets in memory, over lines that are slow, cut, half open, and, where a seed wants it, worse than TCP allows."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from types import SimpleNamespace, TracebackType
from typing import Any

import aiohttp
from aiohttp import WSMessage, WSMsgType

from tests.simulation.virtual_time import NOWHERE, Machine, VirtualLoop

MAX_UNSENT_FRAMES = 32
"""Frames on their way in one direction; a sender waits beyond."""

CLOSED = WSMessage(WSMsgType.CLOSED, None, None)


class End:
    """One side of a connection, with what aiohttp's two WebSocket classes have in common."""

    def __init__(self, network: Network, machine: Machine, rng: random.Random, reach: Callable[[], bool]) -> None:
        self._network = network
        self._machine = machine
        self._rng = rng
        self._reach = reach  # whether frames that this end sends get through now
        self.other: End | None = None
        self.closed = False
        self.prepared = True
        self._inbox: deque[WSMessage] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._on_way: deque[WSMessage] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._due = 0.0

    async def send_str(self, text: str) -> None:
        await self._send(WSMessage(WSMsgType.TEXT, text, None))

    async def send_bytes(self, content: bytes) -> None:
        await self._send(WSMessage(WSMsgType.BINARY, content, None))

    async def send_frame(self, content: bytes, kind: WSMsgType) -> None:
        data = content.decode() if kind is WSMsgType.TEXT else content
        await self._send(WSMessage(kind, data, None))

    async def receive(self, timeout: float | None = None) -> WSMessage:
        if not self._inbox and not self.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._waiter
            finally:
                self._waiter = None
        if not self._inbox:
            return CLOSED
        message = self._inbox.popleft()
        if message.type in {WSMsgType.CLOSE, WSMsgType.CLOSED}:
            self.cut()
        return message

    async def close(self, *, code: int = 1000) -> bool:
        if self.closed:
            return False
        self._carry(WSMessage(WSMsgType.CLOSE, code, None))
        self.cut()
        return True

    def abort(self) -> None:
        """As a transport does: the other side hears of it, when the line carries that."""
        if not self.closed:
            self._carry(CLOSED)
            self.cut()

    def cut(self) -> None:
        """Nothing is sent or received here any more."""
        self.closed = True
        self._room.set()
        self._wake()

    async def _send(self, message: WSMessage) -> None:
        await self._room.wait()
        if self.closed:
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        chance = self._rng.random()
        if self._network.is_rude and chance < 0.04 and message.type is WSMsgType.TEXT:
            if chance < 0.02:
                return  # lost
            self._carry(message)  # and once more
        self._carry(message)

    def _carry(self, message: WSMessage) -> None:
        loop = self._network.loop
        self._on_way.append(message)
        if len(self._on_way) >= MAX_UNSENT_FRAMES:
            self._room.clear()
        self._due = max(self._due, loop.now + self._network.latency_s(self._rng))
        loop.after(self._due - loop.now, self._arrive)

    def _arrive(self) -> None:
        if not self._on_way or self.other is None:
            return
        if not self._reach():
            self._network.hold(self._arrive)
            return
        index = 0
        if self._network.is_rude and len(self._on_way) > 1 and self._rng.random() < 0.1:
            index = 1  # overtaken
        message = self._on_way[index]
        del self._on_way[index]
        if not self.closed:
            self._room.set()
        self.other.take(message)

    def take(self, message: WSMessage) -> None:
        if self.closed or self._machine.is_dead:
            return
        self._inbox.append(message)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Of aiohttp's client, and of its server.

    async def __aenter__(self) -> End:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def prepare(self, request: Request) -> None:
        request.accept(self)


class Request:
    """What the hub looks at."""

    def __init__(self, authorization: str, end: End, accept: Callable[[End], None]) -> None:
        self.headers = {"Authorization": authorization}
        self.remote = "simulated"
        self.transport = SimpleNamespace(abort=end.abort)
        self.end = end
        self.accept = accept


Serve = Callable[[Any], Coroutine[Any, Any, object]]


class Network:
    """Who can reach whom now."""

    def __init__(self, loop: VirtualLoop, seed: int, *, is_rude: bool, slowest_s: float) -> None:
        self.loop = loop
        self.is_rude = is_rude
        self.slowest_s = slowest_s
        self.controls: dict[str, tuple[Machine, Serve]] = {}
        self.cut_off: set[tuple[str, str]] = set()  # node, and "up", "down" or a control
        self.nodes: dict[str, Machine] = {}
        self._seed = seed
        self._dialled = 0
        self._held: list[Callable[[], None]] = []
        self._ends: list[End] = []

    def latency_s(self, rng: random.Random) -> float:
        if rng.random() < 0.03:
            return rng.uniform(0.0, 20 * self.slowest_s)
        return rng.uniform(0.0005, self.slowest_s)

    def hold(self, arrive: Callable[[], None]) -> None:
        """A frame does not get through: it is sent again when the line is back."""
        self._held.append(arrive)

    def heal(self, node_id: str, ways: tuple[str, ...] = ("up", "down")) -> None:
        for way in ways:
            self.cut_off.discard((node_id, way))
        held, self._held = self._held, []
        for arrive in held:
            self.loop.after(0.05, arrive)

    def break_lines(self, node_id: str | None, *, both: bool = True) -> None:
        """Connections end; `both`: both sides hear of it, else only the node's."""
        for end in self._ends:
            if not end.closed and (node_id is None or end._machine.name == node_id):
                end.take(CLOSED)
                if both and end.other is not None:
                    end.other.take(CLOSED)

    def died(self, machine: Machine, *, silently: bool) -> None:
        """A process is gone; unless the whole machine is, its peers hear of it."""
        for end in self._ends:
            if end._machine is machine and not end.closed:
                if not silently:
                    end._carry(CLOSED)
                end.closed = True

    def client(self) -> Client:
        return Client(self)

    def passes(self, node_id: str, control: str, way: str) -> bool:
        """Whether frames get through now."""
        return not (self.cut_off and {(node_id, way), (node_id, control)} & self.cut_off)

    async def dial(self, node_id: str, name: str, authorization: str) -> End:
        machine = self.nodes[node_id]
        self._dialled += 1
        rng = random.Random(f"{self._seed} {node_id} {self._dialled}")
        await asyncio.sleep(self.latency_s(rng))
        while not (self.passes(node_id, name, "up") and self.passes(node_id, name, "down")):
            await asyncio.sleep(0.25)
        if name not in self.controls or self.controls[name][0].is_dead:
            raise ConnectionRefusedError("nobody listens")
        control, serve = self.controls[name]
        near = End(self, machine, rng, lambda: self.passes(node_id, name, "up"))
        far = End(self, control, random.Random(rng.random()), lambda: self.passes(node_id, name, "down"))
        near.other, far.other = far, near
        self._ends = [end for end in self._ends if not end.closed] + [near, far]
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def accept(end: End) -> None:
            delay_s = self.latency_s(rng)
            end._due = self.loop.now + delay_s
            self.loop.after(delay_s, _accept, accepted)

        task = self.loop.start(control, serve(Request(authorization, far, accept)))

        def ended(done: asyncio.Task[Any]) -> None:
            exc = None if done.cancelled() else done.exception()
            if exc is not None and not accepted.done():
                accepted.set_exception(aiohttp.ClientError(f"refused: {exc}"))
            far.abort()

        task.add_done_callback(ended, context=NOWHERE)
        try:
            await accepted
        except BaseException:
            near.abort()
            raise
        return near


class Client:
    """aiohttp.ClientSession, as far as a follower uses it."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, kind: type | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        return None

    async def ws_connect(self, url: str, *, headers: dict[str, str], **_: object) -> End:
        node_id, control = url.split("/")[2:4]
        return await self._network.dial(node_id, control, headers["Authorization"])


def _accept(accepted: asyncio.Future[None]) -> None:
    if not accepted.done():
        accepted.set_result(None)


class FarEnd:
    """aiohttp.web.WebSocketResponse: the far end of the line on which the request came."""

    def __init__(self, **_: object) -> None:
        self._end: End | None = None

    @property
    def prepared(self) -> bool:
        return self._end is not None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)

    async def prepare(self, request: Request) -> None:
        self._end = request.end
        request.accept(request.end)
