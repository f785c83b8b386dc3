"""Prepared responses on their way into one write."""

from __future__ import annotations

import asyncio

from cdn.edge.prepared import Prepared

BATCH_BYTES = 64 * 1024
"""Bound of one write in bytes: as much as a transport takes before it pauses its writer."""


class PreparedBatch:
    """Joins the answers to pipelined requests; `flush` before anything else is written."""

    __slots__ = ("_max_responses", "_pieces", "_size_bytes", "_transport")

    def __init__(self, transport: asyncio.Transport, max_responses: int) -> None:
        self._transport = transport
        self._max_responses = max_responses
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def add(self, prepared: Prepared, is_head: bool, now: float) -> None:
        """The next answer."""
        if is_head:
            self._pieces.append(prepared.wire_head(now))
        elif prepared.is_joined:
            self._pieces.append(prepared.wire(now))
            self._size_bytes += prepared.size_bytes
        else:
            self.flush()
            self._transport.writelines(prepared.pieces(now))
            return
        if self._size_bytes >= BATCH_BYTES or len(self._pieces) >= self._max_responses:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        if self._pieces:
            self._transport.write(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
            self._pieces.clear()
            self._size_bytes = 0
