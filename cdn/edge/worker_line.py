"""The node's end of one worker's relay."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from math import inf
from typing import assert_never

import msgspec

from cdn.edge.worker_frames import FrameFault, encode_message_frame, read_frame
from cdn.edge.worker_messages import (
    Beat,
    BeatAnswered,
    FromNode,
    Listening,
    Missing,
    Reached,
    Used,
    decode_from_worker,
    encode,
)
from cdn.edge.worker_settings import FENCE_MARGIN_S, LEASE_S

MAX_WAITING_BYTES = 512 * 1024 * 1024
"""What may wait for a worker that does not read: a snapshot and the records after it. One that far behind is ended."""

_log = logging.getLogger(__name__)


class WorkerLine:
    """Sends to one worker and hears it. Times are monotonic.

    `on_change` is called whenever somebody who waits for this worker might go on.
    """

    def __init__(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        clock: Callable[[], float],
        on_change: Callable[[], None],
        on_used: Callable[[int], None],
        on_missing: Callable[[str], None] = lambda certificate_id: None,
    ) -> None:
        self.number = number
        self.told = 0
        """The number of the last message that changes what the worker may serve."""
        self.reached = 0
        """The number up to which the worker has applied them."""
        self.began_at = clock()
        self.heard_at = self.began_at
        self.answered_at: float | None = None
        self.is_gone = False
        self._was_cut = False
        self.counted: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.listening = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._on_change = on_change
        self._on_used = on_used
        self._on_missing = on_missing

    @property
    def lease_over_at(self) -> float:
        """From when on the worker surely serves nothing from its memory, if its beats are not answered again."""
        if self.answered_at is None:
            return -inf
        return self.answered_at + LEASE_S + FENCE_MARGIN_S

    def send(self, message: FromNode) -> None:
        """Queue a message. A worker that does not take what it is sent loses the connection, and exits."""
        self.send_frame(encode_message_frame(encode(message)))

    def send_frame(self, frame: bytes) -> None:
        """Queue a message that is encoded already: one encoding serves every worker."""
        if self.is_gone:
            return
        transport = self._writer.transport
        if transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            _log.warning("worker %d takes nothing any more: it is cut off", self.number)
            self._cut()
            return
        self._writer.write(frame)

    async def run(self) -> None:
        """Hear the worker until it ends: then nothing is served by it any more, and nobody waits for it."""
        try:
            while True:
                is_content, raw = await read_frame(self._reader)
                if is_content:
                    raise FrameFault("content on the relay")
                self._take(raw)
        except (asyncio.IncompleteReadError, OSError) as exc:
            _log.info("worker %d has gone: %r", self.number, exc)
            if not self._was_cut:  # its end was closed, by its own hand or its death: it serves nothing from memory
                self.answered_at = None
        except (FrameFault, msgspec.MsgspecError) as exc:
            _log.error("worker %d cannot be understood: %s", self.number, exc)
        finally:
            self._cut()
            self._on_change()

    def _cut(self) -> None:
        """Hear and say nothing more. A worker that lives on learns of it; until then its lease may run."""
        self._was_cut = self.is_gone = True
        self._writer.transport.abort()

    def _take(self, raw: bytes) -> None:
        self.heard_at = self._clock()
        message = decode_from_worker(raw)
        match message:
            case Beat(number, counted, refused):
                self.counted, self.refused = counted, refused
                self.answered_at = self.heard_at
                self.send(BeatAnswered(number))
            case Reached(number):
                self.reached = max(self.reached, number)
                self._on_change()
            case Listening():
                self.listening.set()
            case Used(tokens):
                for token in tokens:
                    self._on_used(token)
            case Missing(certificate_id):
                self._on_missing(certificate_id)
            case _:
                assert_never(message)
