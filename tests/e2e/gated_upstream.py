"""A site's own server in this process: it counts what it is asked, and waits or breaks off when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web


@dataclass(frozen=True, slots=True)
class AskedFor:
    """One request; field names in lower case."""

    method: str
    target: str
    fields: Mapping[str, str]


@dataclass(slots=True)
class GatedUpstream:
    """Make it with `start`. `fields` and `content` are what it answers with, by path or, under "", for all others."""

    asked: list[AskedFor] = field(default_factory=list)
    fields: dict[str, dict[str, str]] = field(default_factory=lambda: {"": {"Cache-Control": "max-age=60"}})
    content: dict[str, bytes] = field(default_factory=lambda: {"": b"one"})
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    breaks_after: int | None = None
    """So many bytes are sent, then the connection is reset; None: all."""
    pauses_after: int | None = None
    """So many bytes are sent, then it waits at the gate, which it closes itself."""
    paused: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    _runner: web.AppRunner | None = None

    async def start(self) -> GatedUpstream:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.gate.set()
        return self

    async def aclose(self) -> None:
        self.gate.set()
        if self._runner is not None:
            await self._runner.cleanup()

    def asked_for(self, target: str, method: str = "GET") -> list[AskedFor]:
        return [each for each in self.asked if each.target == target and each.method == method]

    async def until_asked(self, target: str, count: int = 1) -> None:
        async with asyncio.timeout(30):
            while len(self.asked_for(target)) < count:
                await asyncio.sleep(0.005)

    async def until_paused(self) -> None:
        async with asyncio.timeout(30):
            await self.paused.wait()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        lines = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(AskedFor(request.method, request.path_qs, lines))
        await self.gate.wait()
        fields = self.fields.get(request.path, self.fields[""])
        content = self.content.get(request.path, self.content[""])
        tag = f'"{len(content)}-{content[:8].hex()}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={**fields, "ETag": tag})
        if self.breaks_after is None and self.pauses_after is None:
            return web.Response(body=content, headers={**fields, "ETag": tag})
        answer = web.StreamResponse(headers={**fields, "Content-Length": str(len(content))})
        await answer.prepare(request)
        if self.pauses_after is not None:
            self.gate.clear()
            await answer.write(content[: self.pauses_after])
            self.paused.set()
            await self.gate.wait()
            await answer.write(content[self.pauses_after or 0 :])
            return answer
        await answer.write(content[: self.breaks_after])
        assert request.transport is not None
        request.transport.abort()
        return answer
