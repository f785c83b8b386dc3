"""What control knows: its folds, kept at the end of the journal. Every append goes through here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from cachetools import LRUCache

from cdn.errors import Conflict, Unavailable
from cdn.fleet.position import Position
from cdn.journal.fold import Fold
from cdn.journal.journal import AppendUncertain, Conflicted, EpochEnded, Journal, JournalUnavailable, Trimmed
from cdn.journal.record import (
    Change,
    Draft,
    Record,
    UnknownRecord,
    audience_of,
    version_of,
)

log = logging.getLogger(__name__)

MAX_APPEND_ATTEMPTS = 64
"""Lost races on one subject before the caller is told: each loss means that another's append went in."""
MAX_KNOWN_SUBJECTS = 100_000
"""Subjects whose last sequence is remembered; a forgotten one costs an append that is refused and tried again."""
READ_BATCH = 1000
"""Records applied between two looks at the loop."""
MAX_UNCERTAIN_APPENDS = 2
"""Appends of one call whose answer was lost for good before the caller is told; each took the journal a while."""
LOOK_S = 1.0
"""How long a call waits for the journal to say whether other replicas recorded something."""
FIRST_VERSION = 1
"""Of records: every program understands it."""
RETRY_FIRST_S = 0.05
RETRY_LONGEST_S = 2.0


class StateStuck(Unavailable):
    """A record of the journal could not be applied. Nothing more is until the program is upgraded or repaired."""


class KeptState(Protocol):
    """Snapshots, for a state that was left behind by the journal."""

    async def load_beyond(self, sequence: int) -> int | None:
        """Load the newest snapshot above `sequence` into the folds; its sequence, None when there is none.

        The folds are as before then. Raises Unavailable.
        """
        ...


class Readers(Protocol):
    """Everyone who reads the journal."""

    async def require(self, version: int) -> None:
        """Raises Conflict naming those that do not understand records of `version`, Unavailable."""
        ...


class ControlState:
    """Applies records in order, each once, and appends with compare-and-set.

    After `append` has returned, the record is durable and every fold has applied it. `snapshots` are what it goes on
    from when the journal no longer keeps the records that it needs next.
    """

    def __init__(self, journal: Journal, folds: Sequence[Fold]) -> None:
        self.journal = journal
        self.snapshots: KeptState | None = None
        self.readers: Readers | None = None
        """Asked before a record is written that not every program may understand."""
        self.epoch_ended = asyncio.Event()
        """Set once the journal has begun another epoch: this process cannot go on, a new one can."""
        self.folds = tuple(folds)
        self._applied = 0
        self._applying = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._looks = 0
        self._known: LRUCache[str, int] = LRUCache(MAX_KNOWN_SUBJECTS)
        self._tail: asyncio.Task[None] | None = None
        self._stuck: Exception | None = None
        self._watchers: list[Callable[[Position], None]] = []

    @property
    def position(self) -> Position:
        """The last record that the folds have applied."""
        return Position(self.journal.epoch, self._applied)

    def watch(self, watcher: Callable[[Position], None]) -> None:
        """Calls `watcher` after every batch of applied records. It must not wait."""
        self._watchers.append(watcher)

    async def start(self, loaded: int = 0) -> None:
        """Catch up with the journal; the folds hold what was up to `loaded` already. Then keep up with it.

        Raises JournalUnavailable, StateStuck; Unavailable when records after `loaded` are no longer kept.
        """
        self._applied = loaded
        end = await self.journal.position()
        if loaded > end.sequence:
            raise StateStuck(
                f"The snapshot stands at {loaded} and the journal ends at {end.sequence}: the journal has lost "
                "records. Restore it; a restored journal starts a new epoch."
            )
        await self.catch_up(end.sequence)
        self._tail = asyncio.create_task(self._follow(), name="control-state")

    async def aclose(self) -> None:
        """Stop keeping up. The journal stays open: it is not ours."""
        if self._tail is None:
            return
        self._tail.cancel()
        await asyncio.gather(self._tail, return_exceptions=True)
        self._tail = None

    async def append(self, subject: str, decide: Callable[[], Change], actor: str) -> Record:
        """Record what `decide` says, durably and against an unchanged `subject`.

        `decide` looks at the folds, which stand at or after the subject's last record, and returns the change or
        raises (Conflict, NotFound, ...). When another append on the subject goes first it is asked again.
        Raises what it raises; JournalUnavailable; Conflict after MAX_APPEND_ATTEMPTS lost races, or when somebody who
        reads the journal would not understand the record (DESIGN I14).
        """
        understood = FIRST_VERSION
        for _ in range(MAX_APPEND_ATTEMPTS):
            self._require_moving()
            expected = self._known.get(subject, 0)
            draft = _draft(subject, decide(), actor)
            if (version := version_of(draft.change)) > understood:
                await self.require_understood(version)
                understood = version
                continue  # the folds may have moved meanwhile
            outcome = await self._append_once(draft, expected)
            match outcome:
                case Record():
                    await self._applied_own(outcome)
                    return outcome
                case Conflicted(last_sequence=last):
                    await self.catch_up(last)
                    self._known[subject] = last
        raise Conflict(f"{subject} changes too fast: {MAX_APPEND_ATTEMPTS} attempts lost the race. Try again.")

    async def append_always(self, subject: str, change: Change, actor: str) -> Record:
        """Record a change that does not depend on what came before on its subject.

        Raises JournalUnavailable; Conflict as `append` when somebody would not understand it.
        """
        self._require_moving()
        if (version := version_of(change)) > FIRST_VERSION:
            await self.require_understood(version)
        outcome = await self._append_once(_draft(subject, change, actor), None)
        if isinstance(outcome, Conflicted):
            raise JournalUnavailable("The journal compared an append that asked for no comparing.")
        await self._applied_own(outcome)
        return outcome

    async def require_understood(self, version: int) -> None:
        """Raises Conflict when somebody who reads the journal would not understand records of `version` (DESIGN I14),
        Unavailable when nobody can say."""
        if self.readers is not None:
            await self.readers.require(version)

    async def _append_once(self, draft: Draft, expected_sequence: int | None) -> Record | Conflicted:
        """Append; where the journal cannot say what became of the record, it is looked for before it is sent again.

        Raises AppendUncertain when the journal cannot be read either: then nobody may repeat it without looking.
        """
        attempts = 0
        while True:
            before = self._applied
            try:
                return await self.journal.append(draft, expected_sequence=expected_sequence)
            except AppendUncertain as error:
                attempts += 1
                log.warning("whether %s was recorded is looked up: %s", draft.subject, error)
                found = await self._look_for(draft, before, error)
                if found is not None:
                    return found
                if attempts >= MAX_UNCERTAIN_APPENDS:
                    raise

    async def _look_for(self, draft: Draft, after: int, uncertain: AppendUncertain) -> Record | None:
        """The first record above `after` that says the same on the same subject. Raises AppendUncertain."""
        try:
            end = (await self.journal.position()).sequence
            while after < end:
                records = await self.journal.read(after, limit=READ_BATCH)
                if isinstance(records, Trimmed) or not records:
                    raise uncertain
                for record in records:
                    if (record.subject, record.actor, record.change) == (draft.subject, draft.actor, draft.change):
                        return record
                after = records[-1].sequence
        except AppendUncertain:
            raise
        except JournalUnavailable as error:
            raise uncertain from error
        return None

    async def look(self) -> None:
        """Apply what other replicas recorded before this was called, so that a caller finds what another told it.

        A journal that does not answer within LOOK_S is not waited for: what is known counts. Callers share looks.
        """
        begun_before = self._looks
        try:
            async with asyncio.timeout(LOOK_S), self._looking:
                if self._looks > begun_before:
                    return  # begun, and ended, since this was called
                self._looks += 1
                await self.catch_up((await self.journal.position()).sequence)
        except (TimeoutError, Unavailable) as error:
            log.info("what other replicas recorded is not known now: %r", error)

    async def catch_up(self, sequence: int) -> None:
        """Apply records up to `sequence` at least. Raises JournalUnavailable, StateStuck."""
        if self._applied >= sequence:
            return
        async with self._applying:
            while self._applied < sequence:
                if not await self._read_on():
                    raise JournalUnavailable(f"The journal does not give record {self._applied + 1} yet.")

    async def _read_on(self) -> bool:
        """Apply the next batch; whether there was one. Only with `_applying` held."""
        try:
            records = await self.journal.read(self._applied, limit=READ_BATCH)
        except UnknownRecord as error:
            raise self.halt(StateStuck(f"The records after {self._applied} cannot be read: {error}")) from error
        if isinstance(records, Trimmed):
            await self._go_on_from_snapshot(records)
            return True
        self._apply(records)
        return bool(records)

    async def _go_on_from_snapshot(self, trimmed: Trimmed) -> None:
        """Raises StateStuck when there is none that reaches far enough, Unavailable."""
        before = self._applied
        loaded = None if self.snapshots is None else await self.snapshots.load_beyond(before)
        if loaded is None or loaded < trimmed.first_sequence - 1:
            raise self.halt(
                StateStuck(
                    f"The journal no longer keeps the records after {before} "
                    f"(it begins at {trimmed.first_sequence}) and no snapshot reaches that far."
                )
            )
        log.warning("records after %d were trimmed meanwhile: going on from the snapshot at %d", before, loaded)
        self._applied = loaded
        self._known.clear()
        for watcher in self._watchers:
            watcher(self.position)

    async def _applied_own(self, record: Record) -> None:
        if record.sequence == self._applied + 1 and not self._applying.locked():
            self._apply((record,))
            return
        await self.catch_up(record.sequence)

    def _apply(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.sequence != self._applied + 1:
                raise self.halt(StateStuck(f"Record {self._applied + 1} is missing from the journal."))
            try:
                for fold in self.folds:
                    fold.apply(record)
            except Exception as error:
                stuck = StateStuck(f"Record {record.sequence} ({record.subject}) cannot be applied: {error}")
                raise self.halt(stuck) from error
            self._applied = record.sequence
            self._known[record.subject] = record.sequence
        for watcher in self._watchers if records else ():
            watcher(self.position)

    def halt(self, error: StateStuck) -> StateStuck:
        """Nothing is appended or applied any more; `error` says why. Gives it back."""
        if self._stuck is None:
            log.critical("%s", error)
        self._stuck = error
        return error

    def _require_moving(self) -> None:
        if self._stuck is not None:
            raise StateStuck(str(self._stuck), retry_after_s=60)

    async def _follow(self) -> None:
        """Other writers' records arrive without being asked for."""
        pause_s = RETRY_FIRST_S
        while self._stuck is None:
            try:
                await self.journal.wait_beyond(self._applied)
                async with self._applying:
                    await self._read_on()
                pause_s = RETRY_FIRST_S
            except StateStuck:
                return
            except EpochEnded as error:
                self.halt(StateStuck(error.message))
                self.epoch_ended.set()
                return
            except Unavailable as error:
                log.warning("the journal cannot be followed now: %s", error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_LONGEST_S)


def _draft(subject: str, change: Change, actor: str) -> Draft:
    return Draft(subject, change, actor, audience_of(change))
