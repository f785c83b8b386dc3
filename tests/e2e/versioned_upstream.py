"""An upstream of HTTP/1.1 whose content carries its version, and that sends back what is posted."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.e2e.versioned_content import Truth, content_of


class VersionedUpstream:
    """Answers with the version that is made last, fresh for a long time: only purges bring the next one."""

    def __init__(self, truth: Truth, site: str) -> None:
        self._truth = truth
        self._site = site
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> str:
        """Listen, and return the URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def aclose(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, target = head.split(" ")[:2]
                sent = await _content(reader, head)
                writer.write(self._answer(method, target.partition("?")[0], sent))
                await writer.drain()
        writer.close()
        self._writers.discard(writer)

    def _answer(self, method: str, path: str, sent: bytes) -> bytes:
        if method == "POST":
            return b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%s" % (len(sent), sent)
        version = self._truth.made[self._site]
        content = content_of(path, version, self._truth.sizes[self._site][path])
        fields = f'Cache-Control: max-age=600\r\nETag: "{version}"\r\nContent-Length: {len(content)}\r\n'
        head = f"HTTP/1.1 200 OK\r\n{fields}\r\n"
        return head.encode() + (b"" if method == "HEAD" else content)


async def _content(reader: asyncio.StreamReader, head: str) -> bytes:
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if "chunked" not in fields.get("transfer-encoding", ""):
        return await reader.readexactly(int(fields.get("content-length", "0")))
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)
