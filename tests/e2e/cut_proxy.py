"""A TCP line that a test can cut, silence, black out, spoil and mend."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

READ_BYTES = 64 * 1024

_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # one instruction: keep 0 bytes
_DROP_FILTER = struct.pack("HxxxxxxP", 1, ctypes.addressof(_DROP_ALL))
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27


class Direction(Enum):
    """Which way packets go."""

    UP = "up"  # from who connects
    DOWN = "down"


BOTH_WAYS = (Direction.UP, Direction.DOWN)

Spoiler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
"""Passes what one side sent on to the other, in its own way. Raises OSError to end the connection."""


class CutProxy:
    """Listens on a port of its own and passes bytes to and from one address. Make it with `start`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._passes = asyncio.Event()
        self._passes.set()
        self._is_cut = False
        self._dropped: frozenset[Direction] = frozenset()
        self._spoilers: dict[Direction, Spoiler] = {}
        self._refusal: bytes | None = None
        self._writers: dict[asyncio.StreamWriter, Direction] = {}  # by whose packets arrive there
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(cls, url: str) -> CutProxy:
        address = urlsplit(url)
        proxy = cls(address.hostname or "", address.port or 0)
        proxy._server = await asyncio.start_server(proxy._connected, "127.0.0.1", 0)
        return proxy

    @property
    def address(self) -> str:
        """HOST:PORT to connect to."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

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

    def drop(self, *directions: Direction) -> None:
        """The system throws packets of these directions away, acknowledgements and new connections with them.

        Nobody is told: what was sent is sent again and again.
        """
        self._dropped = frozenset(directions)
        for writer, direction in self._writers.items():
            _filter(writer.get_extra_info("socket"), is_dropping=direction in self._dropped)
        self._filter_listeners(is_dropping=bool(self._dropped))

    def spoil(self, spoiler: Spoiler, direction: Direction = Direction.DOWN) -> None:
        """What goes in that direction goes through `spoiler`, on connections that are opened from now on."""
        self._spoilers[direction] = spoiler
        self._end_all()

    def refuse(self, answer: bytes) -> None:
        """Answer whatever is asked with this, and close."""
        self._refusal = answer
        self._end_all()

    def mend(self) -> None:
        """Pass again. What was silenced goes on where it stopped; what was spoiled or refused begins anew."""
        self._is_cut = False
        if self._spoilers or self._refusal is not None:
            self._spoilers, self._refusal = {}, None
            self._end_all()
        self.drop()
        self._passes.set()

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        self._passes.set()
        self._end_all()

    def _end_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _filter_listeners(self, *, is_dropping: bool) -> None:
        sockets: Iterable[Any] = () if self._server is None else self._server.sockets
        for listener in sockets:
            _filter(listener, is_dropping=is_dropping)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        if self._refusal is not None:
            await self._refuse(reader, writer, self._refusal)
            return
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            ends = {writer: Direction.UP, far_writer: Direction.DOWN}
            self._writers |= ends
            if self._dropped:
                self.drop(*self._dropped)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass(reader, far_writer, self._spoilers.get(Direction.UP)))
                    both.create_task(self._pass(far_reader, writer, self._spoilers.get(Direction.DOWN)))
            finally:
                for end in ends:
                    del self._writers[end]
                far_writer.transport.abort()
        writer.transport.abort()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
        with contextlib.suppress(OSError):
            await reader.read(READ_BYTES)
            writer.write(answer)
            await writer.drain()
            writer.write_eof()
            while await reader.read(READ_BYTES):  # what is not read would reset the connection, and the answer with it
                pass
        writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, spoiler: Spoiler | None) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                await self._passes.wait()
                if spoiler is not None:
                    await spoiler(data, writer)
                    continue
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


def _filter(end: Any, *, is_dropping: bool) -> None:
    """Throw away every packet that arrives for this socket, or none any more."""
    with contextlib.suppress(OSError):  # it has ended, or had no filter
        if is_dropping:
            end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DROP_FILTER)
        else:
            end.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
