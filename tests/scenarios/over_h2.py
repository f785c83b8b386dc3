"""Scenarios over HTTP/2: a gateway takes what clients say in HTTP/1.1 and asks the edge in HTTP/2 for it.

So the same files hold for both: what the edge answers by HTTP/2 has to be what it answers by HTTP/1.1, as far as the
scenarios look. Each client connection has one of HTTP/2, by prior knowledge; python-hyper's `h2` speaks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.scenarios.client import READ_LIMIT_BYTES, Edge
from tests.scenarios.message import NO_CONTENT_STATUSES, Message
from tests.scenarios.site import Sites

LOOK_EVERY_S = 0.005
"""Between two looks at whether a client has gone."""

OF_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "host"})
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class H2Sites:
    """Sites whose clients ask by HTTP/2."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites

    @asynccontextmanager
    async def new(self, upstream_port: int, settings: dict[str, Any]) -> AsyncIterator[Edge]:
        """See Sites."""
        async with self._sites.new(upstream_port, settings) as edge:
            tasks = set[asyncio.Task[None]]()
            server = await asyncio.start_server(
                partial(_serve, tasks, edge.port), "127.0.0.1", 0, limit=READ_LIMIT_BYTES
            )
            try:
                yield replace(edge, port=server.sockets[0].getsockname()[1])
            finally:
                server.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _serve(
    tasks: set[asyncio.Task[None]], port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    task = asyncio.current_task()
    assert task is not None
    tasks.add(task)
    try:
        await _Gateway(reader, writer).run(port)
    except asyncio.CancelledError:
        pass  # the scenario is over; asyncio's streams take it for a fault
    except (OSError, asyncio.IncompleteReadError, h2.exceptions.ProtocolError):
        _reset(writer)
    finally:
        tasks.discard(task)
        writer.close()


class _Gateway:
    """One client connection and its connection to the edge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
        self._stream_id = 0
        self._is_chunked = False
        self._is_head = False
        self._is_over = asyncio.Event()
        self._may_send = asyncio.Event()

    async def run(self, port: int) -> None:
        """Until the client or the edge ends."""
        self._above, self._below = await asyncio.open_connection("127.0.0.1", port)
        self._h2.initiate_connection()
        self._flush()
        answering = asyncio.create_task(self._answer())
        asking = asyncio.create_task(self._ask())
        try:
            done, _ = await asyncio.wait((answering, asking), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            _reset(self._below)
            for task in (answering, asking):
                task.cancel()
            await asyncio.gather(answering, asking, return_exceptions=True)

    def _flush(self) -> None:
        self._below.write(self._h2.data_to_send())

    # -- requests

    async def _ask(self) -> None:
        """One request after the other; returns when the client has gone."""
        while True:
            message = Message(self._reader)
            head = await message.read_head()
            if head is None:
                return
            method, target, _ = head.first.split(" ")
            fields = [(name, value) for name, value in head.fields if name not in OF_CONNECTION]
            pseudo = [(":method", method), (":scheme", "http"), (":authority", head.value("host") or "")]
            self._is_over.clear()
            self._is_head = method == "HEAD"
            self._stream_id = self._h2.get_next_available_stream_id()
            is_end = message.is_whole
            self._h2.send_headers(self._stream_id, [*pseudo, (":path", target), *fields], end_stream=is_end)
            self._flush()
            if not is_end:
                await self._send_content(message)
            while not self._is_over.is_set():
                if self._reader.at_eof() or self._reader.exception() is not None or self._writer.is_closing():
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._is_over.wait(), LOOK_EVERY_S)

    async def _send_content(self, message: Message) -> None:
        sent = 0
        while not message.is_whole and not message.is_broken and not self._is_over.is_set():
            await message.receive(sent + 1)
            while sent < len(message.content) and not self._is_over.is_set():
                room = self._h2.local_flow_control_window(self._stream_id)
                if room <= 0:
                    self._may_send.clear()
                    await self._may_send.wait()
                    continue
                part = bytes(message.content[sent : sent + min(room, self._h2.max_outbound_frame_size)])
                self._h2.send_data(self._stream_id, part)
                sent += len(part)
                self._flush()
        if message.is_broken:
            raise ConnectionResetError
        if not self._is_over.is_set():
            self._h2.end_stream(self._stream_id)
            self._flush()

    # -- answers

    async def _answer(self) -> None:
        """Whatever the edge says; returns when it ends."""
        while data := await self._above.read(65_536):
            for event in self._h2.receive_data(data):
                await self._tell(event)
            self._flush()
        _reset(self._writer)

    async def _tell(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.InformationalResponseReceived() | h2.events.ResponseReceived():
                self._tell_head([(str(name), str(value)) for name, value in event.headers])
            case h2.events.DataReceived(data=data, flow_controlled_length=size):
                if data:
                    self._writer.write(b"%x\r\n%s\r\n" % (len(data), data) if self._is_chunked else data)
                    await self._writer.drain()
                self._h2.acknowledge_received_data(size or 0, self._stream_id)
            case h2.events.TrailersReceived():
                lines = "".join(f"{name!s}: {value!s}\r\n" for name, value in event.headers)
                self._writer.write(f"0\r\n{lines}\r\n".encode("latin-1"))
                self._is_chunked = False
            case h2.events.StreamEnded():
                if self._is_chunked:
                    self._writer.write(b"0\r\n\r\n")
                self._is_chunked = False
                self._is_over.set()
            case h2.events.StreamReset(error_code=code):
                self._is_over.set()
                self._may_send.set()
                if code != 0:
                    _reset(self._writer)
            case h2.events.WindowUpdated():
                self._may_send.set()
            case _:
                pass

    def _tell_head(self, fields: list[tuple[str, str]]) -> None:
        status = int(fields[0][1])
        lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}", *(f"{name}: {value}" for name, value in fields[1:])]
        is_final = status >= 200
        has_length = any(name == "content-length" for name, _ in fields)
        if is_final and not has_length and not self._is_head and status not in NO_CONTENT_STATUSES:
            self._is_chunked = True
            lines.append("transfer-encoding: chunked")
        self._writer.write("\r\n".join((*lines, "", "")).encode("latin-1"))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Who leaves, or breaks off what has no length, is to be seen to do so."""
    connected: socket.socket | None = writer.get_extra_info("socket")
    if connected is not None:
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
