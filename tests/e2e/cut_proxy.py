"""A TCP line that a test can cut, silence and mend."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

READ_BYTES = 64 * 1024


class CutProxy:
    """Listens on a port of its own and passes bytes to and from one address. Make it with `start`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._passes = asyncio.Event()
        self._passes.set()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(cls, url: str) -> CutProxy:
        address = urlsplit(url)
        proxy = cls(address.hostname or "", address.port or 0)
        proxy._server = await asyncio.start_server(proxy._connected, "127.0.0.1", 0)
        return proxy

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def lead_to(self, url: str) -> None:
        """Pass new connections to another address."""
        address = urlsplit(url)
        self._target = (address.hostname or "", address.port or 0)

    def cut(self) -> None:
        """End every connection at once and refuse new ones."""
        self._is_cut = True
        self._end_all()

    def silence(self) -> None:
        """Keep connections open and pass nothing any more."""
        self._passes.clear()

    def mend(self) -> None:
        """Pass again. What was silenced goes on where it stopped."""
        self._is_cut = False
        self._passes.set()

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        self._passes.set()
        self._end_all()

    def _end_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers |= {writer, far_writer}
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass(reader, far_writer))
                    both.create_task(self._pass(far_reader, writer))
            finally:
                self._writers -= {writer, far_writer}
                far_writer.transport.abort()
        writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
