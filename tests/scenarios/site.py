"""A pull site of a real edge for each scenario."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.running import RunningCdn
from tests.scenarios.client import Edge
from tests.scenarios.shielded import ShieldedCdn

RECEIPT_TIMEOUT_S = 8


class Sites:
    """Makes sites of their own on one running CDN."""

    def __init__(self, cdn: RunningCdn | ShieldedCdn) -> None:
        self._cdn = cdn
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def new(self, upstream_port: int, settings: dict[str, Any]) -> AsyncIterator[Edge]:
        """A site whose upstream is at `upstream_port`."""
        name = f"scenario{next(self._numbers)}"
        content = {"name": name, "settings": {"origin": f"http://127.0.0.1:{upstream_port}", **settings}}
        answer = await asyncio.to_thread(self._cdn.call, "POST", "/v1/sites", content)
        assert answer.status == 201, answer

        async def purge(request: dict[str, Any]) -> None:
            path = f"/v1/sites/{name}/purges?wait={RECEIPT_TIMEOUT_S}"
            receipt = await asyncio.to_thread(self._cdn.call, "POST", path, request)
            assert receipt.status == 200, receipt

        # A complete receipt says that the edge knows the site by now.
        await purge({"urls": ["/is-known"]})
        port = urlsplit(self._cdn.http_url).port
        assert port is not None
        yield Edge(f"{name}.cdn.localhost", port, purge)
        await asyncio.to_thread(self._cdn.call, "DELETE", f"/v1/sites/{name}")
