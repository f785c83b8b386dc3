"""`aiohttp.web` on uvloop that answers from memory (`python -m bench.peer_aiohttp`)."""

from __future__ import annotations

import hashlib
import logging
import sys
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from bench.worker_process import serve

LOG_LINES = 1000
"""How many lines of the access log are written at once."""


async def main() -> None:
    """Settings: `content` (folder), `log` (file). Answers with its port."""

    async def answer(question: dict[str, Any]) -> Any:
        logger = logging.getLogger("aiohttp.access")
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(MemoryHandler(LOG_LINES, logging.CRITICAL, logging.FileHandler(question["log"])))
        application = web.Application()
        for file in Path(question["content"]).iterdir():
            if file.is_file():
                application.router.add_get(f"/{file.name}", _answering(file.read_bytes()))
        runner = web.AppRunner(application, access_log=logger)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        return {"port": runner.addresses[0][1]}

    await serve(answer)


def _answering(content: bytes) -> Any:
    entity_tag = f'"{hashlib.sha256(content).hexdigest()}"'
    fields = {"Cache-Control": "public, max-age=3600", "ETag": entity_tag, "Content-Type": "text/css"}

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=content, headers=fields)

    return handler


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
