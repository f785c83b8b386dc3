"""An acknowledgement means the same whichever worker answers, and whatever happens to workers meanwhile (DESIGN I8)."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cdn.edge.worker_settings import FENCE_MARGIN_S, LEASE_S
from tests.e2e.calls import packed
from tests.e2e.running import RunningCdn

VISITORS = 12
Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HOSTS = {"blog": "blog.cdn.localhost", "shop": "shop.cdn.localhost"}


@dataclass(slots=True)
class Truth:
    """What upstream and operator have made, and from which version on visitors must be answered, by site."""

    made: Counter[str] = field(default_factory=Counter)
    promised: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    stale: list[str] = field(default_factory=list)
    acknowledged_s: list[float] = field(default_factory=list)


class VersionedUpstream:
    """Answers with its version, for a long time; an unsafe request makes the next one."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def aclose(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"POST "):
                    self._truth.made["shop"] += 1
                content = b"%d" % self._truth.made["shop"]
                writer.write(
                    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: %d\r\n\r\n%s"
                    % (len(content), content)
                )
                await writer.drain()
        writer.close()
        self._writers.discard(writer)


class Play:
    """Visitors, an operator, and somebody who stops and kills workers: all at once."""

    def __init__(self, cdn: RunningCdn, seed: int) -> None:
        self.truth = Truth()
        self.upstream = VersionedUpstream(self.truth)
        self._cdn = cdn
        self._random = random.Random(seed)
        self._acknowledged = asyncio.Event()
        address = urlsplit(cdn.http_url)
        self._address = (address.hostname, address.port)
        self.stopped = self.killed = self.resumed = 0

    async def set_up(self) -> None:
        url = await self.upstream.start()
        await self._call("POST", "/v1/sites", {"name": "blog"})
        await self._call("POST", "/v1/sites", {"name": "shop", "settings": {"origin": url}})
        for _ in range(3):
            for site in HOSTS:
                await self._change(site)

    async def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        usual_s = max(self.truth.acknowledged_s)
        visiting = [asyncio.create_task(self._visit(list(HOSTS)[number % 2])) for number in range(VISITORS)]
        spoiling = asyncio.create_task(self._spoil())
        try:
            while time.monotonic() < until or not (self.resumed and self.killed):
                await self._change(self._random.choice(list(HOSTS)))
                if spoiling.done():
                    spoiling.result()
            # What a worker in trouble adds is its lease; the rest is how slow this machine is, now and then very much.
            allowed_s = LEASE_S + FENCE_MARGIN_S + 3 * max(usual_s, 1.0)
            taken_s = sorted(self.truth.acknowledged_s)
            assert taken_s[len(taken_s) * 9 // 10] < allowed_s, taken_s
        finally:
            for task in (*visiting, spoiling):
                task.cancel()
            ended = await asyncio.gather(*visiting, spoiling, return_exceptions=True)
        faults = [each for each in ended if not isinstance(each, asyncio.CancelledError)]
        assert not faults
        assert not self.truth.stale, self.truth.stale[:5]
        assert all(self.truth.answers[site] for site in HOSTS)

    # The operator

    async def _change(self, site: str) -> None:
        """Make the next version, and promise it once the receipt is complete."""
        began = time.monotonic()
        if site == "shop" and self._random.random() < 0.3:
            async with asyncio.timeout(60):
                while (version := await self._post()) is None:
                    pass
            began = math.inf  # a worker that is stopped answers nobody: no receipt waits for that
        elif site == "shop":
            self.truth.made[site] += 1
            version = self.truth.made[site]
            wanted = {"everything": True} if self._random.random() < 0.5 else {"urls": ["/"]}
            receipt = await self._call("POST", "/v1/sites/shop/purges?wait=30", wanted)
            assert receipt["complete"], receipt
        else:
            self.truth.made[site] += 1
            version = self.truth.made[site]
            files = packed({"/index.html": b"%d" % version})
            answer = await asyncio.to_thread(self._cdn.call, "POST", "/v1/sites/blog/deploys?wait=30", files)
            assert json.loads(answer.content)["receipt"]["complete"], answer
        self.truth.acknowledged_s.append(max(time.monotonic() - began, 0.0))
        self.truth.promised[site] = max(version, self.truth.promised[site])
        self._acknowledged.set()

    async def _post(self) -> int | None:
        """The version that the upstream made of it; None when the worker in between was killed."""
        try:
            async with self._connected() as (reader, writer):
                return await _ask(reader, writer, HOSTS["shop"], "POST")
        except (ConnectionError, asyncio.IncompleteReadError):
            return None

    async def _call(self, method: str, path: str, content: object) -> dict[str, bool]:
        answer = await asyncio.to_thread(self._cdn.call, method, path, content)
        assert answer.status < 400, answer
        document: dict[str, bool] = json.loads(answer.content)
        return document

    # Visitors

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connected]:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def _visit(self, site: str) -> None:
        while True:
            try:
                async with self._connected() as (reader, writer):
                    for _ in range(self._random.randrange(1, 200)):
                        await self._look(reader, writer, site)
                        await asyncio.sleep(self._random.choice((0, 0, 0.005, 0.05)))
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0)  # its worker was killed: the next connection goes to another

    async def _look(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, site: str) -> None:
        promised = self.truth.promised[site]
        answered = await _ask(reader, writer, HOSTS[site])
        self.truth.answers[site] += 1
        if answered is not None and answered < promised:
            self.truth.stale.append(f"{site} answered {answered} after {promised} was acknowledged")

    # Whoever spoils it

    async def _spoil(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0, 0.5))
            workers = workers_of(self._cdn)
            if not workers:
                continue
            with suppress(ProcessLookupError, ConnectionError, asyncio.IncompleteReadError):
                await self._spoil_one(self._random.choice(workers))

    async def _spoil_one(self, worker: int) -> None:
        if self._random.random() < 0.3:
            os.kill(worker, signal.SIGKILL)
            self.killed += 1
            return
        async with AsyncExitStack() as stack:
            # Connections of which some are to this worker, and idle: what comes by them it reads before anything else.
            waiting = [await stack.enter_async_context(self._connected()) for _ in range(12)]
            for number, (reader, writer) in enumerate(waiting):
                await self._look(reader, writer, list(HOSTS)[number % 2])
            os.kill(worker, signal.SIGSTOP)
            self.stopped += 1
            try:
                await self._stopped(worker, waiting)
            finally:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGCONT)

    async def _stopped(self, worker: int, waiting: list[Connected]) -> None:
        if self._random.random() < 0.3:
            await asyncio.sleep(self._random.uniform(0, LEASE_S))
            return
        self._acknowledged.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(3 * LEASE_S):  # before it is taken for hung and killed
                await self._acknowledged.wait()
        late = [asyncio.create_task(self._late(at, list(HOSTS)[number % 2])) for number, at in enumerate(waiting)]
        await asyncio.sleep(0.05)
        os.kill(worker, signal.SIGCONT)
        self.resumed += 1
        await asyncio.gather(*late)

    async def _late(self, at: Connected, site: str) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._look(*at, site)


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, method: str = "GET"
) -> int | None:
    """The version that is answered with; None when there was no answer but an error of the node."""
    writer.write(f"{method} / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode())
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        content = await reader.readexactly(int(size.partition(b":")[2]))
    return int(content) if head.startswith(b"HTTP/1.1 200 ") else None


def workers_of(cdn: RunningCdn) -> list[int]:
    """The processes that the node has started."""
    assert cdn.process is not None
    children = Path(f"/proc/{cdn.process.pid}/task/{cdn.process.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


@pytest.fixture
def cdn(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningCdn]:
    made = RunningCdn(tmp_path, ("--allow-private-upstreams", "--workers", str(request.param)))
    made.start()
    yield made
    assert made.stop() == 0


async def played(cdn: RunningCdn, seed: int, seconds: float) -> Play:
    play = Play(cdn, seed)
    try:
        await play.set_up()
        await play.run(seconds)
    finally:
        await play.upstream.aclose()
    print(
        f"seed {seed}: {dict(play.truth.answers)} answers, {len(play.truth.acknowledged_s)} changes, "
        f"{play.stopped} stopped, {play.killed} killed, slowest {max(play.truth.acknowledged_s):.2f} s"
    )
    return play


@pytest.mark.parametrize("cdn", [2], indirect=True)
async def test_nothing_acknowledged_is_undone_by_any_worker(cdn: RunningCdn) -> None:
    await played(cdn, 1, 4.0)


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize("cdn", [2, 4], indirect=True)
@pytest.mark.parametrize("seed", range(3))
async def test_nothing_acknowledged_is_undone_for_long(cdn: RunningCdn, seed: int) -> None:
    await played(cdn, seed, 60.0)
