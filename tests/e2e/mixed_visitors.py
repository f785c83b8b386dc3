"""Visitors of every kind: HTTP/1.1 and HTTP/2, plain and by TLS, in a hurry and slow, with ranges, conditions and
uploads, and those who leave in the middle."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

READ_BYTES = 64 * 1024
SLOW_BYTES = 16 * 1024
"""What a slow visitor takes at once."""

PATIENCE_S = 60.0
"""Nobody waits for an answer longer: then the server hangs."""


@dataclass(slots=True)
class Asked:
    """A request; `fields` are those beside the host."""

    host: str
    path: str
    method: str = "GET"
    fields: dict[str, str] = field(default_factory=dict)
    content: bytes = b""


@dataclass(slots=True)
class Answered:
    """A response; names in lower case."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    content: bytes = b""


class Visiting(Protocol):
    """One connection."""

    async def ask(self, requests: Sequence[Asked]) -> list[Answered]:
        """Several at once, in whatever way the protocol has for that."""
        ...

    async def leave(self, request: Asked) -> None:
        """Ask, read a little, and go away."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Way:
    """How a visitor connects. `context` is None on a plain connection."""

    port: int
    is_http2: bool
    context: ssl.SSLContext | None = None
    is_slow: bool = False

    async def connect(self, host: str) -> Visiting:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.context, server_hostname=host if self.context else None, limit=READ_BYTES
        )
        return H2Visiting(reader, writer, self) if self.is_http2 else H1Visiting(reader, writer, self)


class H1Visiting:
    """A connection that is kept; several requests are pipelined."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        self._reader = reader
        self._writer = writer
        self._way = way

    async def ask(self, requests: Sequence[Asked]) -> list[Answered]:
        async with asyncio.timeout(PATIENCE_S):
            self._writer.write(b"".join(_head(request) + request.content for request in requests))
            return [await self._answer(request.method) for request in requests]

    async def leave(self, request: Asked) -> None:
        self._writer.write(_head(request) + request.content)
        await self._reader.read(SLOW_BYTES)
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()

    async def _answer(self, method: str) -> Answered:
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
        answered = Answered(int(first.split(" ")[1]), fields)
        if method == "HEAD" or answered.status in (204, 304):
            return answered
        if fields.get("transfer-encoding") == "chunked":
            while size := int(await self._reader.readline(), 16):
                answered.content += await self._read(size)
                await self._reader.readexactly(2)
            await self._reader.readuntil(b"\r\n")
            return answered
        answered.content = await self._read(int(fields["content-length"]))
        return answered

    async def _read(self, size: int) -> bytes:
        if not self._way.is_slow:
            return await self._reader.readexactly(size)
        parts = []
        while size:
            parts.append(await self._reader.readexactly(min(size, SLOW_BYTES)))
            size -= len(parts[-1])
            await asyncio.sleep(0)
        return b"".join(parts)


class H2Visiting:
    """python-hyper's client; several requests are streams. A slow one gives windows of a few octets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        self._reader = reader
        self._writer = writer
        self._way = way
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()
        if way.is_slow:
            self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2 * SLOW_BYTES})
        self._answers: dict[int, Answered] = {}
        self._unsent: dict[int, bytes] = {}
        self._open: set[int] = set()

    async def ask(self, requests: Sequence[Asked]) -> list[Answered]:
        async with asyncio.timeout(PATIENCE_S):
            streams = [self._begin(request) for request in requests]
            while self._open:
                await self._turn()
        return [self._answers.pop(stream_id) for stream_id in streams]

    async def leave(self, request: Asked) -> None:
        stream_id = self._begin(request)
        while stream_id in self._open and not self._answers[stream_id].content:
            await self._turn()
        if stream_id in self._open:
            self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
            self._flush()
        self._writer.transport.abort()

    def close(self) -> None:
        self._h2.close_connection()
        self._flush()
        self._writer.close()

    def _begin(self, request: Asked) -> int:
        stream_id = self._h2.get_next_available_stream_id()
        scheme = "https" if self._way.context else "http"
        head = [(":method", request.method), (":scheme", scheme), (":authority", request.host), (":path", request.path)]
        if request.content:
            head.append(("content-length", str(len(request.content))))
        self._h2.send_headers(stream_id, [*head, *request.fields.items()], end_stream=not request.content)
        if request.content:
            self._unsent[stream_id] = request.content
        self._answers[stream_id] = Answered()
        self._open.add(stream_id)
        return stream_id

    async def _turn(self) -> None:
        """Send what may be sent, and take what has come."""
        for stream_id in list(self._unsent):
            self._upload(stream_id)
        self._flush()
        await self._writer.drain()
        came = await self._reader.read(SLOW_BYTES if self._way.is_slow else READ_BYTES)
        if not came:
            raise ConnectionResetError("the server ended the connection")
        for event in self._h2.receive_data(came):
            self._note(event)
        self._flush()

    def _upload(self, stream_id: int) -> None:
        content = self._unsent[stream_id]
        while content and (room := self._h2.local_flow_control_window(stream_id)):
            part, content = content[: min(room, 16_384)], content[min(room, 16_384) :]
            self._h2.send_data(stream_id, part, end_stream=not content)
        self._unsent[stream_id] = content
        if not content:
            del self._unsent[stream_id]

    def _note(self, event: Event) -> None:
        match event:
            case ResponseReceived(stream_id=int(at), headers=list(lines)):
                fields = {str(name): str(value) for name, value in lines}
                self._answers[at].status = int(fields[":status"])
                self._answers[at].fields = fields
            case DataReceived(stream_id=int(at), data=bytes(content), flow_controlled_length=int(size)):
                self._answers[at].content += content
                if size:
                    self._h2.acknowledge_received_data(size, at)
            case StreamEnded(stream_id=int(at)):
                self._open.discard(at)
            case StreamReset(stream_id=int(at), error_code=code):
                if at in self._open and code != ErrorCodes.NO_ERROR:
                    raise AssertionError(f"the server reset a stream: {code!r}")
                self._open.discard(at)
                self._unsent.pop(at, None)
            case ConnectionTerminated(error_code=code, additional_data=data):
                raise ConnectionResetError(f"GOAWAY {code!r} {data!r}")
            case _:
                pass

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())


def _head(request: Asked) -> bytes:
    fields = {"Host": request.host, **request.fields}
    if request.content or request.method == "POST":
        fields["Content-Length"] = str(len(request.content))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{request.method} {request.path} HTTP/1.1\r\n{lines}\r\n".encode()


def some_range(draw: random.Random, size: int) -> tuple[int, int]:
    """First and last octet of a part that holds whole lines."""
    first = draw.randrange(max(size - 600, 1))
    return first, min(first + draw.randrange(300, 40_000), size) - 1
