"""What a lost control plane knew, rebuilt from the store alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cdn.control.archive_layout import (
    EPOCHS,
    mark_key,
    part_key,
    part_prefix,
    snapshot_key,
    snapshot_prefix,
)
from cdn.control.epoch_order import last_epoch
from cdn.control.node_directory import NodeDirectory
from cdn.control.restoration import RecordsMissing, Restored, restore
from cdn.errors import Conflict, NotFound
from cdn.fleet.position import Position
from cdn.journal.archive_part import decode_part, encode_part
from cdn.journal.record import EVERY_AUDIENCE, RECORD_VERSION, UnknownRecord
from cdn.journal.snapshot import decode, encode
from cdn.journal.sqlite import SqliteJournal
from cdn.origin.activation import ActivationPointer, read_pointer, write_pointer
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import StoreUnavailable
from tests.control.control_room import Control, ControlMaker, deploy


async def noted(epoch: str, after: int) -> None:
    """A journal is begun; nothing else happens."""


async def lived(control: Control) -> None:
    """A control plane with something of everything, all of it archived, and now gone."""
    await control.api.post("/v1/sites", {"name": "blog"})
    await control.api.post("/v1/sites/blog/domains", {"domain": "www.example.com", "verified": True})
    await deploy(control.api, "blog", {"/index.html": b"x"})
    await control.api.post("/v1/sites/blog/purges", {"tags": ["news"]})
    await control.api.token_for("read:blog")
    await control.node("edge-1")
    await control.close()


def sections(control: Control) -> dict[str, Any]:
    return decode(encode(control.plane.snapshots.take(EVERY_AUDIENCE))).sections


async def restored_control(control: Control, make_control: ControlMaker, **more: Any) -> tuple[Restored, Control]:
    """A control plane in a folder of its own, from the store of `control`."""
    root = control.root.parent / "restored"
    root.mkdir(exist_ok=True)

    async def begin(epoch: str, after: int) -> None:
        await SqliteJournal.begin_epoch(root / "journal.sqlite", epoch, after=after)

    restored = await restore(control.store, begin, clock=control.clock, **more)
    await NodeDirectory.restore(root / "nodes.sqlite", restored.nodes)
    again = Control(root, clock=control.clock, store=control.store, admin_token=control.admin_token)
    return restored, await again.open()


@pytest.mark.parametrize("snapshot_every", [3, 1_000_000])
async def test_everything_comes_back_under_a_new_epoch(make_control: ControlMaker, snapshot_every: int) -> None:
    control = await make_control(archive_interval_s=0.0, snapshot_every_records=snapshot_every, keep_records=0)
    await lived(control)
    before, end = sections(control), control.plane.state.position
    restored, again = await restored_control(control, make_control)
    assert restored.former == end
    assert restored.position == Position(again.journal.epoch, end.sequence)
    assert restored.position.epoch != end.epoch
    assert again.plane.state.position == restored.position
    assert (restored.sites, restored.domains, restored.tokens) == (1, 1, 2)
    assert restored.missing is None
    after = sections(again)
    assert after["catalog"] == before["catalog"]
    assert after["tokens"] == before["tokens"]
    assert again.plane.services.directory.nodes()[0].node_id == "edge-1"
    shown = await again.api.get("/v1/sites/blog")
    assert shown.status == 200, "the former admin token works"
    appended = await again.api.post("/v1/sites/blog/purges", {"tags": ["news"]})
    assert appended.document["position"]["sequence"] == end.sequence + 1
    await again.close()


async def test_what_nodes_had_stored_is_unusable_in_the_new_epoch(control: Control, make_control: ControlMaker) -> None:
    await lived(control)
    restored, again = await restored_control(control, make_control)
    stored = decode(await control.store.get(snapshot_key(restored.position)))
    assert stored.floor_horizon == restored.position.sequence
    snapshot = again.plane.snapshots.take(EVERY_AUDIENCE)
    assert snapshot.floor_horizon == restored.position.sequence
    assert snapshot.sections["floors"]["epoch"] == restored.position.epoch
    await again.close()


async def test_a_restore_of_a_restored_one_goes_on_from_there(control: Control, make_control: ControlMaker) -> None:
    await lived(control)
    first, again = await restored_control(control, make_control)
    await again.api.post("/v1/sites", {"name": "second"})
    await again.close()
    second = await restore(control.store, noted)
    assert second.former == Position(first.position.epoch, first.position.sequence + 1)
    assert second.sites == 2
    last = await last_epoch(control.store)
    assert last is not None
    assert (last.number, last.entry.epoch) == (3, second.position.epoch)
    assert last.entry.instead_of == second.former


async def test_a_restore_that_ended_before_its_journal_began_is_repeated(control: Control) -> None:
    await lived(control)

    async def fails(epoch: str, after: int) -> None:
        raise StoreUnavailable("the disk is full")

    with pytest.raises(StoreUnavailable):
        await restore(control.store, fails)
    restored = await restore(control.store, noted)
    assert restored.sites == 1
    assert [node.node_id for node in restored.nodes] == ["edge-1"]
    assert restored.complete_until is not None


async def test_the_bound_is_the_last_time_at_which_everything_was_archived(control: Control) -> None:
    control.clock.now += 100
    await lived(control)
    assert (await restore(control.store, noted)).complete_until == control.clock.now
    epoch = control.journal.epoch
    await control.store.delete(mark_key(epoch))


async def test_without_a_mark_the_bound_is_the_last_records_time(control: Control) -> None:
    await lived(control)
    last = (await parts(control))[-1]
    await control.store.delete(mark_key(control.journal.epoch))
    restored = await restore(control.store, noted)
    assert restored.complete_until == last.record(last.last).at
    assert restored.nodes == ()


async def parts(control: Control) -> list[Any]:
    keys = sorted([facts.key async for facts in control.store.scan(part_prefix(control.journal.epoch))])
    return [decode_part(await control.store.get(key)) for key in keys]


async def spread(control: Control) -> list[str]:
    """The archive, one record in each part; the keys in order."""
    whole = await parts(control)
    for part in whole:
        await control.store.delete(part_key(part.epoch, part.first, part.last))
    keys = []
    for part in whole:
        for sequence in range(part.first, part.last + 1):
            records = (part.records[sequence - part.first],)
            single = type(part)(1, part.epoch, sequence, sequence, part.written_at, records)
            keys.append(part_key(part.epoch, sequence, sequence))
            await control.store.put(keys[-1], encode_part(single))
    return keys


@pytest.mark.parametrize("fault", ["gone", "damaged", "cut", "renamed"])
async def test_records_that_are_gone_from_the_archive_are_said_and_nothing_behind_them_is_applied(
    control: Control, fault: str
) -> None:
    await lived(control)
    keys = await spread(control)
    match fault:
        case "gone":
            await control.store.delete(keys[3])
        case "damaged":
            await control.store.put(keys[3], b"damaged")
        case "cut":
            await control.store.put(keys[3], (await control.store.get(keys[3]))[:-3])
        case _:
            await control.store.put(keys[3], await control.store.get(keys[2]))
    with pytest.raises(RecordsMissing, match=r"records (4 |after 3 ).*--accept-loss"):
        await restore(control.store, noted)
    restored = await restore(control.store, noted, accepts_loss=True)
    assert restored.former.sequence == 3
    assert restored.missing is not None


async def test_the_end_of_the_archive_that_is_gone_is_noticed_by_the_mark(control: Control) -> None:
    await lived(control)
    keys = await spread(control)
    await control.store.delete(keys[-1])
    with pytest.raises(RecordsMissing, match="gone from the object store"):
        await restore(control.store, noted)
    restored = await restore(control.store, noted, accepts_loss=True)
    assert restored.former.sequence == len(keys) - 1
    assert restored.missing is not None


async def test_a_damaged_last_part_is_not_passed_over_in_silence(control: Control) -> None:
    await lived(control)
    keys = await spread(control)
    await control.store.delete(mark_key(control.journal.epoch))
    await control.store.put(keys[-1], b"damaged")
    with pytest.raises(RecordsMissing, match="cannot be read"):
        await restore(control.store, noted)


async def test_overlapping_parts_are_applied_once(control: Control) -> None:
    """A write whose answer was lost, repeated with more records: both are there."""
    await lived(control)
    before = sections(control)
    whole = await parts(control)
    await spread(control)
    for part in whole:
        await control.store.put(part_key(part.epoch, part.first, part.last), encode_part(part))
    restored = await restore(control.store, noted)
    snapshot = decode(await control.store.get(snapshot_key(restored.position)))
    assert snapshot.sections["catalog"] == before["catalog"]
    assert snapshot.sections["tokens"] == before["tokens"]


async def test_a_damaged_snapshot_is_done_without(make_control: ControlMaker) -> None:
    control = await make_control(snapshot_every_records=1_000_000)
    await control.api.post("/v1/sites", {"name": "one"})
    await control.plane.snapshots.save()
    await control.api.post("/v1/sites", {"name": "two"})
    await control.plane.snapshots.save()
    await lived(control)
    newest = max([facts.key async for facts in control.store.scan(snapshot_prefix(control.journal.epoch))])
    await control.store.put(newest, b"damaged")
    restored = await restore(control.store, noted)
    assert restored.missing is None
    assert restored.sites == 3


async def test_a_record_of_a_newer_program_is_for_that_program_to_restore(control: Control) -> None:
    await lived(control)
    last = (await parts(control))[-1]
    raw = bytes(last.records[-1]).replace(b'"version":1', b'"version":%d' % (RECORD_VERSION + 1), 1)
    records = (*last.records[:-1], type(last.records[0])(raw))
    newer = type(last)(1, last.epoch, last.first, last.last, last.written_at, records)
    await control.store.put(part_key(last.epoch, last.first, last.last), encode_part(newer))
    with pytest.raises(UnknownRecord, match="upgrade"):
        await restore(control.store, noted, accepts_loss=True)


async def test_pointers_of_cut_off_nodes_never_lead_to_an_activation_that_was_lost(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog", "settings": {"on_detach": "validate"}})
    await lived(control)
    site = control.plane.services.site_named("blog")
    lost = ActivationPointer(Position(control.journal.epoch, 99), "lost", "0" * 64)
    await write_pointer(control.store, site.id, "production", lost)
    await write_pointer(control.store, site.id, "preview", lost)
    restored = await restore(control.store, noted)
    state = control.plane.services.catalog.alias(site.id, "production")
    pointer = await read_pointer(control.store, site.id, "production")
    assert pointer is not None
    assert pointer.position == Position(restored.position.epoch, state.activated_sequence)
    assert pointer.deploy_id == state.active.id
    assert await read_pointer(control.store, site.id, "preview") is None


async def test_a_store_without_any_records_is_not_restored_from(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no records"):
        await restore(DirectoryStore(tmp_path), noted)


async def test_a_store_of_a_program_that_kept_snapshots_only(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    await control.plane.snapshots.save()
    await control.close()
    store, epoch = control.store, control.journal.epoch
    for prefix in (EPOCHS, part_prefix(epoch), mark_key(epoch)):
        for key in [facts.key async for facts in store.scan(prefix)]:
            await store.delete(key)
    (only,) = [facts.key async for facts in store.scan(snapshot_prefix(epoch))]
    await store.put(only.replace(epoch, "0123456789abcdef"), await store.get(only))
    with pytest.raises(Conflict, match="--epoch"):
        await restore(store, noted)
    with pytest.raises(NotFound):
        await restore(store, noted, epoch="fedcba9876543210")
    restored = await restore(store, noted, epoch=epoch)
    assert restored.sites == 1
    with pytest.raises(Conflict, match="went on"):
        await restore(store, noted, epoch="0123456789abcdef")


async def test_a_journal_is_never_written_over(control: Control) -> None:
    path: Path = control.root / "journal.sqlite"
    before = (await control.journal.position()).sequence
    with pytest.raises(Conflict, match="never written over"):
        await SqliteJournal.begin_epoch(path, "feedfacefeedface", after=7)
    assert (await control.journal.position()).sequence == before


async def test_a_journal_begins_after_what_was_restored(tmp_path: Path) -> None:
    (tmp_path / "j.db.new").write_bytes(b"what a restore that was killed left")
    empty = await SqliteJournal.open(tmp_path / "j.db")  # what a start that was refused left
    await empty.aclose()
    await SqliteJournal.begin_epoch(tmp_path / "j.db", "feedfacefeedface", after=7)
    assert [path.name for path in tmp_path.iterdir()] == ["j.db"]
    journal = await SqliteJournal.open(tmp_path / "j.db")
    assert await journal.position() == Position("feedfacefeedface", 7)
    await journal.aclose()
