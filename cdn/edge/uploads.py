"""Request content on its way upstream: a client that sends slowly holds no connection that others wait for."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from cdn.origin.upstream import UpstreamBroken, UpstreamFault, UpstreamRequest

MAX_GATHERED_BYTES = 64 * 1024
"""Content of at most this size is here before a connection is taken for it: forms and API calls. A connection's own
buffer could hold as much."""

MAX_UPLOADS_PER_SITE = 32
"""Requests of a site whose content goes upstream as it comes: a third of the connections that one upstream may have."""


class Uploads:
    """What bounds the connections that wait for clients. One loop only."""

    def __init__(self, max_per_site: int = MAX_UPLOADS_PER_SITE) -> None:
        self._max_per_site = max_per_site
        self._running: Counter[str] = Counter()

    @asynccontextmanager
    async def ready(self, site_id: str, request: UpstreamRequest) -> AsyncIterator[UpstreamRequest]:
        """The request as it can be sent now; leave the context when the head of its answer is here.

        Raises UpstreamBroken (TOO_MANY_CONNECTIONS), and whatever reading its content raises.
        """
        if request.content is None:
            yield request
        elif request.content_size_bytes is not None and request.content_size_bytes <= MAX_GATHERED_BYTES:
            yield replace(request, content=_given([part async for part in request.content]))
        else:
            if self._running[site_id] >= self._max_per_site:
                raise UpstreamBroken(
                    UpstreamFault.TOO_MANY_CONNECTIONS,
                    f"{self._max_per_site} requests with large content are on their way upstream already.",
                )
            self._running[site_id] += 1
            try:
                yield request
            finally:
                self._running[site_id] -= 1
                if not self._running[site_id]:
                    del self._running[site_id]


async def _given(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
