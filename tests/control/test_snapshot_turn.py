"""Among several replicas one writes snapshots at a time; what it has written counts at the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cdn.control import snapshot_keeper
from cdn.control.archive_layout import snapshot_prefix
from cdn.control.settings import ControlSettings
from cdn.control.snapshot_keeper import SnapshotKeeper
from cdn.control.state import ControlState
from cdn.journal.record import Purged, PurgeScope
from cdn.journal.sqlite import SqliteJournal
from cdn.origin.directory import DirectoryStore
from cdn.purge.floors import Floors

PURGE = Purged("s", (PurgeScope("everything", ""),), False)


class NoArchive:
    parts = 0

    async def trim(self, through: int) -> None:
        return


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


async def test_the_one_whose_turn_it_is_not_waits_and_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_keeper, "OTHERS_TURN_S", 0.01)
    settings = ControlSettings(zone="cdn.localhost", data_dir=tmp_path, snapshot_every_records=3, keep_records=100)
    journal, store = await SqliteJournal.open(tmp_path / "journal.db"), DirectoryStore(tmp_path / "store")
    asked = {"first": 0, "second": 0}
    holder = "first"

    def keeper(name: str) -> tuple[ControlState, SnapshotKeeper]:
        async def has_turn() -> bool:
            asked[name] += 1
            return holder == name

        floors = Floors()
        state = ControlState(journal, (floors,))
        return state, SnapshotKeeper(settings, state, floors, store, has_turn=has_turn)

    replicas = {name: keeper(name) for name in asked}
    for state, each in replicas.values():
        await state.start()
        each.start(NoArchive())
    (state, first), (_, second) = replicas["first"], replicas["second"]
    try:
        for _ in range(3):
            await state.append_always("purge/s", PURGE, "ann")
        await until(lambda: first.saved == second.saved == 3)
        assert asked["second"], "it was due there too"
        holder = "second"
        for _ in range(3):
            await state.append_always("purge/s", PURGE, "ann")
        await until(lambda: first.saved == second.saved == 6)
        keys = [facts.key async for facts in store.scan(snapshot_prefix(journal.epoch))]
        assert len(keys) == 2
    finally:
        for state, each in replicas.values():
            await each.aclose()
            await state.aclose()
        await journal.aclose()
        await store.aclose()
