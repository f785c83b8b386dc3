"""What the node applies, passed on to its workers; and the certainty that all of them have it (DESIGN I8).

The node applies a record, then relays it, then waits here before it acknowledges: until every worker has applied it, or
surely serves nothing from its memory (its lease is over, or it has gone).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from cdn.edge.certificate_arrivals import ArrivingCertificates
from cdn.edge.site_view import SiteView
from cdn.edge.ticket_keys import TicketKeys
from cdn.edge.worker_frames import encode_message_frame
from cdn.edge.worker_line import WorkerLine
from cdn.edge.worker_messages import Forget, FromNode, RecordsApplied, Renew, Setup, Shelved, State, Tickets, encode
from cdn.edge.worker_settings import WorkerSettings
from cdn.fleet.position import Position
from cdn.journal.record import Record, encode_record


class WorkerRelay:
    """The sink of the node's follower: tells `view` first, then the workers. Nothing here waits but `everywhere`."""

    def __init__(
        self, view: SiteView, clock: Callable[[], float], certificates: ArrivingCertificates | None = None
    ) -> None:
        """`certificates`: what workers that answer https know; None: they do not."""
        self._view = view
        self._certificates = certificates
        self.ticket_keys: TicketKeys | None = None
        """What workers encrypt session tickets with."""
        self._clock = clock
        self._lines: set[WorkerLine] = set()
        self._number = 0
        self._count = 0
        self._settled = 0
        self._changed = asyncio.Event()

    @property
    def lines(self) -> frozenset[WorkerLine]:
        """The workers that are told, and those that were cut off while their lease may run."""
        return frozenset(self._lines)

    # FollowerSink

    def on_records(self, records: Sequence[Record], position: Position) -> None:
        """The folds have taken `records`, which are durable."""
        self._view.on_records(records, position)
        if self._lines:
            self._tell(RecordsApplied(self._next(), position, tuple(encode_record(record) for record in records)))

    def on_snapshot(self, position: Position, epoch_changed: bool) -> None:
        """The folds were replaced."""
        self._view.on_snapshot(position, epoch_changed)
        if self._lines:
            self._tell(self._state(position, epoch_changed=epoch_changed))

    # What happens on the node without a record

    def renew(self) -> None:
        """What was prepared anywhere is to be looked at again."""
        self._view.renew_all()
        self._tell(Renew(self._next()))

    def forget(self, site_id: str, key: str, count: int) -> None:
        """What was prepared under a key of a pull site is not to be used any more."""
        self._count = count
        if self._lines:
            self._tell(Forget(self._next(), site_id, key, count))

    def tell_shelved(self, certificate_ids: tuple[str, ...]) -> None:
        """These certificates, which came with records, are on the disk."""
        if self._lines and certificate_ids:
            self._send(Shelved(certificate_ids))

    def tell_tickets(self, keys: TicketKeys) -> None:
        """The keys of session tickets from now on."""
        self.ticket_keys = keys
        self._send(Tickets(keys.current, keys.previous))

    # Workers

    def attach(self, line: WorkerLine, settings: WorkerSettings) -> None:
        """A worker has come: it is set up, given the state, and told everything from here on."""
        line.send(Setup(settings))
        if self.ticket_keys is not None:
            line.send(Tickets(self.ticket_keys.current, self.ticket_keys.previous))
        line.send(self._state(self._view.position, epoch_changed=False))
        line.told = self._number
        self._lines.add(line)

    def detach(self, line: WorkerLine) -> None:
        """The worker's process has ended."""
        self._lines.discard(line)
        self.note_change()

    def note_change(self) -> None:
        """Somebody who waits may go on."""
        self._changed.set()

    async def everywhere(self) -> None:
        """Return when all that was told so far holds in every answer of this node. Takes a worker's lease at most."""
        await self._reached(self._number)

    async def settled(self, number: int) -> None:
        """Return when no worker serves what was forgotten at this count or before."""
        if number > self._settled:
            reached = self._count
            await self.everywhere()
            self._settled = max(self._settled, reached)

    async def _reached(self, number: int) -> None:
        while True:
            now = self._clock()
            late = (line for line in self._lines if line.reached < min(number, line.told))
            waits_until = max((line.lease_over_at for line in late), default=now)
            if waits_until <= now:
                return
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(waits_until - now):
                    await self._changed.wait()

    def _state(self, position: Position, *, epoch_changed: bool) -> State:
        certificates = None if self._certificates is None else self._certificates.brief()
        return State(self._next(), position, epoch_changed, self._view.catalog_fold.dump(), certificates)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _send(self, message: FromNode) -> None:
        """What changes nothing that may be served."""
        frame = encode_message_frame(encode(message))
        for line in self._lines:
            line.send_frame(frame)

    def _tell(self, message: FromNode) -> None:
        if self._lines:
            frame = encode_message_frame(encode(message))
            for line in self._lines:
                line.send_frame(frame)
                line.told = self._number
