"""The scripted upstream: a server on loopback that takes a block of the scenario for each request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Sequence

from tests.scenarios.command import (
    Await,
    Close,
    Content,
    Cut,
    Expect,
    Framing,
    Interim,
    Keep,
    Line,
    Raw,
    Reply,
    Reset,
    Signal,
    Subject,
    Trailers,
    UpstreamCommand,
    UpstreamScript,
)
from tests.scenarios.expectation import fault_of
from tests.scenarios.message import NO_CONTENT_STATUSES, Head, Message
from tests.scenarios.stage import ScenarioFault, Stage

READ_LIMIT_BYTES = 1 << 20

MARKER = "/is-settled/"
"""Targets below it belong to the harness: `settle` asks for them, and no block has to answer."""

_MARKER_RESPONSE = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 2\r\n\r\nok"


class _Cut(Exception):
    """The block has sent all the octets that it may."""


class ScriptedUpstream:
    """Listens at `port` from `up` until `down`; its faults go to the stage."""

    def __init__(self, scripts: Sequence[UpstreamScript], stage: Stage) -> None:
        self.port = 0
        self._scripts = scripts
        self._stage = stage
        self._taken: Counter[int] = Counter()
        self._running = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._calm = asyncio.Event()
        self._place: socket.socket | None = None

    async def up(self) -> None:
        """Listen, on the same port as before."""
        if self._place is not None:
            self._place.close()
            self._place = None
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=READ_LIMIT_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections and drop those there are; the port stays taken, so that nobody else gets it."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", self.port))

    async def finish(self) -> None:
        """Until every block was taken as often as it says, and none runs any more; faults for those that were not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stage.patience_s):
                while not self._is_done() and not self._stage.faults:
                    self._calm.clear()
                    await self._calm.wait()
        if self._stage.faults:
            return
        for index, script in enumerate(self._scripts):
            if self._taken[index] < script.least:
                seen = f"{self._taken[index]} requests"
                self._stage.fail(ScenarioFault(script.line, f"{script.least} requests", seen))
        if self._running:
            line = Line(0, "the end of the scenario")
            self._stage.fail(ScenarioFault(line, "upstream has answered", "a block still runs"))

    async def aclose(self) -> None:
        """Stop."""
        await self.down()
        if self._place is not None:
            self._place.close()

    def _is_done(self) -> bool:
        return not self._running and all(
            self._taken[index] >= script.least for index, script in enumerate(self._scripts)
        )

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        number = self._connections
        try:
            while await self._exchange(reader, writer, number):
                pass
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()
            self._calm.set()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        """Whether the connection lives on."""
        request = Message(reader)
        await request.finish()
        if request.head is None or request.is_broken:
            return False
        method, target = request.head.first.split(" ")[:2]
        if target.startswith(MARKER):
            writer.write(_MARKER_RESPONSE)
            await writer.drain()
            return True
        script = self._take(method, target)
        if script is None:
            line = Line(0, "(no block of the scenario)")
            self._stage.fail(ScenarioFault(line, "no further request upstream", _shown(request.head)))
            self._calm.set()
            return False
        self._running += 1
        run = _Run(script, self._stage, request, writer, number)
        try:
            return await run.play()
        except ScenarioFault as fault:
            self._stage.fail(fault)
            return False
        except _Cut:
            return False
        finally:
            self._running -= 1
            self._calm.set()

    def _take(self, method: str, target: str) -> UpstreamScript | None:
        for index, script in enumerate(self._scripts):
            matches = script.method in ("", method) and script.target in ("", target)
            if matches and self._taken[index] < script.most:
                self._taken[index] += 1
                return script
        return None


class _Run:
    """One block for one request."""

    def __init__(
        self, script: UpstreamScript, stage: Stage, request: Message, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self._script = script
        self._stage = stage
        self._request = request
        self._writer = writer
        self._number = number
        self._framing = Framing.LENGTH
        self._sends_content = True
        self._left: int | None = None
        self._trailers = b""

    async def play(self) -> bool:
        """Whether the connection may carry another request."""
        for command in self._script.commands:
            if isinstance(command, Close):
                return False
            if isinstance(command, Reset):
                reset(self._writer)
                return False
            await self._do(command)
        if self._framing is Framing.CHUNKED and self._sends_content:
            await self._send(b"0\r\n" + self._trailers + b"\r\n")
        return self._framing is not Framing.UNTIL_CLOSE

    async def _do(self, command: UpstreamCommand) -> None:
        match command:
            case Expect():
                await self._expect(command)
            case Signal(name=name):
                await self._stage.signal(name)
            case Await():
                await self._stage.await_signal(command)
            case Keep():
                self._stage.keep(command, self._request)
            case Cut(after_bytes=size):
                self._left = size
            case Interim(status=status, fields=fields):
                await self._send(_head(status, self._stage.fill_fields(fields)))
            case Reply():
                await self._reply(command)
            case Content(content=content):
                await self._content(content)
            case Trailers(fields=fields):
                self._trailers = _lines(self._stage.fill_fields(fields))
            case Raw(text=text):
                await self._send(self._stage.fill(text).encode("latin-1"))
            case Close() | Reset():
                raise AssertionError("ends the block")

    async def _expect(self, command: Expect) -> None:
        if command.subject is Subject.CLOSED:
            await self._stage.patiently(
                command.line, _until_closed(self._request.reader, self._writer), "the connection is closed"
            )
            return
        seen = fault_of(command, self._request, self._stage.fill, self._number)
        if seen is not None:
            head = _shown(self._request.head)
            raise ScenarioFault(command.line, command.line.text.strip(), f"{seen}\n  of the request\n{head}")

    async def _reply(self, command: Reply) -> None:
        self._framing = command.framing
        fields = list(self._stage.fill_fields(command.fields))
        names = {name.lower() for name, _ in fields}
        if "date" not in names:
            fields.append(("Date", self._stage.fill("<now>")))
        fields = [(name, value) for name, value in fields if (name.lower(), value) != ("date", "none")]
        is_bare = command.status in NO_CONTENT_STATUSES
        if command.framing is Framing.CHUNKED:
            fields.append(("Transfer-Encoding", "chunked"))
        elif command.framing is Framing.LENGTH and not is_bare and "content-length" not in names:
            fields.append(("Content-Length", str(command.size_bytes)))
        method = self._request.head.first.split(" ")[0] if self._request.head else ""
        self._sends_content = not is_bare and method != "HEAD"
        await self._send(_head(command.status, tuple(fields)))

    async def _content(self, content: bytes) -> None:
        if not self._sends_content:
            return
        if self._framing is Framing.CHUNKED:
            content = b"%x\r\n%b\r\n" % (len(content), content)
        await self._send(content)

    async def _send(self, data: bytes) -> None:
        is_cut = self._left is not None and len(data) >= self._left
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self._writer.write(data)
        await self._writer.drain()
        if is_cut:
            raise _Cut


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset instead of an orderly close."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def _until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass
    writer.close()


def _head(status: int, fields: tuple[tuple[str, str], ...]) -> bytes:
    return b"HTTP/1.1 %d \r\n" % status + _lines(fields) + b"\r\n"


def _lines(fields: tuple[tuple[str, str], ...]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")


def _shown(head: Head | None) -> str:
    return head.raw.decode("latin-1").rstrip() if head else "no head"
