"""Records go to the object store within a second, in order, and nothing counts as archived before it is durable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cdn.control.archive_layout import decode_mark, mark_key, part_prefix
from cdn.control.epoch_order import enter_epoch, last_epoch
from cdn.control.record_archive import MAX_PART_RECORDS, RecordArchive, Replaced
from cdn.control.state import ControlState, StateStuck
from cdn.errors import Conflict
from cdn.journal.archive_part import decode_part
from cdn.journal.record import Draft, Purged, PurgeScope
from cdn.journal.sqlite import SqliteJournal
from cdn.origin.store import StoreUnavailable
from cdn.purge.floors import Floors
from tests.control.control_room import Control, ControlMaker

EVERYTHING = Purged("s", (PurgeScope("everything", ""),), False)


class MoodyStore:
    """Refuses to write while it is told to."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.is_away = False
        self.away = "control/"
        self.refused = asyncio.Event()
        self.largest = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, key: str, content: bytes, **conditions: Any) -> Any:
        if self.is_away and key.startswith(self.away):
            self.refused.set()
            raise StoreUnavailable("The store does not answer.")
        if key.startswith("control/records/"):
            self.largest = max(self.largest, len(decode_part(content).records))
        return await self._store.put(key, content, **conditions)


async def archived_up_to(control: Control, sequence: int) -> None:
    async with asyncio.timeout(5):
        while control.plane.archive.archived < sequence:
            await asyncio.sleep(0.001)


async def parts_of(control: Control) -> list[Any]:
    keys = sorted([facts.key async for facts in control.store.scan(part_prefix(control.journal.epoch))])
    return [decode_part(await control.store.get(key)) for key in keys]


async def archived_sequences(control: Control) -> list[int]:
    return sorted(
        {
            part.record(sequence).sequence
            for part in await parts_of(control)
            for sequence in range(part.first, part.last + 1)
        }
    )


async def end_of(control: Control) -> int:
    end: int = (await control.journal.position()).sequence
    return end


async def test_every_record_is_archived_and_what_counts_as_archived_can_be_read(make_control: ControlMaker) -> None:
    control = await make_control(archive_interval_s=0.0)
    await control.api.post("/v1/sites", {"name": "blog"})
    for number in range(20):
        await control.api.post("/v1/sites/blog/purges", {"tags": [f"t{number}"]})
        archived = control.plane.archive.archived
        assert set(await archived_sequences(control)) >= set(range(1, archived + 1))
    end = await end_of(control)
    await archived_up_to(control, end)
    assert await archived_sequences(control) == list(range(1, end + 1))
    assert control.plane.archive.lag.records == 0
    everything = [
        record for part in await parts_of(control) for record in map(part.record, range(part.first, part.last + 1))
    ]
    assert tuple(everything) == await control.journal.read(0, limit=1000)


async def test_records_that_come_together_share_an_object(make_control: ControlMaker) -> None:
    control = await make_control(archive_interval_s=3600.0)
    await archived_up_to(control, 1)
    await asyncio.gather(*(control.plane.state.append_always("s", EVERYTHING, "a") for _ in range(50)))
    await control.close()  # which archives what is left
    parts = await parts_of(control)
    assert len(parts) <= 3, "the first one, one with the first mark, and what the end found"
    assert [part.first for part in parts[1:]] == [part.last + 1 for part in parts[:-1]]
    assert parts[-1].last == 51
    await control.open()


async def test_while_the_store_is_away_the_archive_says_so_and_catches_up_in_bounded_parts(
    make_control: ControlMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.control.record_archive.MAX_PART_RECORDS", 10)
    assert MAX_PART_RECORDS > 10
    control = await make_control(archive_interval_s=0.0)
    await control.close()
    store = control.store = MoodyStore(control.store)
    await control.open()
    await archived_up_to(control, 1)
    store.is_away = True
    for _ in range(45):
        await control.plane.state.append_always("s", EVERYTHING, "a")
    await asyncio.wait_for(store.refused.wait(), 5)
    lag = control.plane.archive.lag
    assert lag.archived == 1
    assert lag.records == 45
    assert lag.seconds > 0
    assert lag.fault is not None
    assert "does not answer" in lag.fault
    shown = (await control.api.get("/v1/status")).document["archive"]
    assert (shown["archived"], shown["lag"], "does not answer" in shown["failure"]) == (1, 45, True)
    store.is_away = False
    await archived_up_to(control, 46)
    assert await archived_sequences(control) == list(range(1, 47))
    assert store.largest <= 10
    assert control.plane.archive.lag.fault is None
    assert control.plane.archive.lag.seconds == 0


async def test_a_restart_goes_on_where_the_archive_ends(make_control: ControlMaker) -> None:
    control = await make_control(archive_interval_s=0.0)
    await archived_up_to(control, 1)
    await control.reopen()
    await control.plane.state.append_always("s", EVERYTHING, "a")
    await archived_up_to(control, 2)
    assert [(part.first, part.last) for part in await parts_of(control)] == [(1, 1), (2, 2)]


async def test_parts_behind_the_oldest_kept_snapshot_are_removed_and_not_before(make_control: ControlMaker) -> None:
    control = await make_control(archive_interval_s=0.0, keep_snapshots=2, snapshot_every_records=1_000_000)
    saved = []
    for _ in range(3):
        for _ in range(3):
            await control.plane.state.append_always("s", EVERYTHING, "a")
            await archived_up_to(control, await end_of(control))
        await control.plane.snapshots.save()
        saved.append(control.plane.snapshots.saved)
    firsts = [part.first for part in await parts_of(control)]
    assert firsts[0] == saved[1] + 1, "the older of two kept snapshots still has every record after it"
    assert control.plane.archive.parts == len(firsts)


async def test_records_between_two_kept_snapshots_are_archived_even_when_the_newer_one_has_them(
    make_control: ControlMaker,
) -> None:
    control = await make_control(archive_interval_s=0.0, keep_snapshots=2, snapshot_every_records=1_000_000)
    await control.close()
    store = control.store = MoodyStore(control.store)
    store.away = "control/records/"
    await control.open()
    store.is_away = True
    saved = []
    for _ in range(2):
        await control.plane.state.append_always("s", EVERYTHING, "a")
        await control.plane.snapshots.save()
        saved.append(control.plane.snapshots.saved)
    await control.plane.state.append_always("s", EVERYTHING, "a")
    await control.close()
    store.is_away = False
    await control.open()
    end = await end_of(control)
    await archived_up_to(control, end)
    assert set(await archived_sequences(control)) >= set(range(saved[0] + 1, end + 1))


async def test_many_small_parts_make_a_snapshot_due(make_control: ControlMaker) -> None:
    control = await make_control(archive_interval_s=0.0, snapshot_every_parts=5)
    for _ in range(12):
        await control.plane.state.append_always("s", EVERYTHING, "a")
        await archived_up_to(control, await end_of(control))
    async with asyncio.timeout(5):
        while not control.plane.snapshots.saved:
            await asyncio.sleep(0.001)


async def test_the_mark_says_until_when_everything_is_there_and_which_nodes_there_are(control: Control) -> None:
    await control.node("edge-7")
    await control.plane.state.append_always("s", EVERYTHING, "a")
    at = control.clock.now = control.clock.now + 5
    await control.close()
    mark = decode_mark(await control.store.get(mark_key(control.journal.epoch)))
    assert (mark.sequence, mark.at) == (2, at)
    assert [node.node_id for node in mark.nodes] == ["edge-7"]
    await control.open()


async def test_secrets_of_control_lie_below_control_only(control: Control) -> None:
    """What nodes reach the store with reads sites/ and nothing else."""
    await control.api.post("/v1/sites", {"name": "blog"})
    await control.plane.snapshots.save()
    await control.api.token_for("read:blog")
    await control.close()
    keys = {facts.key async for facts in control.store.scan("")}
    assert {key.partition("/")[0] for key in keys} <= {"control", "sites"}
    for key in keys:
        if key.startswith("sites/"):
            assert b"secret_sha256" not in await control.store.get(key)
    assert any(key.startswith("control/records/") for key in keys)
    assert any(key.startswith("control/snapshots/") for key in keys)
    await control.open()


# ---- which epoch counts


async def test_an_empty_journal_over_the_store_of_another_control_plane_does_not_start(
    control: Control, make_control: ControlMaker
) -> None:
    with pytest.raises(Conflict, match="cdn control restore"):
        await make_control(store=control.store)


async def test_a_control_plane_that_was_replaced_does_not_start_and_does_not_go_on(
    make_control: ControlMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.control.record_archive.MARK_EVERY_S", 0.0)
    monkeypatch.setattr("cdn.control.record_archive.LOOK_EVERY_S", 0.01)
    control = await make_control(archive_interval_s=0.0)
    await archived_up_to(control, 1)
    last = await last_epoch(control.store)
    assert last is not None
    assert last.entry.epoch == control.journal.epoch
    await enter_epoch(control.store, "feedfacefeedface", after=last, begun_at=0.0)
    async with asyncio.timeout(5):
        while "no longer counts" not in (control.plane.archive.lag.fault or ""):
            await asyncio.sleep(0.001)
    with pytest.raises(StateStuck, match="no longer counts"):
        await control.plane.state.append_always("s", EVERYTHING, "a")
    assert (await control.api.get("/v1/status")).status == 200
    with pytest.raises(Replaced):
        await control.reopen()


async def test_of_two_epochs_that_follow_the_same_one_enters(control: Control) -> None:
    last = await last_epoch(control.store)
    assert await enter_epoch(control.store, "one", after=last, begun_at=0.0) == 2
    assert await enter_epoch(control.store, "one", after=last, begun_at=0.0) == 2, "its own write, answered late"
    with pytest.raises(Conflict, match="one"):
        await enter_epoch(control.store, "two", after=last, begun_at=0.0)


async def test_records_that_another_control_put_into_a_snapshot_and_trimmed_are_not_waited_for(
    control: Control,
) -> None:
    """Several controls over one journal: the snapshot that covers them is another's."""
    journal: SqliteJournal = control.journal
    for _ in range(5):
        await journal.append(Draft("s", EVERYTHING, "a"), expected_sequence=None)
    await journal.trim(4)
    state = ControlState(journal, (Floors(),))
    archive = RecordArchive(control.plane.services.settings, state, control.store, control.plane.snapshots)
    archive._archived = 1
    await state.start(4)
    archive.start()
    async with asyncio.timeout(5):
        while archive.archived < 6:
            await asyncio.sleep(0.001)
    await archive.aclose()
    await state.aclose()
