"""Real little HTTP servers on free ports, for what a healthy server cannot be asked to do: fail in a chosen way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(handler)` answers every request with the handler, at the URL it returns."""
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        application = web.Application(client_max_size=1024**3)
        application.router.add_route("*", "/{path:.*}", handler)
        server = TestServer(application, host="127.0.0.1")
        await server.start_server()
        servers.append(server)
        return str(server.make_url("")).rstrip("/")

    yield start
    for server in servers:
        await server.close()
