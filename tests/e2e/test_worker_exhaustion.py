"""Descriptors run out, in the node process and in a worker: nothing spins, some are answered, and it passes."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.running import RunningCdn

HOST = "slow.cdn.localhost"
SPARE = 12
"""Descriptors that are left."""
VISITORS = 60


class SlowUpstream:
    """Answers nobody before `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = 0
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await reader.readuntil(b"\r\n\r\n"):
                    self.asked += 1
                    await self.go.wait()
                    writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok")
                    await writer.drain()
        finally:
            writer.transport.abort()


@pytest.fixture
def cdn(tmp_path: Path) -> Iterator[RunningCdn]:
    made = RunningCdn(tmp_path, ("--allow-private-upstreams", "--workers", "2"))
    made.start()
    yield made
    assert made.stop() == 0


@pytest.mark.soak  # on a busy machine visitors may take the last descriptors before upstream is asked, and all get 503
async def test_descriptors_run_out_and_come_back(cdn: RunningCdn) -> None:
    assert cdn.process is not None
    node = cdn.process.pid
    upstream = SlowUpstream()
    async with upstream.running() as url:
        content = {"name": "slow", "settings": {"origin": url}}
        assert (await asyncio.to_thread(cdn.call, "POST", "/v1/sites", content)).status == 201
        purge = {"urls": ["/is-known"]}
        assert (await asyncio.to_thread(cdn.call, "POST", "/v1/sites/slow/purges?wait=20", purge)).status == 200
        children = Path(f"/proc/{node}/task/{node}/children").read_text().split()
        for number, pid in enumerate((node, int(children[0]))):
            upstream.asked = 0
            with few_descriptors(pid):
                visitors = [asyncio.create_task(visit(cdn, f"/{number}/{each}")) for each in range(VISITORS)]
                async with asyncio.timeout(60):
                    while not upstream.asked:
                        await asyncio.sleep(0.01)
                assert await busy_share(pid) < 0.5, "it waits, and does not spin"
                upstream.go.set()
                answers = await asyncio.gather(*visitors)
                assert set(answers) <= {200, 502, 503, None}
                assert 200 in answers
                upstream.go.clear()
            upstream.go.set()
            async with asyncio.timeout(60):
                while [await visit(cdn, f"/{number}/after{each}") for each in range(20)] != [200] * 20:
                    await asyncio.sleep(0.05)
            upstream.go.clear()


class few_descriptors:  # noqa: N801 - read as a verb
    """Leaves a process SPARE descriptors more than it has."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> None:
        highest = max(int(each.name) for each in Path(f"/proc/{self._pid}/fd").iterdir())
        self._before = resource.prlimit(self._pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, (highest + SPARE, self._before[1]))

    def __exit__(self, *exc: object) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._before)


async def busy_share(pid: int) -> float:
    """How much of a second it computes."""

    def computed_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began = computed_s(), time.monotonic()
    await asyncio.sleep(1)
    return (computed_s() - before) / (time.monotonic() - began)


async def visit(cdn: RunningCdn, target: str) -> int | None:
    """The status; None when the connection ended without one."""
    address = urlsplit(cdn.http_url)
    try:
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.transport.abort()
    except ConnectionError:
        return None
    return int(answer[9:12]) if answer else None
