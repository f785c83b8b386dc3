"""Health, readiness and metrics of a role, on an address of its own that visitors do not reach."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

from cdn.cli.address import Address
from cdn.cli.listening import naming, reachable
from cdn.cli.metrics import CONTENT_TYPE, Family, metrics_text
from cdn.control.listener import listening

MAX_ADMIN_CONNECTIONS = 64
"""Who asks here is few: probes and a scraper or two."""

ADMIN_IDLE_TIMEOUT_S = 75.0
"""Longer than scrapers usually pause, so that they keep their connection."""


@dataclass(frozen=True, slots=True)
class Admin:
    """`why_not_ready` gives the reason why the role should get no work now, None when it should."""

    role: str
    why_not_ready: Callable[[], Awaitable[str | None]]
    metrics: Callable[[], Iterable[Family]]

    def application(self) -> web.Application:
        """Ready to be mounted on a listener."""
        application = web.Application()
        application.router.add_get("/healthz", self._health)
        application.router.add_get("/readyz", self._readiness)
        application.router.add_get("/metrics", self._metrics)
        return application

    async def _health(self, request: web.Request) -> web.Response:
        """Answers while the event loop turns. Of the parts behind it nothing: a restart would mend none of them."""
        return _json(200, {"status": "ok", "role": self.role})

    async def _readiness(self, request: web.Request) -> web.Response:
        reason = await self.why_not_ready()
        if reason is None:
            return _json(200, {"status": "ready", "role": self.role})
        return _json(503, {"status": reason, "role": self.role})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=metrics_text(self.metrics()).encode(), headers={"Content-Type": CONTENT_TYPE})


def _json(status: int, document: dict[str, str]) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(document).encode(),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )


async def listening_admin(stack: contextlib.AsyncExitStack, admin: Admin, address: Address, option: str) -> str:
    """Serve `admin` on an address; its URL. It is closed after everything that is started later."""
    with naming(option, address):
        port = await stack.enter_async_context(
            listening(
                admin.application(),
                address.host,
                address.port,
                idle_timeout_s=ADMIN_IDLE_TIMEOUT_S,
                max_connections=MAX_ADMIN_CONNECTIONS,
            )
        )
    return f"http://{reachable(Address(address.host, port))}"
