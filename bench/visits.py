"""Reading a whole site over HTTP, and what the node counted meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from bench.running_cdn import RunningCdn

CONNECTIONS = 16
HEARTBEAT_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Upstream:
    """What the node asked of the store since its start: chunks fetched, and blobs asked for only to validate."""

    fetched: int
    validated: int

    @property
    def requests(self) -> int:
        return self.fetched + self.validated


def read_all(cdn: RunningCdn, host: str, paths: Sequence[str]) -> int:
    """GET every path of the site once; the bytes that came. Raises RuntimeError for an answer that is not 200."""
    return asyncio.run(_read_all(cdn.http_url, host, paths))


async def _read_all(http_url: str, host: str, paths: Sequence[str]) -> int:
    left = iter(paths)

    async def read(session: aiohttp.ClientSession) -> int:
        read_bytes = 0
        for path in left:
            url = f"{http_url.rstrip('/')}/{quote(path.removesuffix('index.html'))}"
            async with session.get(url, headers={"Host": host}, allow_redirects=False) as response:
                if response.status != 200:
                    raise RuntimeError(f"{url} answered {response.status}")
                read_bytes += len(await response.read())
        return read_bytes

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        return sum(await asyncio.gather(*(read(session) for _ in range(CONNECTIONS))))


def upstream(cdn: RunningCdn) -> Upstream:
    """What the node's counters say in a heartbeat that it sent after this call began."""
    heard_at = _node(cdn)["answered_at"]
    # The heartbeat that is answered next may have been sent before; the one after that was not.
    for _ in range(2):
        heard_at = _next_heartbeat(cdn, heard_at)
    counters = _node(cdn)["counters"]
    return Upstream(counters["fetch_upstream_requests"], counters["validated"])


def _next_heartbeat(cdn: RunningCdn, heard_at: float) -> float:
    deadline = time.monotonic() + HEARTBEAT_TIMEOUT_S
    while time.monotonic() < deadline:
        answered_at: float = _node(cdn)["answered_at"]
        if answered_at > heard_at + 0.1:  # the same one is told with a little jitter
            return answered_at
        time.sleep(0.2)
    raise RuntimeError(f"the node sent no heartbeat within {HEARTBEAT_TIMEOUT_S} s")


def _node(cdn: RunningCdn) -> Any:
    (node,) = cdn.run("status")["nodes"]
    return node
