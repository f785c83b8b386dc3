"""A receiver of messages: a real server on a port of its own, killed and started again at the same one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from cdn.purge.hook_signature import standard_signature
from tests.servers.ports import free_ports


@dataclass
class Taken:
    """A message as it came."""

    fields: dict[str, str]
    content: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.content)

    def is_signed_with(self, secret: str) -> bool:
        expected = standard_signature(
            secret, self.fields["webhook-id"], int(self.fields["webhook-timestamp"]), self.content
        )
        return expected in self.fields["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """`answers` is asked what to answer the next message with."""

    answers: Callable[[Taken], web.Response] = lambda taken: web.Response(status=204)
    taken: list[Taken] = field(default_factory=list)
    port: int = 0
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?from=cdn"

    async def start(self) -> Receiver:
        if not self.port:
            (self.port,) = free_ports(1)
        application = web.Application()
        application.router.add_post("/hooks", self._take)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def wait(self, count: int, timeout_s: float = 10.0) -> list[Taken]:
        """Once so many messages came."""
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: len(self.taken) >= count)
        return list(self.taken)

    async def _take(self, request: web.Request) -> web.Response:
        taken = Taken({name.lower(): value for name, value in request.headers.items()}, await request.read())
        async with self._came:
            self.taken.append(taken)
            self._came.notify_all()
        return self.answers(taken)
