"""A node and its workers in one process: real Unix socket, real listeners, an application that the test scripts."""

from __future__ import annotations

import asyncio
import math
import shutil
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cdn.edge.application import Application
from cdn.edge.clocks import Clocks
from cdn.edge.limits import HttpLimits
from cdn.edge.listener import Listener
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.prepared import Prepared
from cdn.edge.recall import Place
from cdn.edge.site_view import SiteView
from cdn.edge.worker_application import WorkerApplication
from cdn.edge.worker_exchange import ExchangeServer, PreparedHints
from cdn.http.request import Request
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import RECORD_VERSION, Audience, Change, Record
from cdn.purge.floors import Floors
from tests.edge.engine_responses import Received, read_responses

PATIENCE_S = 30.0


async def until(holds: Callable[[], object]) -> None:
    """Return as soon as it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def socket_folder() -> AsyncIterator[Path]:
    """A folder whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="cdn-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class NoHints:
    """Of an application whose hits are kept nowhere."""

    def __init__(self) -> None:
        self.forgets = 0
        self.places: dict[str, Place] = {}

    def find(self, request: Request, now: float) -> Prepared | None:
        return None

    def place(self, request: Request) -> Place | None:
        return self.places.get(request.target.path)

    def mark(self) -> int:
        return self.forgets


class WorkerStage:
    """One worker; `view` is its own, told by `apply` and `forget` as the relay would."""

    def __init__(self, path: Path, clocks: Clocks, **options: Any) -> None:
        self.view = SiteView(CatalogFold("cdn.localhost"), Floors())
        self.tier: MemoryTier[Prepared] = MemoryTier(16 << 20)
        self.used: list[int] = []
        self.serves_until = math.inf
        self.clocks = clocks
        self.application = WorkerApplication(
            path,
            self.view,
            self.tier,
            cache_name="edge",
            clocks=clocks,
            on_use=self.used.append,
            serves_until=lambda: self.serves_until,
            **options,
        )
        self.listener: Listener | None = None

    async def listen(self, limits: HttpLimits) -> None:
        self.listener = await Listener.start(
            "127.0.0.1",
            0,
            self.application,
            limits,
            cache_name="edge",
            monotonic=self.clocks.monotonic,
            wall=self.clocks.wall,
        )

    @property
    def port(self) -> int:
        assert self.listener is not None
        return self.listener.port

    def apply(self, record: Record) -> None:
        self.view.catalog_fold.apply(record)
        self.view.on_records([record], record.position)

    async def aclose(self) -> None:
        if self.listener is not None:
            await self.listener.aclose()
        await self.application.aclose()


class Exchanged:
    """A node's side with an application of the test's, and workers."""

    def __init__(self, path: Path, server: ExchangeServer, clocks: Clocks) -> None:
        self.path = path
        self.server = server
        self.clocks = clocks
        self.workers: list[WorkerStage] = []

    async def add_worker(self, limits: HttpLimits | None = None, **options: Any) -> WorkerStage:
        worker = WorkerStage(self.path, self.clocks, **options)
        self.workers.append(worker)
        await worker.listen(limits or HttpLimits())
        return worker

    async def idle(self) -> None:
        """Until nothing is under way on either side."""
        await until(lambda: not self.server.under_way and not any(each.application.under_way for each in self.workers))


@asynccontextmanager
async def exchanged(
    application: Application,
    hints: PreparedHints | None = None,
    *,
    clocks: Clocks | None = None,
    **options: Any,
) -> AsyncIterator[Exchanged]:
    """A node's exchange that answers with `application`."""
    clocks = clocks or Clocks(asyncio.get_running_loop().time, lambda: 1_700_000_000.0)
    async with socket_folder() as folder:
        server = ExchangeServer(application, hints or NoHints(), clocks=clocks, **options)
        await server.start(folder / "exchange.sock")
        stage = Exchanged(folder / "exchange.sock", server, clocks)
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                yield stage
        finally:
            for worker in stage.workers:
                await worker.aclose()
            await server.aclose()


async def talk(port: int, data: bytes) -> bytes:
    """Send, end, and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave without a word."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def ask(port: int, head: str, content: bytes = b"") -> Received:
    """The final response to a request, given as its lines; for `a.example` unless they say Host."""
    first, *rest = head.strip().split("\n")
    has_host = any(line.strip().lower().startswith("host:") for line in rest)
    hosts = () if has_host else ("Host: a.example",)
    lines = [f"{first.strip()} HTTP/1.1", *hosts, "Connection: close", *(line.strip() for line in rest)]
    answer = await talk(port, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content)
    return read_responses(answer, [first.split(" ")[0]])[-1]


def record_of(sequence: int, change: Change) -> Record:
    """A record of epoch e1."""
    return Record(RECORD_VERSION, "e1", sequence, "subject", 0.0, "actor", Audience.ALL, change)
