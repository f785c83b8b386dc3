"""A replica of control that was away while the journal was trimmed goes on from a snapshot by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdn.control.archive_layout import snapshot_key
from cdn.control.settings import ControlSettings
from cdn.control.snapshot_keeper import SnapshotKeeper
from cdn.control.state import ControlState, StateStuck
from cdn.control.token_fold import TokenFold
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.journal import EpochEnded, JournalUnavailable
from cdn.journal.record import Draft, Purged, PurgeScope, SiteCreated
from cdn.journal.snapshot import decode, encode
from cdn.journal.sqlite import SqliteJournal
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import StoreUnavailable
from cdn.purge.floors import Floors

PURGE = Purged("id1", (PurgeScope("everything", ""),), False)


class Line:
    """One replica's line to the journal, which can break, and to the store."""

    def __init__(self, journal: SqliteJournal, store: DirectoryStore) -> None:
        self._journal = journal
        self._store = store
        self.failure: Exception | None = None
        self.has_store = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def read(self, after: int, *, limit: int) -> Any:
        if self.failure is not None:
            raise self.failure
        return await self._journal.read(after, limit=limit)


class LinedStore:
    """The store at the end of a replica's line."""

    def __init__(self, line: Line, store: DirectoryStore) -> None:
        self._line = line
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def get(self, key: str) -> bytes:
        if not self._line.has_store:
            raise StoreUnavailable("The line is broken.")
        return await self._store.get(key)


class Replica:
    """State and snapshots of one of them."""

    def __init__(self, room: Room) -> None:
        self.line = Line(room.journal, room.store)
        journal: Any = self.line
        store: Any = LinedStore(self.line, room.store)
        self.catalog = CatalogFold("cdn.localhost")
        self.floors = Floors()
        self.state = ControlState(journal, (self.catalog, self.floors, TokenFold()))
        self.snapshots = SnapshotKeeper(room.settings, self.state, self.floors, store)
        self.state.snapshots = self.snapshots
        self.watched: list[int] = []
        self.state.watch(lambda position: self.watched.append(position.sequence))

    async def until(self, sequence: int) -> None:
        async with asyncio.timeout(30):
            while self.state.position.sequence < sequence:
                await asyncio.sleep(0.005)


class Room:
    def __init__(self, root: Path, journal: SqliteJournal) -> None:
        self.journal = journal
        self.store = DirectoryStore(root / "store")
        self.settings = ControlSettings("cdn.localhost", root, keep_records=0, keep_snapshots=1)
        self.made: list[Replica] = []

    async def add(self) -> Replica:
        replica = Replica(self)
        self.made.append(replica)
        await replica.state.start(await replica.snapshots.load())
        return replica


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    room = Room(tmp_path, journal)
    yield room
    for replica in room.made:
        await replica.state.aclose()
    await journal.aclose()
    await room.store.aclose()


async def lived(room: Room, first: Replica, sites: int) -> int:
    """The first records sites and purges, and trims behind a snapshot; where the journal ends."""
    for number in range(1, sites + 1):
        site = SiteCreated(f"id{number}", f"s{number}", {})
        await room.journal.append(Draft(f"site/s{number}", site, "ann"), expected_sequence=0)
    await room.journal.append(Draft("purge/id1", PURGE, "ann"), expected_sequence=None)
    await first.until(sites + 1)
    await first.snapshots.save()
    await room.journal.append(Draft("purge/id1", PURGE, "ann"), expected_sequence=None)
    return sites + 2


async def test_it_goes_on_from_the_newest_snapshot_and_knows_the_same(room: Room) -> None:
    first, second = await room.add(), await room.add()
    second.line.failure = JournalUnavailable("cut")
    end = await lived(room, first, sites=5)
    second.line.failure = None
    await second.until(end)
    assert [site.name for site in second.catalog.catalog.sites()] == [f"s{number}" for number in range(1, 6)]
    assert second.floors.dump() == first.floors.dump()
    assert second.watched == [end - 1, end], "those who watch hear of the snapshot and of what follows it"
    assert second.snapshots.saved == end - 1
    record = await second.state.append("site/s1", lambda: SiteCreated("id9", "s9", {}), "bob")
    assert record.sequence == end + 1, "subjects are compared with what the journal knows of them"
    await first.until(end + 1)


async def test_a_call_that_finds_it_behind_goes_on_too(room: Room) -> None:
    first, second = await room.add(), await room.add()
    second.line.failure = JournalUnavailable("cut")
    end = await lived(room, first, sites=3)
    await second.state.aclose()
    second.line.failure = None
    await second.state.catch_up(end)
    assert second.state.position.sequence == end


async def test_while_the_store_is_away_it_waits_and_is_not_stuck(room: Room) -> None:
    first, second = await room.add(), await room.add()
    second.line.failure, second.line.has_store = JournalUnavailable("cut"), False
    end = await lived(room, first, sites=3)
    second.line.failure = None
    with pytest.raises(StoreUnavailable):
        await second.state.catch_up(end)
    assert second.state.position.sequence == 0
    second.line.has_store = True
    await second.until(end)


async def test_a_damaged_snapshot_leaves_what_it_knew_and_says_so(room: Room) -> None:
    first, second = await room.add(), await room.add()
    await room.journal.append(Draft("site/s0", SiteCreated("id0", "s0", {}), "ann"), expected_sequence=0)
    await second.until(1)
    second.line.failure = JournalUnavailable("cut")
    for number in range(1, 4):
        await room.journal.append(Draft("purge/id1", PURGE, "ann"), expected_sequence=None)
        await first.until(number + 1)
    await first.snapshots.save()
    await room.store.put(snapshot_key(Position(room.journal.epoch, 4)), b"damaged")
    second.line.failure = None
    with pytest.raises(StateStuck, match="no snapshot reaches that far"):
        await second.state.catch_up(4)
    assert [site.name for site in second.catalog.catalog.sites()] == ["s0"]


async def test_a_snapshot_that_one_fold_does_not_understand_changes_none(room: Room) -> None:
    first, second = await room.add(), await room.add()
    await room.journal.append(Draft("site/s0", SiteCreated("id0", "s0", {}), "ann"), expected_sequence=0)
    await second.until(1)
    second.line.failure = JournalUnavailable("cut")
    for number in range(1, 4):
        await room.journal.append(Draft(f"site/s{number}", SiteCreated(f"id{number}", f"s{number}", {}), "ann"),
                                  expected_sequence=0)  # fmt: skip
    await first.until(4)
    await first.snapshots.save()
    key = snapshot_key(Position(room.journal.epoch, 4))
    snapshot = decode(await room.store.get(key))
    strange = msgspec.structs.replace(snapshot, sections=snapshot.sections | {"floors": "of a newer program"})
    await room.store.put(key, encode(strange))
    second.line.failure = None
    with pytest.raises(StateStuck, match="no snapshot reaches that far"):
        await second.state.catch_up(4)
    assert [site.name for site in second.catalog.catalog.sites()] == ["s0"]


async def test_the_end_of_the_epoch_is_told_and_nothing_is_taken_any_more(room: Room) -> None:
    first = await room.add()
    first.line.failure = EpochEnded("the journal has begun the epoch e2 in place of e1")
    await room.journal.append(Draft("purge/id1", PURGE, "ann"), expected_sequence=None)
    async with asyncio.timeout(30):
        await first.state.epoch_ended.wait()
    with pytest.raises(StateStuck, match="begun the epoch e2"):
        await first.state.append_always("purge/id1", PURGE, "ann")
