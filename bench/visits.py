"""Reading a whole site over HTTP, and what the node counted meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp

from bench.running_cdn import RunningCdn

CONNECTIONS = 16
HEARTBEAT_TIMEOUT_S = 30
HEARTBEAT_TRAVELS_S = 0.5
"""Far longer than a heartbeat takes from a node to control in the same process."""


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
    sent_after = time.time() + HEARTBEAT_TRAVELS_S
    deadline = time.monotonic() + HEARTBEAT_TIMEOUT_S
    while time.monotonic() < deadline:
        (node,) = cdn.call("GET", "/v1/status")["nodes"]
        if node["answered_at"] > sent_after:
            return Upstream(node["counters"]["fetch_upstream_requests"], node["counters"]["validated"])
        time.sleep(0.3)
    raise RuntimeError(f"the node sent no heartbeat within {HEARTBEAT_TIMEOUT_S} s")
