"""Control's own snapshots in the object store: a start replays a bounded number of records (DESIGN section 3).

A snapshot is durable in the store before the journal forgets a record that it covers. `keep_records` stay behind it,
so that a node that was away for a while resumes without a snapshot.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from cdn.control.archive_layout import sequence_of, snapshot_key, snapshot_prefix
from cdn.control.settings import ControlSettings
from cdn.control.state import RETRY_FIRST_S, RETRY_LONGEST_S, ControlState
from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.journal.journal import Trimmed
from cdn.journal.record import EVERY_AUDIENCE, Audience
from cdn.journal.snapshot import Snapshot, UnreadableSnapshot, decode, encode, load_into, take
from cdn.origin.store import ObjectMissing, ObjectStore, StoreUnavailable
from cdn.purge.floors import Floors

OTHERS_TURN_S = 2.0
"""Before it is looked again whether the replica whose turn it is has written a snapshot."""

log = logging.getLogger(__name__)


class ArchivedParts(Protocol):
    """The archive of records, as far as snapshots make it shorter."""

    @property
    def parts(self) -> int:
        """Objects that a restore would have to read."""
        ...

    async def trim(self, through: int) -> None:
        """Remove what a snapshot at `through` makes superfluous. Raises StoreUnavailable."""
        ...


class SnapshotKeeper:
    """Writes a snapshot every `snapshot_every_records` or `snapshot_every_parts` and trims behind it."""

    def __init__(
        self,
        settings: ControlSettings,
        state: ControlState,
        floors: Floors,
        store: ObjectStore,
        *,
        has_turn: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """`has_turn`: whether it is for this replica to write the next snapshot; None: there is no other replica."""
        self._settings = settings
        self._state = state
        self._floors = floors
        self._store = store
        self._has_turn = has_turn
        self._archive: ArchivedParts | None = None
        self._parts_then = 0
        self._saved = 0
        self._oldest = 0
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def saved(self) -> int:
        """The sequence of the newest snapshot in the store, 0 when there is none."""
        return self._saved

    @property
    def oldest(self) -> int:
        """The sequence of the oldest snapshot that is kept, 0 when there is none."""
        return self._oldest

    async def load(self) -> int:
        """Put the newest readable snapshot of this epoch into the folds; its sequence, 0 when there is none.

        A store that does not answer is done without as long as the journal keeps every record. The sequence may be
        beyond the end of a journal that has lost records: `ControlState.start` refuses that. Raises StoreUnavailable.
        """
        try:
            return await self._load_newest()
        except StoreUnavailable as error:
            if isinstance(await self._state.journal.read(0, limit=1), Trimmed):
                raise
            log.warning("the journal is replayed from its first record, for no snapshot is to be had: %s", error)
            return 0

    async def _load_newest(self) -> int:
        keys = await self._keys()
        kept = keys[-self._settings.keep_snapshots :]
        self._oldest = sequence_of(kept[0]) if kept else 0
        for key in reversed(keys):
            try:
                snapshot = await asyncio.to_thread(decode, await self._store.get(key))
                if snapshot_key(snapshot.position) != key:
                    raise UnreadableSnapshot(f"it stands at {snapshot.position}")
                load_into(snapshot, self._state.folds)
            except (UnreadableSnapshot, ObjectMissing) as error:
                log.warning("the snapshot %s cannot be used: %s", key, error)
                continue
            self._saved = snapshot.position.sequence
            return self._saved
        for fold in self._state.folds:
            fold.load(None)  # one that could not be used may have been loaded in part
        return 0

    async def load_beyond(self, sequence: int) -> int | None:
        """See `KeptState.load_beyond`."""
        for key in reversed(await self._keys()):
            if sequence_of(key) <= sequence:
                break
            before = [(fold, fold.dump()) for fold in self._state.folds]
            try:
                snapshot = await asyncio.to_thread(decode, await self._store.get(key))
                if snapshot_key(snapshot.position) != key:
                    raise UnreadableSnapshot(f"it stands at {snapshot.position}")
                load_into(snapshot, self._state.folds)
            except (UnreadableSnapshot, ObjectMissing) as error:
                log.warning("the snapshot %s cannot be used: %s", key, error)
                for fold, section in before:
                    fold.load(section)
                continue
            await self.look()
            return snapshot.position.sequence
        return None

    def start(self, archive: ArchivedParts) -> None:
        """Watch the state and the archive from now on."""
        self._archive = archive
        self._state.watch(self._note)
        self._note(self._state.position)
        self._task = asyncio.create_task(self._run(), name="control-snapshots")

    async def aclose(self) -> None:
        """Stop; a snapshot being written is left or complete, never half."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    def take(self, audiences: frozenset[Audience]) -> Snapshot:
        """What these audiences may read, at the state's position."""
        return take(self._state.folds, self._state.position, floor_horizon=self._floors.horizon, audiences=audiences)

    async def save(self) -> None:
        """Write a snapshot of now, drop the oldest ones and trim the journal. Raises Unavailable."""
        snapshot = self.take(EVERY_AUDIENCE)
        content = await asyncio.to_thread(encode, snapshot)
        await self._store.put(snapshot_key(snapshot.position), content)
        self._saved = snapshot.position.sequence
        keys = await self._keys()
        kept = keys[-self._settings.keep_snapshots :]
        for key in keys[: -len(kept)]:
            await self._store.delete(key)
        self._oldest = sequence_of(kept[0])
        through = min(self._oldest, self._saved - self._settings.keep_records)
        if through > 0:
            await self._state.journal.trim(through)
        if self._archive is not None:
            await self._archive.trim(self._oldest)
            self._parts_then = self._archive.parts

    async def _keys(self) -> list[str]:
        return sorted([facts.key async for facts in self._store.scan(snapshot_prefix(self._state.journal.epoch))])

    async def look(self) -> None:
        """What other replicas have written counts here too. Raises StoreUnavailable."""
        keys = await self._keys()
        if keys and sequence_of(keys[-1]) > self._saved:
            self._saved = sequence_of(keys[-1])
            self._oldest = sequence_of(keys[-self._settings.keep_snapshots :][0])
            self._parts_then = 0 if self._archive is None else self._archive.parts

    def _note(self, position: Position) -> None:
        parts = 0 if self._archive is None else self._archive.parts - self._parts_then
        is_long = position.sequence - self._saved >= self._settings.snapshot_every_records
        if is_long or parts >= self._settings.snapshot_every_parts:
            self._due.set()

    async def _run(self) -> None:
        pause_s = RETRY_FIRST_S
        while True:
            await self._due.wait()
            try:
                if self._has_turn is not None and not await self._has_turn():
                    await self.look()
                    await asyncio.sleep(OTHERS_TURN_S)
                else:
                    await self.save()
            except Exception as error:  # whatever it is: without snapshots the journal only grows
                fault = None if isinstance(error, Unavailable) else error
                log.warning("no snapshot could be kept, trying again: %s", error, exc_info=fault)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_LONGEST_S)
                continue
            pause_s = RETRY_FIRST_S
            self._due.clear()
            self._note(self._state.position)
