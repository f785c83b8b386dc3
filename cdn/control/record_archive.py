"""Keeps every record in the object store too, within a second: what a lost control plane is rebuilt from (DESIGN I3).

Memory does not grow while the store is away: the journal itself is what waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from cdn.control.archive_layout import (
    ENTRY_VERSION,
    KeptNode,
    Mark,
    PartName,
    encode_entry,
    mark_key,
    part_key,
    part_name,
    part_prefix,
)
from cdn.control.epoch_order import enter_epoch, is_followed, last_epoch
from cdn.control.office_turn import OfficeTurn
from cdn.control.settings import ControlSettings
from cdn.control.state import RETRY_FIRST_S, RETRY_LONGEST_S, ControlState, StateStuck
from cdn.errors import Conflict, Unavailable
from cdn.fleet.position import Position
from cdn.journal.archive_part import encode_part, part_of
from cdn.journal.journal import Trimmed
from cdn.journal.record import Record
from cdn.origin.store import ObjectStore

MAX_PART_RECORDS = 5_000
"""Records of one object: a journal reads about 8 MiB at once at the most, and this bounds how many small ones."""

MARK_EVERY_S = 60.0
"""How often it is noted that the archive is complete, also when nothing happens: what a restore can then say."""

LOOK_EVERY_S = 5.0
"""How often it is looked whether a mark is due when no record comes (nodes that came or went are part of it), and how
far another replica has come that archives."""

FLUSH_TIMEOUT_S = 5.0
"""How long a stop waits for the store to take the last records; they are in the journal anyway."""

STEP_ASIDE_S = 5.0
"""How long a replica that cannot reach the store leaves the archive to others: they ask for it far more often."""

STEP_ASIDE_PAUSE_S = 0.2
"""A replica whose archive failed until it waits this long before it tries again lets another do it, for a while: its
own line to the store may be what is broken."""

CONCURRENT_DELETES = 8

log = logging.getLogger(__name__)


class Replaced(Conflict):
    """A restore began another epoch from this object store: this control plane is no longer the one that counts."""


@dataclass(frozen=True, slots=True)
class ArchiveLag:
    """How far the archive is behind: `records` not archived yet, the oldest for `seconds`; `fault` says why."""

    archived: int
    records: int
    seconds: float
    fault: str | None


class KeptSnapshots(Protocol):
    """The snapshots in the store, by sequence; 0 when there is none."""

    @property
    def saved(self) -> int:
        """The newest."""
        ...

    @property
    def oldest(self) -> int:
        """The oldest one that is kept: should the newer ones be damaged, the records after it are needed."""
        ...

    async def look(self) -> None:
        """Know of those that other replicas wrote. Raises StoreUnavailable."""
        ...


class RecordArchive:
    """Writes what the journal holds as parts, in order; one task, one part in memory at a time.

    `turn`: among several replicas, whether it is this one that archives; the others look how far it comes. When it
    moves, two may write at once: their parts overlap, and say the same. `clock` is wall time, `monotonic` what lag is
    counted with; both in seconds.
    """

    def __init__(
        self,
        settings: ControlSettings,
        state: ControlState,
        store: ObjectStore,
        snapshots: KeptSnapshots,
        *,
        nodes: Callable[[], Iterable[KeptNode]] = tuple,
        turn: OfficeTurn | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._state = state
        self._store = store
        self._snapshots = snapshots
        self._nodes = nodes
        self._turn = turn
        self._clock = clock
        self._monotonic = monotonic
        self._archived = 0
        self._seen = 0
        self._behind_then = 0
        self._behind_since: float | None = None
        self._number: int | None = None
        self._has_place = False
        self._fault: str | None = None
        self._marked_at: float | None = None
        self._marked_nodes: tuple[KeptNode, ...] = ()
        self._parts = 0
        self._task: asyncio.Task[None] | None = None
        self.counters: dict[str, int] = {"archived_parts": 0, "archived_records": 0, "archive_failures": 0}

    @property
    def archived(self) -> int:
        """Every record up to this sequence is durable in the object store, in parts or in a snapshot."""
        return max(self._archived, self._snapshots.saved)

    @property
    def parts(self) -> int:
        """Parts in the store behind the oldest snapshot that is kept: what a restore has to read at the most."""
        return self._parts

    @property
    def lag(self) -> ArchiveLag:
        """How far the archive is behind what control has applied; where another archives, had applied a look ago."""
        records = max(0, self._seen - self.archived) if self.is_ours else self._behind_then
        since = self._behind_since
        seconds = max(0.0, self._monotonic() - since) if records and since is not None else 0.0
        return ArchiveLag(self.archived, records, seconds, self._fault)

    @property
    def is_ours(self) -> bool:
        """Whether it is this replica that archives."""
        return self._turn is None or self._turn.is_ours

    async def settle(self) -> None:
        """Enter this journal's epoch in the store's order of epochs, if it is not there yet.

        Raises Replaced when another epoch counts, Conflict when the journal is empty and the store holds the archive
        of another one, StoreUnavailable.
        """
        epoch = self._state.journal.epoch
        last = await last_epoch(self._store)
        if last is not None and last.entry.epoch == epoch:
            self._number = last.number
            return
        if last is None:
            self._number = await enter_epoch(self._store, epoch, after=None, begun_at=self._clock())
            return
        if (await self._state.journal.position()).sequence == 0:
            raise Conflict(
                f"the object store holds the records of another control plane (epoch {last.entry.epoch}), and the "
                "journal here is empty: `cdn control restore` rebuilds it from them, in an empty data folder; or give "
                "this one another folder or prefix for its bytes"
            )
        raise Replaced(_replaced(epoch, last.entry.epoch))

    def start(self) -> None:
        """Archive from now on, when it is this replica's turn."""
        if self._turn is not None:
            self._turn.start()
        self._state.watch(self._note)
        self._note(self._state.position)
        self._task = asyncio.create_task(self._run(), name="control-archive")

    async def aclose(self) -> None:
        """Archive what is left, if the store takes it within FLUSH_TIMEOUT_S, and leave the rest to others."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        try:
            if self.is_ours:
                await self._flush()
        finally:
            if self._turn is not None:
                await self._turn.aclose()

    async def trim(self, through: int) -> None:
        """Remove parts whose records are all in a snapshot at `through`. Raises StoreUnavailable."""
        names = await self._names()
        gone = [name for name in names if name.last <= through]
        turn = asyncio.Semaphore(CONCURRENT_DELETES)

        async def delete(name: PartName) -> None:
            async with turn:
                await self._store.delete(name.key)

        await asyncio.gather(*(delete(name) for name in gone))
        self._parts = len(names) - len(gone)

    def _note(self, position: Position) -> None:
        self._seen = position.sequence
        if self._behind_since is None and self._seen > self.archived:
            self._behind_since = self._monotonic()

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._find_place()
                await self._mark()
        except (TimeoutError, Unavailable, Conflict) as error:
            log.warning("records after %s were not archived before the stop: %s", self.archived, error)

    async def _run(self) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            try:
                await self._watch_other()
                await self._find_place()
                await self._keep_up()
                pause_s = RETRY_FIRST_S
            except Replaced as error:
                self._fault = error.message
                self._state.halt(StateStuck(error.message))
                return
            except Exception as error:  # whatever it is: without the archive a loss of this disk loses everything
                self._fault = str(error) or type(error).__name__
                self.counters["archive_failures"] += 1
                fault = None if isinstance(error, Unavailable) else error
                log.warning("records after %s are not archived, trying again: %s", self.archived, error, exc_info=fault)
                if self._turn is not None and self.is_ours and pause_s >= STEP_ASIDE_PAUSE_S:
                    await self._turn.step_aside(STEP_ASIDE_S)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_LONGEST_S)

    async def _watch_other(self) -> None:
        """While another replica archives, look how far it comes and whether both still count.

        Raises as `_find_place`, Replaced.
        """
        if self._turn is None or self.is_ours:
            return
        self._has_place = False
        required_at = looked_at = self._monotonic()
        seen_then = self.archived
        while not self.is_ours:
            seen, seen_at = self._seen, self._monotonic()
            await self._look()
            self._behind_then = max(0, seen_then - self.archived)  # it has had a whole look's time for those
            if self._behind_then:
                self._behind_since = self._behind_since or looked_at
            else:
                self._behind_since = self._fault = None
            seen_then, looked_at = seen, seen_at
            if seen_at - required_at >= MARK_EVERY_S:
                await self._require_last()
                required_at = seen_at
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._turn.wait_ours()

    async def _find_place(self) -> None:
        """Enter the epoch and look what is archived already, once a turn. Raises Conflict, StoreUnavailable."""
        if self._number is None:
            await self.settle()
        if not self._has_place:
            await self._look()
            self._has_place = True

    async def _look(self) -> None:
        """Know how far the store's parts reach. Raises StoreUnavailable."""
        if self._turn is not None:
            await self._snapshots.look()
        names = await self._names()
        reached = self._snapshots.oldest
        for name in names:
            if name.first <= reached + 1:
                reached = max(reached, name.last)
        self._archived, self._parts = max(self._archived, reached), len(names)

    async def _keep_up(self) -> None:
        """Archive and mark for as long as the store takes it, and it is this replica's turn."""
        while self.is_ours:
            began = self._monotonic()
            has_archived = await self._archive_next()
            if self._is_mark_due():
                await self._require_last()
                await self._mark()
            if has_archived:
                await asyncio.sleep(max(0.0, began + self._settings.archive_interval_s - self._monotonic()))
                continue
            self._fault = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._state.journal.wait_beyond(self._archived)

    async def _archive_next(self) -> bool:
        """Write the next part; whether there was anything to write. Raises JournalUnavailable, StoreUnavailable."""
        began = self._monotonic()
        self._archived = max(self._archived, self._snapshots.oldest)
        found = await self._state.journal.read(self._archived, limit=MAX_PART_RECORDS)
        if isinstance(found, Trimmed):
            # The journal is trimmed behind snapshots only: the one that covers this was written by another control.
            self._archived = found.first_sequence - 1
            return True
        if not found:
            self._behind_since = None
            return False
        written_at = self._clock()
        content = await asyncio.to_thread(_encoded, found, written_at)
        await self._store.put(part_key(found[0].epoch, found[0].sequence, found[-1].sequence), content)
        self._archived = found[-1].sequence
        self._parts += 1
        self._fault = None
        self._behind_since = began if self._seen > self._archived else None
        self.counters["archived_parts"] += 1
        self.counters["archived_records"] += len(found)
        return True

    def _is_mark_due(self) -> bool:
        is_old = self._marked_at is None or self._monotonic() - self._marked_at >= MARK_EVERY_S
        return is_old or tuple(self._nodes()) != self._marked_nodes

    async def _mark(self) -> None:
        """Archive everything up to now, and note that it is."""
        at, end = self._clock(), await self._state.journal.position()
        while self._archived < end.sequence:
            await self._archive_next()
        mark = Mark(ENTRY_VERSION, end.sequence, at, tuple(self._nodes()))
        await self._store.put(mark_key(end.epoch), encode_entry(mark))
        self._marked_at, self._marked_nodes = self._monotonic(), mark.nodes

    async def _require_last(self) -> None:
        """Raises Replaced when a restore began another epoch."""
        if self._number is not None and await is_followed(self._store, self._number):
            last = await last_epoch(self._store)
            raise Replaced(_replaced(self._state.journal.epoch, "" if last is None else last.entry.epoch))

    async def _names(self) -> list[PartName]:
        prefix = part_prefix(self._state.journal.epoch)
        names = [part_name(facts.key) async for facts in self._store.scan(prefix)]
        return sorted(names, key=lambda name: (name.first, name.last))


def _encoded(records: tuple[Record, ...], written_at: float) -> bytes:
    return encode_part(part_of(records, written_at))


def _replaced(epoch: str, by: str) -> str:
    return (
        f"the object store went on with the epoch {by} in place of {epoch}: a control plane was restored from it, and "
        "this one no longer counts. Stop it for good; if the restored one was the mistake, remove that one first"
    )
