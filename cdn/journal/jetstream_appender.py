"""Appending to the stream so that no record is ever stored twice."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cachetools import LRUCache

from cdn.journal.jetstream_api import (
    EXPECTED_LAST,
    EXPECTED_STREAM,
    MESSAGE_ID,
    RETRY_PAUSE_S,
    WRONG_LAST_SEQUENCE,
    ApiError,
)
from cdn.journal.jetstream_history import History
from cdn.journal.jetstream_subject import subject_token
from cdn.journal.journal import AppendUncertain, Conflicted, JournalUnavailable
from cdn.journal.nats_link import NatsSilent
from cdn.journal.record import Draft, Record, encode_record, version_of

REMEMBERED_SUBJECTS = 10_000
"""Subjects whose last sequence is remembered: the others cost one more question."""

FIRST_PAUSE_S = 0.001
"""The first pause after an attempt that may succeed a moment later; each one doubles, up to RETRY_PAUSE_S."""


class _Lane:
    """Appends to one subject take turns; `users` hold or wait for the lock."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class _Attempts:
    """One record on its way. `is_doubtful`: a copy that expects `compare` may have been stored."""

    def __init__(self, subject: str, content: bytes, compare: int | None, deadline: float) -> None:
        self.subject = subject
        self.content = content
        self.compare = compare
        self.deadline = deadline
        self.message_id = secrets.token_hex(16)
        self.is_doubtful = False
        self.pause_s = FIRST_PAUSE_S

    def next_pause_s(self) -> float:
        """How long to wait before the next attempt."""
        pause_s, self.pause_s = self.pause_s, min(max(2 * self.pause_s, FIRST_PAUSE_S), RETRY_PAUSE_S)
        return pause_s


class Appender:
    """Every copy of a record that is sent names the last sequence of its subject, so at most one can be stored, however
    late a copy arrives. Its message id tells whether a subject that has moved was moved by an earlier copy.
    """

    def __init__(self, history: History, epoch: str, clock: Callable[[], float]) -> None:
        self._history = history
        self._api = history.origin
        self._stream = history.stream(epoch)
        self._epoch = epoch
        self._clock = clock
        self._lanes: dict[str, _Lane] = {}
        self._last_of: LRUCache[str, int] = LRUCache(REMEMBERED_SUBJECTS)

    def saw(self, subject: str, sequence: int) -> None:
        """A record of the subject (on NATS) was seen in the stream."""
        self._last_of[subject] = max(self._last_of.get(subject, 0), sequence)

    async def append(self, draft: Draft, *, expected_sequence: int | None) -> Record | Conflicted:
        """Store the draft. Raises JournalUnavailable when it was not, AppendUncertain when that is not known."""
        subject = self._history.subject(self._epoch, subject_token(draft.subject))
        async with self._lane(subject):
            record = Record(
                version_of(draft.change),
                self._epoch,
                0,
                draft.subject,
                self._clock(),
                draft.actor,
                draft.audience,
                draft.change,
            )
            compare = self._last_of.get(subject) if expected_sequence is None else expected_sequence
            deadline = time.monotonic() + self._history.settings.nats.patience_s
            attempts = _Attempts(subject, encode_record(record), compare, deadline)
            outcome = await self._settle(attempts, expected_sequence)
            if isinstance(outcome, Conflicted):
                return outcome
            self.saw(subject, outcome)
            return with_sequence(record, outcome)

    @asynccontextmanager
    async def _lane(self, subject: str) -> AsyncIterator[None]:
        lane = self._lanes.setdefault(subject, _Lane())
        lane.users += 1
        try:
            async with lane.lock:
                yield
        finally:
            lane.users -= 1
            if lane.users == 0:
                del self._lanes[subject]

    async def _settle(self, attempts: _Attempts, expected_sequence: int | None) -> int | Conflicted:
        while True:
            try:
                outcome = await self._attempt(attempts, expected_sequence)
                if outcome is not None:
                    return outcome
                failure = JournalUnavailable(f"{self._stream} has not settled an append yet: try again")
            except (_Refused, AppendUncertain):
                raise
            except JournalUnavailable as exc:
                failure = exc
            pause_s = attempts.next_pause_s()
            if time.monotonic() + pause_s >= attempts.deadline:
                raise self._given_up(attempts, failure) from failure
            await asyncio.sleep(pause_s)

    async def _attempt(self, attempts: _Attempts, expected_sequence: int | None) -> int | Conflicted | None:
        """Send one copy; None when another must be sent."""
        if attempts.compare is None:
            last = await self._api.last_of(self._stream, attempts.subject)
            attempts.compare = 0 if last is None else last.sequence
        headers = {
            MESSAGE_ID: attempts.message_id,
            EXPECTED_STREAM: self._stream,
            EXPECTED_LAST: str(attempts.compare),
        }
        timeout_s = min(self._history.settings.nats.request_timeout_s, max(0.01, attempts.deadline - time.monotonic()))
        try:
            stored = await self._api.store(attempts.subject, attempts.content, headers, timeout_s=timeout_s)
        except NatsSilent:
            attempts.is_doubtful = True
            raise
        if stored.error is None:
            return stored.seq
        if stored.error.err_code in WRONG_LAST_SEQUENCE:
            return await self._moved(attempts, attempts.compare, expected_sequence)
        if not stored.error.is_transient:
            raise self._refused(attempts, stored.error)
        return None

    async def _moved(self, attempts: _Attempts, compare: int, expected_sequence: int | None) -> int | Conflicted | None:
        if attempts.is_doubtful:
            # a copy that was stored is the first record of the subject behind `compare`: nothing else could be there
            following = await self._api.next_of(self._stream, attempts.subject, after=compare)
            if following is not None and following.message_id == attempts.message_id:
                return following.sequence
        last = await self._api.last_of(self._stream, attempts.subject)
        last_sequence = 0 if last is None else last.sequence
        if last_sequence == compare:
            return None  # a record of another that is being agreed on, which may yet fail
        if last_sequence < compare and attempts.is_doubtful:
            return None  # a leader that lags: once the subject stands at `compare`, the copy may still be stored
        attempts.is_doubtful = False
        if expected_sequence is not None:
            return Conflicted(last_sequence)
        attempts.compare, attempts.pause_s = last_sequence, 0.0
        return None

    def _given_up(self, attempts: _Attempts, failure: JournalUnavailable) -> JournalUnavailable:
        self._last_of.pop(attempts.subject, None)
        if not attempts.is_doubtful:
            return JournalUnavailable(f"nothing was appended to {self._stream}: {failure}")
        return AppendUncertain(
            f"whether the record was appended to {self._stream} is not known, its answer was lost: read what the "
            f"journal says now before you repeat it ({failure})"
        )

    def _refused(self, attempts: _Attempts, error: ApiError) -> _Refused | AppendUncertain:
        failure = _Refused(
            f"the stream {self._stream} refuses records ({error.description}, {error.err_code}): "
            "make room on its servers, trim it, or open the journal again if it was sealed"
        )
        if attempts.is_doubtful:
            return AppendUncertain(f"whether an earlier copy of the record was appended is not known: {failure}")
        return failure


class _Refused(JournalUnavailable):
    """JetStream will not store the record, however often it is sent."""


def with_sequence(record: Record, sequence: int) -> Record:
    """The record at its place."""
    return Record(
        record.version,
        record.epoch,
        sequence,
        record.subject,
        record.at,
        record.actor,
        record.audience,
        record.change,
    )
