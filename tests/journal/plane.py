"""A small control plane on a free port, and nodes that follow it, for tests of following."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from cdn.control.hub import FollowHub
from cdn.control.node_directory import NodeDirectory
from cdn.errors import CdnError, Unauthorized
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.fleet.receipt import Receipt
from cdn.journal.follower import Follower, FollowerSettings
from cdn.journal.journal import Conflicted, Journal, Trimmed
from cdn.journal.record import EDGE_AUDIENCES, Audience, Draft, Record
from cdn.journal.replica import Replica
from cdn.journal.snapshot import Snapshot, take
from cdn.journal.sqlite import SqliteJournal
from cdn.journal.wire import FOLLOW_PATH
from tests.journal.ledger import Ledger

TOKEN = "cdn_node_token"
TOKEN_OF_EDGE_1 = "token-of-edge-1"
PATIENCE_S = 20.0
QUICK = FollowerSettings(connect_timeout_s=5.0, silence_s=5.0, first_pause_s=0.005, longest_pause_s=0.05)


class Plane:
    """A journal, its fold, the directory and the hub, behind a real HTTP server."""

    def __init__(self, journal: Journal, directory: NodeDirectory, heartbeat_s: float, lease_s: float) -> None:
        self.journal = journal
        self.directory = directory
        self.ledger = Ledger()
        self.secrets = Ledger("secrets", Audience.CONTROL)
        self.floor_horizon = 0
        self.url = ""
        self.hub = FollowHub(
            journal,
            self.snapshot,
            directory,
            lambda token, node_id: token == TOKEN or (token == TOKEN_OF_EDGE_1 and node_id in {None, "edge-1"}),
            heartbeat_s=heartbeat_s,
            lease_s=lease_s,
        )

    def snapshot(self, audiences: frozenset[Audience]) -> Snapshot:
        position = Position(self.journal.epoch, self.ledger.last)
        return take((self.ledger, self.secrets), position, floor_horizon=self.floor_horizon, audiences=audiences)

    async def append(self, *drafts: Draft) -> Record:
        """Append, and bring control's own folds there. The last of the records."""
        outcomes = await asyncio.gather(*(self.journal.append(draft, expected_sequence=None) for draft in drafts))
        await self.keep_up()
        assert not isinstance(outcomes[-1], Conflicted)
        return outcomes[-1]

    async def keep_up(self) -> None:
        records = await self.journal.read(self.ledger.last, limit=100_000)
        assert not isinstance(records, Trimmed)
        for record in records:
            if record.sequence > self.ledger.last:
                self.ledger.apply(record.visible_to(EDGE_AUDIENCES))
                self.secrets.apply(record)

    async def complete(self, *nodes: Node) -> Receipt:
        """The receipt of the last record, waited for, with `nodes` on it."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(each.follower.wait_caught_up() for each in nodes))
        receipt = await self.directory.wait_complete(await self.journal.position(), 0.0, PATIENCE_S)
        assert receipt.is_complete, receipt
        return receipt


@asynccontextmanager
async def serve(follow: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """An HTTP server whose FOLLOW_PATH is `follow`; its URL."""

    @web.middleware
    async def answer_errors(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except CdnError as exc:
            return web.Response(status=401 if isinstance(exc, Unauthorized) else 503, text=exc.message)

    application = web.Application(middlewares=[answer_errors])
    application.router.add_get(FOLLOW_PATH, follow)
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def plane(
    folder: Path, *, name: str = "control", heartbeat_s: float = 0.02, lease_s: float = 5.0
) -> AsyncIterator[Plane]:
    """A running control plane. The same folder and name give the same history."""
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        journal = await SqliteJournal.open(folder / f"{name}.db")
        stack.push_async_callback(journal.aclose)
        directory = await NodeDirectory.open(folder / "nodes.db")
        stack.push_async_callback(directory.aclose)
        running = Plane(journal, directory, heartbeat_s, lease_s)
        await running.keep_up()
        running.url = await stack.enter_async_context(serve(running.hub.handle))
        stack.push_async_callback(running.hub.aclose)
        yield running


class Sink:
    """Remembers what it was told and lets tests wait for it."""

    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.snapshots: list[tuple[Position, bool]] = []
        self.position: Position | None = None
        self._moved = asyncio.Event()

    def on_records(self, records: Sequence[Record], position: Position) -> None:
        self.sequences.extend(record.sequence for record in records)
        self._move(position)

    def on_snapshot(self, position: Position, epoch_changed: bool) -> None:
        self.snapshots.append((position, epoch_changed))
        self._move(position)

    def _move(self, position: Position) -> None:
        self.position = position
        self._moved.set()
        self._moved = asyncio.Event()

    async def wait(self, position: Position) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.position is None or not self.position.covers(position):
                await self._moved.wait()


class Node:
    """A follower with its replica, fold and sink."""

    def __init__(self, replica: Replica, ledger: Ledger, sink: Sink, follower: Follower) -> None:
        self.replica = replica
        self.ledger = ledger
        self.sink = sink
        self.follower = follower
        self.running: asyncio.Task[None] = asyncio.create_task(follower.run())


@asynccontextmanager
async def node(
    folder: Path, url: str | Sequence[str], *, node_id: str = "edge-1", **options: Any
) -> AsyncIterator[Node]:
    """A node that follows `url`. The same folder and id give the same copy."""
    folder.mkdir(parents=True, exist_ok=True)
    compact_after = options.pop("compact_after", 10_000)
    ledger = options.pop("ledger", None) or Ledger()
    replica = await Replica.open(folder / f"{node_id}.db", compact_after=compact_after, busy_timeout_s=0.05)
    await replica.load([ledger])
    sink = Sink()
    options = {"facts": NodeFacts("0.1"), "settings": QUICK, **options}
    follower = Follower(url, options.pop("token", TOKEN), node_id, replica, [ledger], sink, **options)
    running = Node(replica, ledger, sink, follower)
    try:
        yield running
    finally:
        running.running.cancel()
        await asyncio.gather(running.running, return_exceptions=True)
        await replica.aclose()


@asynccontextmanager
async def dial(url: str, *, token: str = TOKEN) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A bare WebSocket to the hub, for a node that misbehaves."""
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(
            url + FOLLOW_PATH,
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
        ) as socket,
    ):
        yield socket


class SeveringProxy:
    """A TCP proxy. Once `begin` was called it cuts `cuts` connections after some bytes, either way."""

    def __init__(self, url: str, chance: random.Random, cuts: int) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.url = ""
        self._upstream = (host, int(port))
        self._chance = chance
        self._cuts = cuts
        self._is_cutting = False
        self._connections: dict[asyncio.Task[None], asyncio.Event] = {}

    def begin(self) -> None:
        """Cut what is open, and from now on what comes."""
        self._is_cutting = True
        for end in self._connections.values():
            end.set()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[SeveringProxy]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for end in self._connections.values():
                end.set()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = asyncio.Event()
        task = asyncio.create_task(self._connect(reader, writer, end))
        self._connections[task] = end
        task.add_done_callback(self._connections.pop)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: asyncio.Event) -> None:
        budget = [10**12]
        if self._is_cutting and self._cuts > 0:
            self._cuts -= 1
            budget = [self._chance.randrange(200, 6000)]
        writers, ways = [writer], [asyncio.create_task(_ended(end))]
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
            writers.append(up_writer)
            ways.append(asyncio.create_task(_carry(reader, up_writer, budget)))
            ways.append(asyncio.create_task(_carry(up_reader, writer, budget)))
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in writers:
                each.transport.abort()
            await asyncio.gather(*(each.wait_closed() for each in writers), return_exceptions=True)


async def _ended(end: asyncio.Event) -> None:
    await end.wait()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: list[int]) -> None:
    while content := await reader.read(4096):
        writer.write(content[: max(budget[0], 0)])
        await writer.drain()
        budget[0] -= len(content)
        if budget[0] <= 0:
            return
