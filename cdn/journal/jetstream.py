"""The journal on NATS JetStream: for as many writers and readers as one likes, none special."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

from cdn.fleet.position import Position
from cdn.journal.jetstream_api import RETRY_PAUSE_S, Message
from cdn.journal.jetstream_appender import Appender, with_sequence
from cdn.journal.jetstream_history import History, Standing
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.jetstream_tail import Tail
from cdn.journal.journal import Conflicted, EpochEnded, JournalUnavailable, Trimmed
from cdn.journal.nats_link import NatsLink, end_task
from cdn.journal.recent_records import RecentRecords
from cdn.journal.record import Draft, Record, UnknownRecord, decode_record, validate_draft

MAX_WAITING_APPENDS = 10_000
"""Appends waiting for NATS; more are refused, so that servers that are away do not fill memory."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""What the records of those appends take together."""

MAX_READ_BYTES = 8 * 1024 * 1024
"""One read returns at most about this much, whatever its limit in records."""

MAX_READ_RECORDS = 1_000
"""One read returns at most this many: a batch that the server gathers at once."""

PRELOADED_RECORDS = 1_000
"""The newest records that a journal loads when it is opened: nodes that reconnect to it ask for those."""

TAIL_WAIT_S = 0.5
"""A read waits this long for the tail to bring what was just appended, then asks the stream."""

FACTS_INTERVAL_S = 5.0
"""How often it is looked whether the epoch ended or records were trimmed."""

_log = logging.getLogger(__name__)


class JetStreamJournal:
    """A `Journal` on a replicated stream: an append that returned is on a majority of the stream's replicas."""

    def __init__(self, history: History, epoch: str, clock: Callable[[], float], *, last: int, first: int) -> None:
        self._history = history
        self._epoch = epoch
        self._stream = history.stream(epoch)
        self._appender = Appender(history, epoch, clock)
        self._recent = RecentRecords()
        self._tail = Tail(history.link, history.near, self._stream, last=first - 1, take=self._take)
        self._last = last
        self._trimmed_through = 0
        self._mirror_trimmed_through = 0
        self._moved = asyncio.Event()
        self._waiting_bytes = 0
        self._appends: set[asyncio.Task[Record | Conflicted]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: EpochEnded | None = None
        self._is_closed = False

    @classmethod
    async def open(
        cls,
        settings: JetStreamSettings,
        *,
        clock: Callable[[], float] = time.time,
        new_epoch: Callable[[], str] = lambda: secrets.token_hex(8),
        client_name: str = "cdn",
    ) -> JetStreamJournal:
        """The journal that `settings` name, begun with `new_epoch` when there is none.

        `clock` gives wall time in seconds. Raises JournalUnavailable when NATS lets nobody in, does not answer, or has
        lost the stream; InvalidInput for settings that cannot work.
        """
        link = await NatsLink.open(settings.nats, name=client_name)
        try:
            history = History(link, settings)
            epoch, is_cut_off = await _epoch_of(history, new_epoch)
            near = await history.settle_mirror(epoch) if history.is_mirrored else await history.origin_info(epoch)
            first = max(near.state.first_seq, near.state.last_seq - PRELOADED_RECORDS + 1, 1)
            journal = cls(history, epoch, clock, last=near.state.last_seq, first=min(first, near.state.last_seq + 1))
            if not is_cut_off:
                await journal.position()
                journal._trimmed_through = await history.trimmed_through(epoch)
            journal._start()
        except BaseException:
            await link.aclose()
            raise
        return journal

    @classmethod
    async def begin_epoch(
        cls, settings: JetStreamSettings, *, instead_of: str | None, after: int, new_epoch: str | None = None
    ) -> str:
        """End the epoch `instead_of` (None: there is none) and begin another, whose first record will have the
        sequence `after + 1`; its name.

        The former stream is sealed and kept. Raises Conflict when another epoch counts than the caller believes.
        """
        epoch = new_epoch or secrets.token_hex(8)
        link = await NatsLink.open(settings.nats, name="cdn-restore")
        try:
            await History(link, settings).begin(epoch, instead_of=instead_of, after=after)
        finally:
            await link.aclose()
        return epoch

    @classmethod
    async def standing(cls, settings: JetStreamSettings) -> Standing | None:
        """What NATS has of the journal that `settings` name. Raises JournalUnavailable."""
        link = await NatsLink.open(settings.nats, name="cdn-restore")
        try:
            return await History(link, settings).standing()
        finally:
            await link.aclose()

    @property
    def epoch(self) -> str:
        """The random name of this history."""
        return self._epoch

    @property
    def link(self) -> NatsLink:
        """The connection, for buckets beside the journal."""
        return self._history.link

    def silent_s(self, now: float) -> float:
        """For how long NATS has said nothing, not even that there is nothing new. `now` is in monotonic seconds."""
        return max(0.0, now - self._tail.heard_at)

    async def append(self, draft: Draft, *, expected_sequence: int | None) -> Record | Conflicted:
        """See `Journal.append`. Concurrent calls for one subject are ordered as they were made.

        Raises InvalidInput or TooLarge for a draft that followers could not read; AppendUncertain when its answer was
        lost for good; JournalUnavailable when nothing was appended: NATS is away, the stream is full or sealed, the
        epoch ended, or MAX_WAITING_APPENDS or MAX_WAITING_BYTES are waiting already.
        """
        self._check_open()
        draft, size_bytes = validate_draft(draft)
        if len(self._appends) >= MAX_WAITING_APPENDS or self._waiting_bytes + size_bytes > MAX_WAITING_BYTES:
            raise JournalUnavailable(
                f"{len(self._appends)} records of {self._waiting_bytes} bytes wait for NATS already: try again later"
            )
        appending = asyncio.create_task(self._appender.append(draft, expected_sequence=expected_sequence))
        self._appends.add(appending)
        self._waiting_bytes += size_bytes
        try:
            outcome = await appending
        finally:
            self._appends.discard(appending)
            self._waiting_bytes -= size_bytes
        if isinstance(outcome, Record):
            self._know(outcome.sequence)
        return outcome

    async def read(self, after: int, *, limit: int) -> tuple[Record, ...] | Trimmed:
        """See `Journal.read`. May return fewer than `limit` before the end, never none.

        Records that a mirror does not have yet are waited for. Raises UnknownRecord when a newer program wrote the
        first of them.
        """
        self._check_open()
        if after < self._trimmed_through:
            return Trimmed(self._trimmed_through + 1)
        if after >= self._last or limit <= 0:
            return ()
        await self._let_the_tail_come()
        return self._recent.after(after, limit) or await self._fetch(after, limit)

    async def wait_beyond(self, sequence: int) -> None:
        """See `Journal.wait_beyond`. While NATS is away it waits on; `silent_s` tells.

        Raises JournalUnavailable when the journal is closed or its epoch ends meanwhile.
        """
        self._check_open()
        while self._last <= sequence:
            await self._moved.wait()
            self._check_open()

    async def position(self) -> Position:
        """The place of the last record, asked of the stream's leader."""
        self._check_open()
        info = await self._history.origin_info(self._epoch)
        self._know(info.state.last_seq)
        return Position(self._epoch, info.state.last_seq)

    async def trim(self, through: int) -> None:
        """See `Journal.trim`. A place beyond the end means the end.

        The last record of every subject stays in the stream, so that comparing knows it; it is not read any more.
        """
        self._check_open()
        through = min(through, (await self.position()).sequence)
        announced = await self._history.raise_trimmed(self._epoch, through) if through > 0 else 0
        self._forget_through(announced)
        origin = self._history.origin
        for subject, messages in (await origin.subjects(self._stream)).items():
            if messages < 2:
                continue
            last = await origin.last_of(self._stream, subject)
            if last is not None:
                await origin.purge(self._stream, before=min(last.sequence, announced + 1), subject=subject)
        await self._trim_mirror()

    async def aclose(self) -> None:
        """Finish the appends that wait, then close. Waiters of `wait_beyond` get JournalUnavailable."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._appends:
            await asyncio.wait(self._appends)
        self._wake()
        try:
            for task in self._tasks:
                await end_task(task)
        finally:
            await self._history.link.aclose()

    def _start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._tail.run(), name="journal-tail"),
            asyncio.create_task(self._watch_facts(), name="journal-facts"),
        ]

    def _check_open(self) -> None:
        if self._is_closed:
            raise JournalUnavailable("the journal is closed")
        if self._ended is not None:
            raise EpochEnded(self._ended.message)

    def _take(self, sequence: int, subject: str, content: bytes) -> None:
        """The tail brings a record."""
        self._recent.add(sequence, self._decoded(sequence, content), len(content))
        self._appender.saw(subject, sequence)
        self._last = max(self._last, sequence)
        self._wake()

    def _decoded(self, sequence: int, content: bytes) -> Record | UnknownRecord:
        try:
            record = decode_record(content)
        except UnknownRecord as exc:
            return UnknownRecord(f"at sequence {sequence}: {exc}")
        if record.epoch != self._epoch:
            return UnknownRecord(
                f"record {sequence} is of epoch {record.epoch}, not {self._epoch}: restore the journal"
            )
        return with_sequence(record, sequence)

    def _know(self, sequence: int) -> None:
        if sequence > self._last:
            self._last = sequence
            self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _let_the_tail_come(self) -> None:
        wanted = self._last
        try:
            async with asyncio.timeout(TAIL_WAIT_S):
                while self._tail.last < wanted:
                    await self._moved.wait()
        except TimeoutError:
            return  # the stream itself can be asked

    async def _fetch(self, after: int, limit: int) -> tuple[Record, ...] | Trimmed:
        question = {"seq": after + 1, "batch": min(limit, MAX_READ_RECORDS), "max_bytes": MAX_READ_BYTES}
        deadline = time.monotonic() + self._history.settings.nats.patience_s
        while not (messages := await self._batch(question, deadline)):
            self._check_open()
            if time.monotonic() + RETRY_PAUSE_S >= deadline:
                raise JournalUnavailable(
                    f"no replica of {self._stream} has record {after + 1} yet, though {self._last} exist: try again"
                )
            await asyncio.sleep(RETRY_PAUSE_S)
        if messages[0].sequence != after + 1:
            return await self._gap(messages[0].sequence)
        found: list[Record] = []
        for sequence, message in enumerate(messages, start=after + 1):
            if message.sequence != sequence:
                break
            record = self._decoded(sequence, message.content)
            if isinstance(record, UnknownRecord):
                if not found:
                    raise record
                break
            found.append(record)
        return tuple(found)

    async def _batch(self, question: dict[str, int], deadline: float) -> list[Message]:
        try:
            return await self._history.near.batch(self._stream, question)
        except JournalUnavailable:
            if time.monotonic() + RETRY_PAUSE_S >= deadline:
                raise
            return []  # asked again

    async def _gap(self, first_found: int) -> Trimmed:
        """Records before `first_found` are gone: behind the trim mark, or from a mirror that missed them."""
        self._forget_through(await self._announced())
        return Trimmed(max(self._trimmed_through + 1, first_found))

    def _forget_through(self, sequence: int) -> None:
        self._trimmed_through = max(self._trimmed_through, sequence)
        self._recent.forget_through(self._trimmed_through)

    async def _announced(self) -> int:
        """The trim mark; as far as it is known here when the origin of a mirror is cut off."""
        try:
            return await self._history.trimmed_through(self._epoch)
        except JournalUnavailable:
            if not self._history.is_mirrored:
                raise
            return self._trimmed_through

    async def _trim_mirror(self) -> None:
        if self._history.is_mirrored and self._trimmed_through > self._mirror_trimmed_through:
            await self._history.near.purge(self._stream, before=self._trimmed_through + 1)
            self._mirror_trimmed_through = self._trimmed_through

    async def _watch_facts(self) -> None:
        """Learn of trims and of the epoch's end."""
        while True:
            try:
                epoch = await self._history.epoch()
                if epoch != self._epoch:
                    self._ended = EpochEnded(
                        f"the journal has begun the epoch {epoch} in place of {self._epoch}: "
                        "open it again and load its snapshot"
                    )
                    self._wake()
                    return
                self._forget_through(await self._history.trimmed_through(self._epoch))
                await self._trim_mirror()
            except JournalUnavailable as exc:
                _log.info("the journal's facts cannot be read now: %s", exc)
            await asyncio.sleep(FACTS_INTERVAL_S)


async def _epoch_of(history: History, new_epoch: Callable[[], str]) -> tuple[str, bool]:
    """The epoch that counts, and whether only the mirror could tell."""
    try:
        return await history.settle(new_epoch()), False
    except JournalUnavailable:
        if not history.is_mirrored:
            raise
        epoch = await history.mirrored_epoch()
        if epoch is None:
            raise
        return epoch, True
