"""The worker's end of its relay: what the node says is applied in order, and a lease says how long it is believed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from math import inf
from typing import Protocol, assert_never

from cdn.edge.certificate_arrivals import ArrivingCertificates
from cdn.edge.site_view import SiteView
from cdn.edge.ticket_keys import TicketKeys
from cdn.edge.worker_frames import FrameFault, encode_message_frame, read_frame
from cdn.edge.worker_messages import (
    Beat,
    BeatAnswered,
    Drain,
    Forget,
    FromNode,
    FromWorker,
    Listening,
    Missing,
    Reached,
    RecordsApplied,
    Renew,
    ReopenLog,
    Setup,
    Shelved,
    State,
    Tickets,
    Used,
    Withdraw,
    decode_from_node,
    encode,
)
from cdn.edge.worker_settings import BEAT_S, LEASE_S, SILENT_BEATS, WorkerSettings
from cdn.journal.record import decode_record

MAX_UNANSWERED = 64
"""Beats that may wait for their answer; no more are sent, a node that takes nothing is not written full."""

_log = logging.getLogger(__name__)


class Served(Protocol):
    """What the worker does with what it is told."""

    def forget(self, site_id: str, key: str, count: int) -> None:
        """What was prepared under a key of a pull site is not to be used."""
        ...

    def may_serve_until(self, until: float) -> None:
        """From the memory, in monotonic seconds."""
        ...

    def node_is_silent(self, is_silent: bool) -> None:
        """Whether the node takes so long to answer that nobody should wait for it. Called with every beat."""
        ...

    def counted(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """What was counted since the start, and refusals by reason."""
        ...

    def withdraw(self) -> None:
        """Say with every answer that its connection closes."""
        ...


class WorkerLink:
    """Keeps `view` at what the node has applied. Make it, read `setup`, then `run` it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, clock: Callable[[], float]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._unanswered: dict[int, float] = {}
        self._used: list[int] = []
        self.has_state = asyncio.Event()
        self.certificates: ArrivingCertificates | None = None
        """What is kept beside the view, where https is answered."""
        self.on_ticket_keys: Callable[[TicketKeys], None] = lambda keys: None
        """Told the keys of session tickets from now on."""
        self.on_reopen_log: Callable[[], None] = lambda: None
        """Told that the file of the access log has been moved away."""

    async def setup(self) -> WorkerSettings:
        """The first message. Raises FrameFault, and asyncio.IncompleteReadError when the node is gone."""
        message = await self._receive()
        if not isinstance(message, Setup):
            raise FrameFault("the node did not begin with the worker's settings")
        return message.settings

    async def run(self, view: SiteView, served: Served) -> float:  # noqa: C901 - one arm per message
        """Follow the node until it asks to drain; how long that may take, in seconds.

        Raises FrameFault, OSError, and asyncio.IncompleteReadError when the node is gone. However it ends, nothing is
        served from the memory any more.
        """
        beating: asyncio.Task[None] | None = None
        try:
            while True:
                message = await self._receive()
                match message:
                    case Drain(timeout_s):
                        served.node_is_silent(False)
                        return timeout_s
                    case Withdraw():
                        served.withdraw()
                    case ReopenLog():
                        self.on_reopen_log()
                    case BeatAnswered(beat):
                        sent_at = self._unanswered.pop(beat, None)
                        if sent_at is not None:
                            served.may_serve_until(sent_at + LEASE_S)
                        served.node_is_silent(False)
                    case Shelved(certificate_ids):
                        if self.certificates is not None:
                            self.certificates.forget(certificate_ids)
                    case Tickets(current, previous):
                        self.on_ticket_keys(TicketKeys(current, previous))
                    case Setup():
                        raise FrameFault("settings for the second time")
                    case State() | RecordsApplied() | Renew() | Forget():
                        self._apply(message, view, served)
                        self._send(Reached(message.number))
                        if beating is None:
                            # Not before the first state: until then this worker knows nothing it could serve.
                            self.has_state.set()
                            beating = asyncio.create_task(self._beat(served), name="beat")
                    case _:
                        assert_never(message)
        finally:
            served.may_serve_until(-inf)
            if beating is not None:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)

    def used(self, token: int) -> None:
        """A response that the node prepared is in use here: told with the next beat."""
        self._used.append(token)

    def missing(self, certificate_id: str) -> None:
        """A handshake needs a certificate that is not on the node's disk."""
        self._send(Missing(certificate_id))

    def listening(self) -> None:
        """Say that connections are taken."""
        self._send(Listening())

    def close(self) -> None:
        """Nothing more is said. Whoever closes has stopped serving from the memory."""
        self._writer.close()

    def _apply(self, message: State | RecordsApplied | Renew | Forget, view: SiteView, served: Served) -> None:
        match message:
            case State():
                view.catalog_fold.load(message.catalog)
                if self.certificates is not None:
                    self.certificates.load_brief(message.certificates)
                view.on_snapshot(message.position, message.epoch_changed)
            case RecordsApplied():
                records = [decode_record(raw) for raw in message.records]
                for record in records:
                    view.catalog_fold.apply(record)
                    if self.certificates is not None:
                        self.certificates.apply(record)
                view.on_records(records, message.position)
            case Renew():
                view.renew_all()
            case Forget():
                served.forget(message.site_id, message.key, message.count)
            case _:
                assert_never(message)

    async def _beat(self, served: Served) -> None:
        number = 0
        while True:
            if len(self._unanswered) < MAX_UNANSWERED:
                number += 1
                self._unanswered[number] = self._clock()
                counted, refused = served.counted()
                self._send(Beat(number, dict(counted), dict(refused)))
                if self._used:
                    used, self._used = tuple(self._used), []
                    self._send(Used(used))
            served.node_is_silent(len(self._unanswered) > SILENT_BEATS)
            await asyncio.sleep(BEAT_S)

    def _send(self, message: FromWorker) -> None:
        self._writer.write(encode_message_frame(encode(message)))

    async def _receive(self) -> FromNode:
        is_content, raw = await read_frame(self._reader)
        if is_content:
            raise FrameFault("content on the relay")
        message: FromNode = decode_from_node(raw)
        return message
