"""A load balancer as people put before control: each call goes to the next replica, whatever came before."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import aiohttp
from aiohttp import web

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


class Balancer:
    """Passes calls round robin; a replica that takes no connection is passed over, one that dies meanwhile gives 502.

    `seen` is called with method, path and the replica's URL before a call is passed.
    """

    def __init__(self, targets: Sequence[str], seen: Callable[[str, str, str], None]) -> None:
        self.targets = list(targets)
        self._turns = itertools.count()
        self._seen = seen
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None
        self.url = ""

    async def start(self) -> Balancer:
        self._client = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=1024**3)
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def aclose(self) -> None:
        assert self._runner is not None
        assert self._client is not None
        await self._runner.cleanup()
        await self._client.close()

    async def _pass(self, request: web.Request) -> web.Response:
        assert self._client is not None
        content = await request.read()
        fields = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        turn = next(self._turns)
        for number in range(len(self.targets)):
            target = self.targets[(turn + number) % len(self.targets)]
            self._seen(request.method, request.path, target)
            try:
                async with self._client.request(
                    request.method, target + request.raw_path, data=content, headers=fields
                ) as answer:
                    kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
                    return web.Response(status=answer.status, headers=kept, body=await answer.read())
            except aiohttp.ClientConnectorError:
                continue
            except aiohttp.ClientError:
                break
        return web.Response(status=502)
