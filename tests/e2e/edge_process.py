"""One edge in a process of its own: `python -m tests.e2e.edge_process NODE DATA CONTROL_URL TOKEN STORE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cdn.edge.node import EdgeNode
from cdn.edge.settings import EdgeSettings
from cdn.origin.opening import open_store


async def run(node_id: str, data: str, control_url: str, token: str, store_url: str) -> None:
    """Print the port and serve until the process is killed."""
    settings = EdgeSettings(node_id, Path(data), "cdn.localhost", control_url, token, port=0)
    edge = await EdgeNode.start(settings, open_store(store_url))
    await edge.follower.wait_caught_up()
    print(edge.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
