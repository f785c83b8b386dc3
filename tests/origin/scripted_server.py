"""An HTTP server that does what a test says, byte by byte, and knows its connections."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from cdn.sites.origin import HttpOrigin

_FOLDER = tempfile.TemporaryDirectory(prefix="authority-")
AUTHORITY = Path(_FOLDER.name) / "authority.pem"
CERTIFICATE = Path(_FOLDER.name) / "server.pem"  # for localhost, with its key


def _make(name: str, *options: str) -> None:
    """`NAME.pem` and `NAME.key`, for as long as this process runs."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", "3", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", *options]
    subprocess.run(words, cwd=_FOLDER.name, check=True, capture_output=True)


_make("authority", "-addext", "basicConstraints=critical,CA:TRUE")
_make(
    *("server", "-CA", "authority.pem", "-CAkey", "authority.key"),
    *("-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"),
)
CERTIFICATE.write_text(CERTIFICATE.read_text() + (CERTIFICATE.parent / "server.key").read_text())


class Peer:
    """One accepted connection, as the script sees it."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.requests = 0

    async def head(self) -> bytes:
        """The next request head. Raises IncompleteReadError when the client has left."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        return raw

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_closed(self) -> bytes:
        """Wait until the client closes: what it still sent."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""


Script = Callable[[Peer], Awaitable[None]]


class ScriptedServer:
    """Runs the script once per connection and closes it then; `failures` has what scripts raised."""

    def __init__(self, script: Script, scheme: str = "http") -> None:
        self._script = script
        self._scheme = scheme
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.accepted = 0
        self.left = asyncio.Semaphore(0)
        self.failures: list[Exception] = []
        self.port = 0

    @property
    def origin(self) -> HttpOrigin:
        return HttpOrigin(self._scheme, "localhost" if self._scheme == "https" else "127.0.0.1", self.port)

    async def start(self) -> None:
        tls = None
        if self._scheme == "https":
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(CERTIFICATE)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._run(Peer(self.accepted, reader, writer)))
        self.accepted += 1
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, peer: Peer) -> None:
        try:
            await self._script(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        except Exception as exc:
            self.failures.append(exc)
        finally:
            self.left.release()
            peer.writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await peer.writer.wait_closed()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self.failures == []


@contextlib.asynccontextmanager
async def serving(script: Script, scheme: str = "http") -> AsyncIterator[ScriptedServer]:
    """A server for the length of an `async with` block."""
    server = ScriptedServer(script, scheme)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextlib.contextmanager
def serving_elsewhere(script: Script, scheme: str = "http") -> Iterator[ScriptedServer]:
    """A server on the plain loop of a thread of its own, whatever loop the test runs."""
    started: Future[tuple[ScriptedServer, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with serving(script, scheme) as server:
            ended = asyncio.Event()
            started.set_result((server, asyncio.get_running_loop(), ended))
            await ended.wait()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, serve())
        server, loop, ended = started.result(10)
        try:
            yield server
        finally:
            loop.call_soon_threadsafe(ended.set)
            running.result(10)


def answering(response: bytes) -> Script:
    """Answers every request of every connection with the same bytes."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.say(response)

    return script
