"""HTTP/1.1 messages as they come from a socket, read only as far as somebody asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

NO_CONTENT_STATUSES = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Head:
    """`first` is the request line or status line; names in lower case, in the order they came."""

    first: str
    fields: tuple[tuple[str, str], ...]
    raw: bytes

    def values(self, name: str) -> tuple[str, ...]:
        """Each line's value."""
        return tuple(value for known, value in self.fields if known == name)

    def value(self, name: str) -> str | None:
        """The lines joined, None without any."""
        values = self.values(name)
        return ", ".join(values) if values else None


@dataclass(slots=True)
class Message:
    """A message being read. `is_broken`: it ended before it was whole."""

    reader: asyncio.StreamReader
    method: str = "GET"
    interim: list[Head] = field(default_factory=list)
    head: Head | None = None
    content: bytearray = field(default_factory=bytearray)
    trailers: tuple[tuple[str, str], ...] = ()
    is_whole: bool = False
    is_broken: bool = False
    _left: int = 0
    _framing: str = ""

    @property
    def status(self) -> int:
        """Of a response whose head has come, else 0."""
        return int(self.head.first.split(" ")[1]) if self.head else 0

    async def read_head(self) -> Head | None:
        """The final head; None when the connection ended before it."""
        while self.head is None and not self.is_broken:
            head = await _read_head(self.reader)
            if head is None:
                self.is_broken = True
            elif head.first.startswith("HTTP/") and head.first.split(" ")[1].startswith("1"):
                self.interim.append(head)
            else:
                self.head = head
                self._frame(head)
        return self.head

    async def read_interim(self, number: int) -> Head | None:
        """The interim response after `number` others; None when the final head comes first."""
        while len(self.interim) <= number and self.head is None and not self.is_broken:
            head = await _read_head(self.reader)
            if head is None:
                self.is_broken = True
            elif head.first.split(" ")[1].startswith("1"):
                self.interim.append(head)
            else:
                self.head = head
                self._frame(head)
        return self.interim[number] if len(self.interim) > number else None

    async def receive(self, size_bytes: int) -> None:
        """Until that much content is there, or the end."""
        await self.read_head()
        while len(self.content) < size_bytes and not self.is_whole and not self.is_broken:
            await self._step()

    async def finish(self) -> None:
        """Until the message is whole, or broken."""
        await self.read_head()
        while not self.is_whole and not self.is_broken:
            await self._step()

    def _frame(self, head: Head) -> None:
        is_response = head.first.startswith("HTTP/")
        codings, length = head.value("transfer-encoding"), head.value("content-length")
        if is_response and (self.method == "HEAD" or self.status in NO_CONTENT_STATUSES):
            self.is_whole = True
        elif codings is not None:
            self._framing = "chunked"
        elif length is not None:
            self._framing, self._left = "length", int(length)
            self.is_whole = self._left == 0
        elif is_response:
            self._framing = "close"
        else:
            self.is_whole = True

    async def _step(self) -> None:
        try:
            if self._framing == "chunked" and self._left == 0:
                await self._next_chunk()
                return
            piece = await self.reader.read(65536 if self._framing == "close" else min(self._left, 65536))
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.is_broken = True
            return
        self.content += piece
        if self._framing == "close":
            self.is_whole = not piece
            return
        self._left -= len(piece)
        self.is_broken = not piece
        if self._framing == "length":
            self.is_whole = self._left == 0
        elif piece and self._left == 0:
            await self._line()

    async def _next_chunk(self) -> None:
        size = int((await self._line()).split(b";")[0], 16)
        if size:
            self._left = size
            return
        lines = []
        while line := await self._line():
            lines.append(line)
        self.trailers = _fields(lines)
        self.is_whole = True

    async def _line(self) -> bytes:
        try:
            return (await self.reader.readuntil(b"\r\n"))[:-2]
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self.is_broken = True
            raise asyncio.IncompleteReadError(b"", None) from None


async def _read_head(reader: asyncio.StreamReader) -> Head | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    lines = raw[:-4].split(b"\r\n")
    return Head(lines[0].decode("latin-1"), _fields(lines[1:]), raw)


def _fields(lines: list[bytes]) -> tuple[tuple[str, str], ...]:
    split = [line.decode("latin-1").partition(":") for line in lines]
    return tuple((name.lower(), value.strip(" \t")) for name, _, value in split)
