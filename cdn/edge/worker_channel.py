"""Frames over one connection between a worker and its node, without a task: what comes is handed on at once."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

from cdn.edge.worker_frames import (
    HEAD_BYTES,
    MAX_CONTENT_BYTES,
    FrameFault,
    decode_frame_head,
    encode_frame_head,
)

log = logging.getLogger(__name__)


class Receiver(Protocol):
    """Who is told what comes. A FrameFault that it raises ends the connection."""

    def message_came(self, raw: bytes) -> None:
        """A whole message."""
        ...

    def content_came(self, part: bytes) -> None:
        """Some bytes of content: a frame of it is handed on as it comes."""
        ...

    def gone(self) -> None:
        """The connection has ended. Called once."""
        ...


class Channel(asyncio.Protocol):
    """One connection. Nothing is written once it has ended, without a word: `gone` has said so."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._held = bytearray()
        self._needed_bytes = 0
        self._content_left_bytes = 0
        self._room: asyncio.Future[None] | None = None
        self.is_gone = False
        self.is_full = False
        """Whether more waits for the other side than it takes."""

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It can be written to."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self.is_gone = True
        self.resume_writing()
        self._receiver.gone()

    def pause_writing(self) -> None:
        """More waits than is taken."""
        self.is_full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self.is_full = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def data_received(self, data: bytes) -> None:
        """Bytes came: whole messages are handed on, and content as far as it is here."""
        if self._held:
            self._held += data
            if len(self._held) < self._needed_bytes:
                return
            data = bytes(self._held)
            self._held.clear()
        try:
            at = self._take(data)
        except FrameFault as exc:
            log.error("a connection between the node and a worker is given up: %s", exc)  # noqa: TRY400 - no defect here
            self.abort()
            return
        self._held += data[at:]

    def _take(self, data: bytes) -> int:
        """Hand on what is whole; how far that was."""
        at, size_bytes = 0, len(data)
        while at < size_bytes and not self.is_gone:
            if self._content_left_bytes:
                part = data[at : at + self._content_left_bytes]
                self._content_left_bytes -= len(part)
                at += len(part)
                self._receiver.content_came(part)
                continue
            if size_bytes - at < HEAD_BYTES:
                self._needed_bytes = HEAD_BYTES
                break
            is_content, frame_bytes = decode_frame_head(data, at)
            if is_content:
                self._content_left_bytes = frame_bytes
                at += HEAD_BYTES
                continue
            end = at + HEAD_BYTES + frame_bytes
            if end > size_bytes:
                self._needed_bytes = end - at
                break
            message = data[at + HEAD_BYTES : end]
            at = end
            self._receiver.message_came(message)
        return at

    # What its owner calls

    def send_message(self, message: bytes) -> None:
        """One frame."""
        if self._transport is not None and not self.is_gone:
            head = encode_frame_head(len(message), is_content=False)
            if len(message) <= 4096:  # copying costs less than a second piece
                self._transport.write(head + message)
            else:
                self._transport.writelines((head, message))

    def send_content(self, part: bytes | memoryview) -> None:
        """As many frames as it takes."""
        if self._transport is None or self.is_gone:
            return
        if len(part) <= MAX_CONTENT_BYTES:
            if len(part):
                self._transport.writelines((encode_frame_head(len(part), is_content=True), part))
            return
        whole = memoryview(part)
        for start in range(0, len(whole), MAX_CONTENT_BYTES):
            self.send_content(whole[start : start + MAX_CONTENT_BYTES])

    async def room(self) -> None:
        """Return when the other side has taken enough of what was written, or is gone."""
        if self.is_full and not self.is_gone:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    def pause_reading(self) -> None:
        """What came has no room."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """There is room again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()
