"""Of several replicas one archives; when it dies or its store fails it, another goes on, and no record is left out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cdn.control import record_archive
from cdn.control.archive_layout import part_name, part_prefix
from cdn.control.office_turn import OfficeTurn
from cdn.control.record_archive import RecordArchive
from cdn.control.restoration import restore
from cdn.control.settings import ControlSettings
from cdn.control.snapshot_keeper import SnapshotKeeper
from cdn.control.state import ControlState
from cdn.errors import Unavailable
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.record import Draft, SiteCreated
from cdn.journal.sqlite import SqliteJournal
from cdn.journal.tenure import MemoryOffices, Tenure
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import StoreUnavailable
from cdn.purge.floors import Floors

OFFICE_S = 1.0
"""Long enough that a busy machine does not move the office by itself."""


class MoodyOffices(MemoryOffices):
    """Says nothing while it is told to."""

    is_away = False

    async def acquire(self, office: str, holder: str, *, now: float) -> Tenure | None:
        if self.is_away:
            raise Unavailable("nobody knows")
        return await super().acquire(office, holder, now=now)


class MoodyStore:
    """One replica's line to the store, which can break."""

    def __init__(self, store: DirectoryStore) -> None:
        self._store = store
        self.is_broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, key: str, content: bytes, **conditions: Any) -> Any:
        if self.is_broken:
            raise StoreUnavailable("The line is broken.")
        return await self._store.put(key, content, **conditions)


class Replica:
    """Of one control: state, snapshots and archive."""

    def __init__(self, room: Room, name: str) -> None:
        floors = Floors()
        self.store = MoodyStore(room.store)
        store: Any = self.store
        self.state = ControlState(room.journal, (CatalogFold("cdn.localhost"), floors))
        self.snapshots = SnapshotKeeper(room.settings, self.state, floors, store)
        self.turn = OfficeTurn(room.offices, "archive", name, renew_every_s=OFFICE_S / 4)
        self.archive = RecordArchive(room.settings, self.state, store, self.snapshots, turn=self.turn)

    async def start(self) -> None:
        await self.state.start()
        self.snapshots.start(self.archive)
        self.archive.start()

    async def die(self) -> None:
        """As by `kill -9`: nothing is flushed, nothing given back."""
        for task in (self.archive._task, self.turn._task):
            assert task is not None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.archive._task = None
        await self.aclose()

    async def aclose(self) -> None:
        await self.snapshots.aclose()
        await self.archive.aclose()
        await self.state.aclose()


class Room:
    """Two replicas over one journal, one store and one office."""

    def __init__(self, root: Path, journal: SqliteJournal) -> None:
        self.journal = journal
        self.store = DirectoryStore(root / "store")
        self.offices = MoodyOffices(OFFICE_S)
        self.settings = ControlSettings("cdn.localhost", root, archive_interval_s=0.02, snapshot_every_records=10_000)
        self.replicas = {name: Replica(self, name) for name in ("first", "second")}
        self.written = 0

    async def write(self, count: int = 1) -> None:
        for _ in range(count):
            self.written += 1
            site = SiteCreated(f"id{self.written}", f"s{self.written}", {})
            await self.journal.append(Draft(f"site/{self.written}", site, "ann"), expected_sequence=None)

    async def parts(self) -> list[tuple[int, int]]:
        names = [part_name(facts.key) async for facts in self.store.scan(part_prefix(self.journal.epoch))]
        return sorted((name.first, name.last) for name in names)

    async def archived(self) -> int:
        reached = 0
        for first, last in await self.parts():
            if first <= reached + 1:
                reached = max(reached, last)
        return reached

    async def until_archived(self) -> None:
        async with asyncio.timeout(30):
            while await self.archived() < self.written:
                await asyncio.sleep(0.01)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.01)

    def archiving(self) -> list[str]:
        return [name for name, each in self.replicas.items() if each.archive.is_ours]


@pytest.fixture
async def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    monkeypatch.setattr(record_archive, "LOOK_EVERY_S", 0.05)
    journal = await SqliteJournal.open(tmp_path / "journal.db")
    room = Room(tmp_path, journal)
    for each in room.replicas.values():
        await each.start()
    await room.until(lambda: len(room.archiving()) == 1)
    yield room
    for each in room.replicas.values():
        await each.aclose()
    await journal.aclose()
    await room.store.aclose()


async def test_one_archives_and_the_other_knows_how_far_it_is(room: Room) -> None:
    (holder,) = room.archiving()
    other = next(each for name, each in room.replicas.items() if name != holder)
    for _ in range(5):
        await room.write(10)
        await room.until_archived()
    parts = await room.parts()
    assert [first for first, _ in parts] == [1] + [last + 1 for _, last in parts[:-1]], "no part was written twice"
    assert other.archive.counters["archived_parts"] == 0
    await room.until(lambda: other.archive.archived == room.written and other.archive.lag.records == 0)
    assert other.archive.lag.seconds == 0


async def test_when_it_dies_the_other_goes_on_where_the_store_says(room: Room) -> None:
    (holder,) = room.archiving()
    await room.write(20)
    await room.until_archived()
    await room.replicas.pop(holder).die()
    await room.write(20)
    await room.until_archived()
    restored = await restore(room.store, _nothing)
    assert (restored.former.sequence, restored.sites, restored.missing) == (40, 40, None)


async def _nothing(epoch: str, after: int) -> None:
    return


async def test_who_stops_in_order_flushes_and_leaves_the_office_at_once(room: Room) -> None:
    (holder,) = room.archiving()
    await room.write(20)
    stopped = room.replicas.pop(holder)
    await stopped.aclose()
    assert await room.archived() == room.written
    assert await room.offices.acquire("archive", "anybody", now=time.monotonic()) is not None or room.archiving()


async def test_who_cannot_reach_the_store_lets_another_archive(room: Room) -> None:
    (holder,) = room.archiving()
    room.replicas[holder].store.is_broken = True
    await room.write(20)
    await room.until_archived()
    other = next(each for name, each in room.replicas.items() if name != holder)
    await room.until(lambda: other.archive.counters["archived_records"] == 20)
    await room.until(lambda: room.replicas[holder].archive.counters["archive_failures"] > 0)
    room.replicas[holder].store.is_broken = False
    await room.write(1)
    await room.until_archived()


async def test_while_nobody_knows_whose_turn_it_is_records_are_archived_all_the_same(room: Room) -> None:
    room.offices.is_away = True
    await room.write(20)
    held_until = max(tenure.until for tenure in room.offices._held.values())
    await room.until(lambda: time.monotonic() > held_until)
    await room.write(20)
    await room.until_archived()


async def test_two_at_one_time_do_no_harm(room: Room) -> None:
    """As when a holder that was stopped goes on without having heard that it is none."""
    for each in room.replicas.values():
        await each.turn._leave()
        each.turn._ours.set()
    room.offices.is_away = True
    for _ in range(10):
        await room.write(7)
        await asyncio.sleep(0.02)
    await room.until_archived()
    await room.until(lambda: all(each.archive.archived == room.written for each in room.replicas.values()))
    restored = await restore(room.store, _nothing)
    assert (restored.former.sequence, restored.sites, restored.missing) == (room.written, room.written, None)


async def test_who_lost_the_office_writes_no_more(room: Room) -> None:
    await room.write(5)
    await room.until_archived()
    room.offices._held["archive"] = Tenure("archive", "a third one", 1_000_000, time.monotonic() + 3600)
    await room.until(lambda: not room.archiving())
    parts = await room.parts()
    await room.write(20)
    await room.until(lambda: all(each.archive.lag.records == 20 for each in room.replicas.values()))
    assert await room.parts() == parts
    assert all(each.archive.lag.seconds > 0 for each in room.replicas.values()), "that nobody archives is told"


async def test_snapshots_of_the_other_shorten_the_archive_here(room: Room) -> None:
    (holder,) = room.archiving()
    writer = room.replicas[holder]
    await room.write(30)
    await room.until_archived()
    for _ in range(room.settings.keep_snapshots):
        await room.until(lambda: writer.state.position.sequence == room.written)
        await writer.snapshots.save()
        await room.write(1)
    for name in list(room.replicas):
        await room.replicas.pop(name).die()
    late = room.replicas["late"] = Replica(room, "late")
    await late.start()
    await room.write(5)
    async with asyncio.timeout(30):
        while not (parts := await room.parts()) or parts[-1][1] < room.written:
            await asyncio.sleep(0.01)
    assert parts[0][0] > 30, "what a snapshot has is not archived again"
    restored = await restore(room.store, _nothing)
    assert (restored.former.sequence, restored.sites, restored.missing) == (room.written, room.written, None)
