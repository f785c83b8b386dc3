"""Responses of pull sites in the disk tier: in and out as a whole, never across a floor (DESIGN I1, I10, I11)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdn.edge import disk_rows as rows
from cdn.edge.disk_families import KnownFamilies
from cdn.edge.disk_files import ChunkName, ContentFolder
from cdn.edge.disk_new_content import NewContent
from cdn.edge.disk_pulled_head import MAX_HEAD_BYTES
from cdn.edge.disk_reconcile import Reconciled
from cdn.edge.disk_scrub import Scrubbed
from cdn.edge.disk_tier import DiskTier
from cdn.edge.disk_writes import Damaged, Remove, UpdateHead
from cdn.edge.stored import PulledHead, StoredKey, StoredResponse, StoreOutcome
from cdn.fleet.position import Position
from cdn.http.fields import Fields
from cdn.http.response_head import ResponseHead
from cdn.sites.manifest import CHUNK_BYTES, FileEntry

OpenTier = Callable[..., Awaitable[DiskTier]]

PATH = "/page?a=1"


def make_pulled(value: str = "1", *, status: int = 200, received_at: float = 1000.0, **more: Any) -> PulledHead:
    fields = Fields((("etag", f'"{value}"'), ("set-cookie", "a=1"), ("set-cookie", "b=\xe9")))
    return PulledHead(ResponseHead(status, fields), (("accept", None),), received_at - 0.5, received_at, **more)


def make_response(
    variant: str = "00", *, site_id: str = "s1", path: str = PATH, admitted: int = 5, pulled: PulledHead | None = None
) -> StoredResponse:
    """A pulled response as a caller offers it: `enter` fills in the rest."""
    return StoredResponse(
        key=StoredKey(site_id, path, variant),
        entry=FileEntry("", 0),
        names=(path,),
        tags=("t",),
        admitted=Position("e1", admitted),
        stored_at=1000.0,
        validated_at=1000.0,
        pulled=pulled or make_pulled(),
    )


def entry_of(whole: bytes) -> FileEntry:
    parts = [whole[at : at + CHUNK_BYTES] for at in range(0, len(whole), CHUNK_BYTES)]
    digests = tuple(hashlib.sha256(part).hexdigest() for part in parts) if len(parts) > 1 else ()
    return FileEntry(hashlib.sha256(whole).hexdigest(), len(whole), digests)


async def write_all(content: NewContent, whole: bytes) -> StoreOutcome:
    for number in range(-(-len(whole) // CHUNK_BYTES)):
        outcome = await content.write(number, whole[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES])
        if outcome is not StoreOutcome.STORED:
            return outcome
    return StoreOutcome.STORED


async def keep(tier: DiskTier, stored: StoredResponse, whole: bytes) -> StoredResponse:
    content = tier.new_content(stored.key)
    assert await write_all(content, whole) is StoreOutcome.STORED
    assert await content.enter(stored) is StoreOutcome.STORED
    return content.stored_with(stored)


async def read_all(tier: DiskTier, stored: StoredResponse) -> bytes | None:
    chunks = [await tier.read_chunk(stored, number) for number in range(stored.entry.chunk_count)]
    return None if None in chunks else b"".join(chunk for chunk in chunks if chunk is not None)


def chunk_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "content").rglob("*") if path.is_file())


CONTENTS = [b"", b"small", b"x" * 70_000, os.urandom(CHUNK_BYTES), os.urandom(2 * CHUNK_BYTES + 17)]


@pytest.mark.parametrize("whole", CONTENTS, ids=len)
async def test_it_comes_back_as_it_was_entered_also_after_a_restart(open_tier: OpenTier, whole: bytes) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_response(), whole)
    assert stored.entry == entry_of(whole)
    for _ in range(2):
        assert await tier.find_all("s1", PATH) == (stored,)
        assert await read_all(tier, stored) == whole
        facts = tier.facts()
        assert (facts.responses, facts.chunks) == (1, -(-len(whole) // CHUNK_BYTES))
        await tier.aclose()
        tier = await open_tier()


async def test_every_part_of_a_head_is_kept(open_tier: OpenTier) -> None:
    tier = await open_tier()
    pulled = make_pulled("\xff", status=206, complete_length=2**40, part_start=77, coding="br", base_incarnation=9)
    pulled = replace(pulled, selecting=(("accept-language", "de, en;q=0.5"), ("cookie", None)))
    stored = await keep(tier, make_response(pulled=pulled), b"x")
    await tier.aclose()
    (found,) = await (await open_tier()).find_all("s1", PATH)
    assert found == stored
    assert found.pulled == pulled


async def test_all_that_lies_under_a_primary_key_is_found_newest_first(open_tier: OpenTier) -> None:
    tier = await open_tier()
    assert await tier.find_all("s1", PATH) == ()
    kept = [await keep(tier, make_response(f"{number:02x}"), b"%d" % number) for number in range(5)]
    await keep(tier, make_response("aa", path="/other"), b"other")
    await keep(tier, make_response("aa", site_id="s2"), b"another site's")
    assert await tier.find_all("s1", PATH) == tuple(reversed(kept))
    assert await tier.find(kept[0].key) is None, "files of bundles are looked for elsewhere"


async def test_a_later_response_under_the_key_replaces_the_earlier_one(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier()
    await keep(tier, make_response(), os.urandom(2 * CHUNK_BYTES))
    other = await keep(tier, make_response("01"), b"other")
    new = await keep(tier, make_response(), b"new")
    assert await tier.find_all("s1", PATH) == (new, other)
    assert len(chunk_files(tmp_path / "tier")) == 2
    assert tier.facts().chunks == 2


async def test_an_answer_that_was_asked_for_earlier_never_replaces_a_later_one(
    open_tier: OpenTier, tmp_path: Path
) -> None:
    """However late it came in: the order is that in which upstream was asked."""
    tier = await open_tier()
    early, late = tier.new_content(make_response().key), tier.new_content(make_response().key)
    assert early.incarnation < late.incarnation == tier.incarnation_now()
    await early.write(0, b"early")
    await late.write(0, b"late")
    assert await late.enter(make_response()) is StoreOutcome.STORED
    assert await early.enter(make_response()) is StoreOutcome.SUPERSEDED
    assert await early.read(0) == b"early", "who waits for it still gets it"
    await early.abandon()
    assert await early.read(0) is None
    (found,) = await tier.find_all("s1", PATH)
    assert await read_all(tier, found) == b"late"
    assert len(chunk_files(tmp_path / "tier")) == 1


async def test_the_least_recently_used_of_too_many_variants_goes(
    open_tier: OpenTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "SELECT_SURPLUS", rows.SELECT_SURPLUS.replace(str(rows.MAX_VARIANTS), "3"))
    tier = await open_tier()
    kept = [await keep(tier, make_response(f"{number:02x}"), b"x") for number in range(3)]
    await tier.read_chunk(kept[0], 0)
    await tier.flush()
    last = await keep(tier, make_response("ff"), b"x")
    assert await tier.find_all("s1", PATH) == (last, kept[2], kept[0])
    assert len(chunk_files(tmp_path / "tier")) == 3


async def test_what_was_asked_lately_is_known_without_asking(
    open_tier: OpenTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_response(), b"x")
    assert await tier.find_all("s1", PATH) == (stored,)
    assert await tier.find_all("s1", "/nothing") == ()

    def refuse() -> sqlite3.Connection:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(tier._index, "_reader", refuse)
    assert await tier.find_all("s1", PATH) == (stored,)
    assert await tier.find_all("s1", "/nothing") == ()
    assert await tier.find_all("s1", "/unknown") == (), "an index that cannot be read makes a miss"
    assert tier.facts().index_counters.failed_reads == 1


async def test_a_head_that_is_too_long_is_not_kept(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier()
    long = make_pulled("e" * MAX_HEAD_BYTES)
    content = tier.new_content(make_response().key)
    await content.write(0, b"x")
    assert await content.enter(make_response(pulled=long)) is StoreOutcome.TOO_LARGE
    await content.abandon()
    assert chunk_files(tmp_path / "tier") == []
    stored = await keep(tier, make_response(), b"x")
    assert await update(tier, stored, long) is None
    assert await tier.find_all("s1", PATH) == (stored,)


# Content on its way in


async def test_what_is_written_can_be_read_at_once(open_tier: OpenTier) -> None:
    tier = await open_tier()
    whole = os.urandom(2 * CHUNK_BYTES + 5)
    content = tier.new_content(make_response().key)
    assert await content.read(0) is None
    assert await write_all(content, whole) is StoreOutcome.STORED
    assert b"".join([await content.read(number) or b"" for number in range(4)]) == whole
    assert content.entry == entry_of(whole)
    assert await tier.find_all("s1", PATH) == ()
    assert await content.enter(make_response()) is StoreOutcome.STORED
    assert await content.read(2) == whole[2 * CHUNK_BYTES :]


async def test_what_is_abandoned_leaves_nothing(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier()
    content = tier.new_content(make_response().key)
    await write_all(content, os.urandom(CHUNK_BYTES + 5))
    assert tier.facts().writing_bytes == CHUNK_BYTES + 4096
    await content.abandon()
    await content.abandon()
    assert await content.read(0) is None
    assert await content.write(2, b"x") is not StoreOutcome.STORED
    assert chunk_files(tmp_path / "tier") == []
    assert tier.facts().writing_bytes == 0
    assert await tier.find_all("s1", PATH) == ()


async def test_abandoning_after_entering_does_nothing(open_tier: OpenTier) -> None:
    tier = await open_tier()
    content = tier.new_content(make_response().key)
    await content.write(0, b"x")
    assert await content.enter(make_response()) is StoreOutcome.STORED
    await content.abandon()
    (found,) = await tier.find_all("s1", PATH)
    assert await read_all(tier, found) == b"x"
    assert tier.facts().writing_bytes == 0


@pytest.mark.parametrize("step", ["write", "enter", "abandon"])
async def test_a_cancelled_caller_leaves_no_step_half_done(open_tier: OpenTier, tmp_path: Path, step: str) -> None:
    tier = await open_tier()
    content = tier.new_content(make_response().key)
    if step != "write":
        await content.write(0, b"x")
    steps = {
        "write": lambda: content.write(0, b"x"),
        "enter": lambda: content.enter(make_response()),
        "abandon": content.abandon,
    }
    caller = asyncio.ensure_future(steps[step]())
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await content.abandon()  # waits its turn
    assert len(await tier.find_all("s1", PATH)) == len(chunk_files(tmp_path / "tier")) == (step == "enter")
    assert tier.facts().writing_bytes == 0


async def test_running_writes_count_against_the_bound_and_make_room_for_themselves(
    open_tier: OpenTier, tmp_path: Path
) -> None:
    tier = await open_tier(max_bytes=40 * CHUNK_BYTES)
    for number in range(39):
        await keep(tier, make_response(path=f"/{number}"), os.urandom(CHUNK_BYTES - 9000))
    writing = tier.new_content(make_response("01").key)
    for number in range(7):
        assert await writing.write(number, b"w" * CHUNK_BYTES) is StoreOutcome.STORED
    await tier.flush()
    assert tier.facts().writing_bytes == 7 * CHUNK_BYTES
    assert sum(path.stat().st_size for path in chunk_files(tmp_path / "tier")) <= 40 * CHUNK_BYTES
    assert tier.facts().cost_bytes + tier.facts().writing_bytes <= 40 * CHUNK_BYTES
    assert tier.facts().responses >= 30
    await writing.abandon()


async def test_running_writes_have_a_bound_of_their_own(open_tier: OpenTier) -> None:
    tier = await open_tier(max_bytes=16 * CHUNK_BYTES)
    large, second = (tier.new_content(make_response(path=path).key) for path in ("/1", "/2"))
    other = tier.new_content(make_response(site_id="s2").key)
    chunk = b"w" * CHUNK_BYTES
    assert [await large.write(0, chunk), await large.write(1, chunk)] == [StoreOutcome.STORED] * 2
    assert [await second.write(0, chunk), await second.write(1, chunk)] == [StoreOutcome.STORED, StoreOutcome.FULL]
    assert await other.write(0, chunk) is StoreOutcome.STORED, "a site leaves room for the others"
    assert await other.write(1, chunk) is StoreOutcome.FULL
    await second.abandon()
    assert await large.write(2, chunk) is StoreOutcome.STORED
    assert await large.write(3, chunk) is StoreOutcome.TOO_LARGE
    assert await large.read(0) == chunk, "who reads what is there goes on reading"
    assert await large.write(4, chunk) is StoreOutcome.TOO_LARGE
    assert await large.enter(make_response()) is StoreOutcome.TOO_LARGE
    await other.abandon()
    await large.abandon()
    assert tier.facts().writing_bytes == 0


async def test_a_busy_index_takes_no_new_content(
    open_tier: OpenTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.edge.disk_index.MAX_QUEUED_WRITES", 0)
    tier = await open_tier()
    content = tier.new_content(make_response().key)
    await content.write(0, b"x")
    assert await content.enter(make_response()) is StoreOutcome.BUSY
    await content.abandon()
    assert chunk_files(tmp_path / "tier") == []
    assert (tier.counters.entered, tier.counters.not_entered) == (0, 1)


# Floors


async def test_a_floor_that_rose_while_it_came_in_keeps_it_out(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier()
    content = tier.new_content(make_response().key)
    await content.write(0, b"x")
    outcome = await content.enter(make_response(admitted=5), lambda admitted: admitted.sequence >= 6)
    assert outcome is StoreOutcome.DETACHED
    assert await content.read(0) == b"x", "who waited for it from before still gets it"
    await content.abandon()
    assert chunk_files(tmp_path / "tier") == []
    assert await tier.find_all("s1", PATH) == ()


@pytest.mark.parametrize("sweep_comes", ["before", "between", "after"])
async def test_what_was_asked_for_before_a_sweep_never_outlives_it(
    open_tier: OpenTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep_comes: str
) -> None:
    """After the sweep its floors are forgotten: nobody but the tier can still refuse what they forbid."""
    tier = await open_tier()
    content = tier.new_content(make_response().key)
    await content.write(0, b"x")

    async def sweep() -> int:
        return await tier.sweep("s1", Position("e1", 9), lambda each: each.admitted.sequence < 7)

    if sweep_comes == "before":
        await sweep()
    entering = asyncio.create_task(content.enter(make_response(admitted=5)))
    if sweep_comes == "between":
        while tier._index.queued == 0:  # handed over, and the sweep's first write goes behind it
            await asyncio.sleep(0)
        await sweep()
    outcome = await entering
    if sweep_comes == "after":
        await sweep()
    assert outcome is (StoreOutcome.DETACHED if sweep_comes == "before" else StoreOutcome.STORED)
    await content.abandon()
    assert await tier.find_all("s1", PATH) == ()
    assert chunk_files(tmp_path / "tier") == []
    await tier.aclose()
    assert await (await open_tier()).find_all("s1", PATH) == ()


async def test_what_was_asked_for_after_a_sweep_began_comes_in(open_tier: OpenTier) -> None:
    tier = await open_tier()
    await tier.sweep("s1", Position("e1", 9), lambda each: True)
    assert await keep(tier, make_response(admitted=9), b"x")
    assert await keep(tier, make_response(site_id="s2", admitted=5), b"x")


async def test_sweeps_and_removed_sites_take_pulled_responses_by_names_and_tags(
    open_tier: OpenTier, tmp_path: Path
) -> None:
    tier = await open_tier()
    kept = await keep(tier, replace(make_response("01"), tags=("kept",)), b"")
    await keep(tier, replace(make_response("02"), tags=("gone",)), b"")
    await keep(tier, replace(make_response("03", path="/gone"), tags=()), os.urandom(CHUNK_BYTES + 1))
    await keep(tier, make_response(site_id="s2"), b"x")
    assert len(await tier.find_all("s1", PATH)) == 2
    removed = await tier.sweep("s1", Position("e1", 9), lambda each: "gone" in each.tags or "/gone" in each.names)
    assert removed == 2
    assert await tier.find_all("s1", PATH) == (kept,)
    assert await tier.find_all("s1", "/gone") == ()
    assert await tier.remove_site("s2", Position("e1", 9)) == 1
    assert await tier.find_all("s2", PATH) == ()
    assert chunk_files(tmp_path / "tier") == []
    await tier.flush()
    assert tier.facts().responses == 1


@pytest.mark.parametrize("change", ["sweep", "drop", "enter", "update"])
async def test_a_lookup_that_raced_a_change_does_not_answer_with_what_was_before(
    open_tier: OpenTier, change: str
) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_response(), b"x")
    tier._pulled.clear()
    read, is_read, may_return = tier._index.read, asyncio.Event(), asyncio.Event()

    async def held_read(query: Callable[[sqlite3.Connection], Any]) -> Any:
        result = await read(query)
        if not is_read.is_set():
            is_read.set()
            await may_return.wait()
        return result

    tier._index.read = held_read  # type: ignore[method-assign]
    finding = asyncio.create_task(tier.find_all("s1", PATH))
    await is_read.wait()
    expected: tuple[StoredResponse, ...] = ()
    match change:
        case "sweep":
            await tier.sweep("s1", Position("e1", 9), lambda each: True)
        case "drop":
            tier.drop(stored)
        case "enter":
            expected = (await keep(tier, make_response("01"), b"new"), stored)
        case "update":
            again = replace(stored, pulled=make_pulled("2"))
            tier._pulled._change(stored, again, UpdateHead(again))
            expected = (again,)
    may_return.set()
    assert await finding == expected
    assert await tier.find_all("s1", PATH) == expected
    await tier.flush()
    tier._pulled.clear()
    assert await tier.find_all("s1", PATH) == expected


# Validation


async def update(
    tier: DiskTier,
    stored: StoredResponse,
    pulled: PulledHead,
    *,
    admitted: int = 9,
    at: float = 1100.0,
    hard: int = 0,
) -> StoredResponse | None:
    return await tier.update_head(stored, pulled, ("/new",), ("new",), Position("e1", admitted), at, hard)


async def test_a_304_gives_a_response_another_head(open_tier: OpenTier) -> None:
    tier = await open_tier()
    whole = os.urandom(CHUNK_BYTES + 1)
    stored = await keep(tier, make_response(), whole)
    cost = tier.facts().cost_bytes
    pulled = make_pulled("a much longer entity-tag", received_at=1100.0)
    again = await update(tier, stored, pulled)
    assert again == replace(
        stored, pulled=pulled, names=("/new",), tags=("new",), admitted=Position("e1", 9), validated_at=1100.0
    )
    assert await tier.find_all("s1", PATH) == (again,)
    await tier.flush()
    assert tier.facts().cost_bytes > cost
    await tier.aclose()
    reopened = await open_tier()
    (found,) = await reopened.find_all("s1", PATH)
    assert found == again
    assert await read_all(reopened, found) == whole
    assert await reopened.sweep("s1", Position("e1", 10), lambda each: "new" in each.tags) == 1
    await reopened.flush()
    assert reopened.facts().cost_bytes == 0


async def test_a_304_never_crosses_a_hard_floor(open_tier: OpenTier) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_response(admitted=5), b"x")
    assert await update(tier, stored, make_pulled("2", received_at=1100.0), hard=7) is None
    assert await tier.find_all("s1", PATH) == (stored,)


async def test_an_answer_that_was_received_earlier_changes_nothing(open_tier: OpenTier) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_response(), b"x")
    later = await update(tier, stored, make_pulled("later", received_at=1200.0), at=1200.0)
    assert later is not None
    assert await update(tier, stored, make_pulled("earlier", received_at=1100.0), at=1100.0) == later
    lower = await update(tier, stored, make_pulled("last", received_at=1300.0), admitted=8, at=1150.0)
    assert lower is not None
    assert (lower.admitted.sequence, lower.validated_at) == (9, 1200.0)


async def test_what_left_is_not_brought_back_by_a_304(open_tier: OpenTier) -> None:
    tier = await open_tier()
    pulled = make_pulled("2", received_at=1100.0)
    replaced = await keep(tier, make_response("01"), b"x")
    await keep(tier, make_response("01"), b"y")
    dropped = await keep(tier, make_response("02"), b"x")
    tier.drop(dropped)
    swept = await keep(tier, make_response("03", path="/swept"), b"x")
    await tier.sweep("s1", Position("e1", 9), lambda each: each.key.path == "/swept")
    for stored in (replaced, dropped, swept):
        assert await update(tier, stored, pulled) is None
    await tier.flush()
    tier._pulled.clear()
    assert [each.key.digest for each in await tier.find_all("s1", PATH)] == ["01"]


async def test_a_304_for_what_is_being_evicted_brings_no_row_back(open_tier: OpenTier) -> None:
    """The head is on its way to the index when the response leaves it."""
    tier = await open_tier()
    stored = await keep(tier, make_response(), b"x")
    assert await tier.find_all("s1", PATH) == (stored,)
    tier._index.submit(Remove((stored.incarnation,)))
    again = await update(tier, stored, make_pulled("2", received_at=1100.0))
    assert again is not None, "it is not known here yet"
    await tier.flush()
    assert await tier.find_all("s1", PATH) == ()
    assert await read_all(tier, again) is None
    assert (tier.facts().responses, tier.facts().cost_bytes) == (0, 0)


# Dropping


async def test_what_is_dropped_is_gone_at_once_and_soon_on_disk(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier()
    dropped = await keep(tier, make_response("01"), os.urandom(CHUNK_BYTES + 1))
    kept = await keep(tier, make_response("02"), b"x")
    tier.drop(dropped)
    tier.drop(dropped)
    tier._pulled._families.clear()
    assert await tier.find_all("s1", PATH) == (kept,), "though it has never been asked before"
    await tier.flush()
    assert len(chunk_files(tmp_path / "tier")) == 1
    assert len(tier._pulled._unwritten) == 0


async def test_what_a_failing_index_cannot_drop_stays_dropped_all_the_same(
    open_tier: OpenTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_response(), b"x")

    def refuse(*args: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as failing:
        failing.setattr(rows, "save_totals", refuse)
        tier.drop(stored)
        assert not await tier.flush()
    tier._pulled._families.clear()
    assert await tier.find_all("s1", PATH) == ()
    await tier.aclose()
    assert chunk_files(tmp_path / "tier") == []
    again = await open_tier()
    for found in await again.find_all("s1", PATH):
        assert await read_all(again, found) is None
    assert await again.find_all("s1", PATH) == ()


# Out as a whole


async def test_the_least_recently_used_goes_first_and_whole(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier(max_bytes=24 * CHUNK_BYTES)
    kept = [
        await keep(tier, make_response(path=f"/{number}"), os.urandom(3 * CHUNK_BYTES - 9000)) for number in range(7)
    ]
    moved = await keep(tier, make_response("01", path="/moved"), b"")
    await tier.read_chunk(kept[0], 2)  # a part of it, and that is use of the whole
    tier.touch(kept[1].key)
    for number in range(7, 10):
        kept.append(await keep(tier, make_response(path=f"/{number}"), os.urandom(3 * CHUNK_BYTES - 9000)))
    await tier.flush()
    found = [bool(await tier.find_all("s1", each.key.path)) for each in kept]
    assert found == [True, True, False, False, True, True, True, True, True, True]
    for each, is_there in zip(kept, found, strict=True):
        assert (await read_all(tier, each) is not None) == is_there
    assert len(chunk_files(tmp_path / "tier")) == tier.facts().chunks == 8 * 3
    assert tier.facts().index_counters.evicted_chunks == 2 * 3
    assert await tier.find_all("s1", "/moved") == (moved,), "used later than what went"
    for number in range(10, 20):
        await keep(tier, make_response(path=f"/{number}"), os.urandom(3 * CHUNK_BYTES - 9000))
    await tier.flush()
    assert await tier.find_all("s1", "/moved") == (), "what has no content is evicted in its turn"


@pytest.mark.parametrize("fault", ["flipped", "torn", "missing"])
@pytest.mark.parametrize("found_by", ["reading", "scrub", "reconcile"])
async def test_a_fault_in_one_chunk_takes_the_whole_response(
    open_tier: OpenTier, tmp_path: Path, fault: str, found_by: str
) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_response(), os.urandom(3 * CHUNK_BYTES))
    await keep(tier, make_response("01", path="/moved"), b"")
    await tier.aclose()
    path = ContentFolder(tmp_path / "tier").path(ChunkName(stored.key.fingerprint(), stored.incarnation, 1))
    match fault:
        case "flipped":
            path.write_bytes(os.urandom(CHUNK_BYTES))
        case "torn":
            os.truncate(path, 77)
        case _:
            path.unlink()
    again = await open_tier()
    assert await again.find_all("s1", PATH) == (stored,)
    match found_by:
        case "reading":
            assert await again.read_chunk(stored, 0) is not None
            assert await again.read_chunk(stored, 1) is None
            assert await again.find_all("s1", PATH) == (), "at once"
        case "scrub":
            assert await again.scrub(1e15) == Scrubbed(3, int(fault != "missing"))
        case _ if fault == "missing":
            assert await again.reconcile() == Reconciled(0, 1)
        case _:
            assert await again.reconcile() == Reconciled(0, 0), "it looks at names only"
            assert await again.read_chunk(stored, 1) is None
    await again.flush()
    assert await again.find_all("s1", PATH) == ()
    assert [await again.read_chunk(stored, number) for number in range(3)] == [None] * 3
    assert chunk_files(tmp_path / "tier") == []
    assert again.facts().responses == 1


async def test_a_file_that_cannot_be_opened_now_costs_nothing(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_response(), b"x")
    (path,) = chunk_files(tmp_path / "tier")
    path.rename(path.with_suffix(".aside"))
    path.mkdir()
    assert await tier.read_chunk(stored, 0) is None
    assert await tier.find_all("s1", PATH) == (stored,)
    path.rmdir()
    path.with_suffix(".aside").rename(path)
    assert await tier.read_chunk(stored, 0) == b"x"


# Readers that take their time


async def wait_until_gone(paths: list[Path]) -> None:
    while any(path.exists() for path in paths):
        await asyncio.sleep(0)


@pytest.mark.parametrize("end", ["replaced", "evicted", "dropped", "swept"])
async def test_what_is_held_can_be_read_to_its_end(open_tier: OpenTier, tmp_path: Path, end: str) -> None:
    tier = await open_tier(max_bytes=60 * CHUNK_BYTES)
    whole = os.urandom(2 * CHUNK_BYTES + 5)
    stored = await keep(tier, make_response(), whole)
    files = chunk_files(tmp_path / "tier")
    first, second = tier.hold(stored), tier.hold(stored)
    match end:
        case "replaced":
            await keep(tier, make_response(), b"new")
        case "evicted":
            for number in range(60):
                await keep(tier, make_response(path=f"/{number}"), b"x" * CHUNK_BYTES)
        case "dropped":
            tier.drop(stored)
        case _:
            await tier.remove_site("s1", Position("e1", 9))
    await tier.flush()
    assert stored not in await tier.find_all("s1", PATH)
    facts = tier.facts()
    assert facts.held_bytes == 2 * CHUNK_BYTES + 4096
    assert facts.cost_bytes + facts.held_bytes <= facts.max_bytes
    assert await read_all(tier, stored) == whole
    first.close()
    first.close()
    assert await read_all(tier, stored) == whole
    second.close()
    await wait_until_gone(files)
    assert await read_all(tier, stored) is None
    assert tier.facts().held_bytes == 0


async def test_new_content_is_held_over_its_entering_and_leaving(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier()
    whole = os.urandom(CHUNK_BYTES + 5)
    content = tier.new_content(make_response().key)
    await write_all(content, whole)
    hold = content.hold()
    assert await content.enter(make_response()) is StoreOutcome.STORED
    await keep(tier, make_response(), b"new")
    assert len(chunk_files(tmp_path / "tier")) == 3
    assert b"".join([await content.read(number) or b"" for number in range(2)]) == whole
    hold.close()
    await tier.aclose()
    assert len(chunk_files(tmp_path / "tier")) == 1


async def test_what_readers_hold_back_is_bounded(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier(max_bytes=8 * CHUNK_BYTES)
    stored = [await keep(tier, make_response(path=f"/{number}"), b"x" * CHUNK_BYTES) for number in range(4)]
    holds = [tier.hold(each) for each in stored]
    for each in stored:
        tier.drop(each)
    await tier.flush()
    assert tier.facts().held_bytes == 2 * CHUNK_BYTES
    assert len(chunk_files(tmp_path / "tier")) == 2
    assert [await read_all(tier, each) is not None for each in stored] == [True, True, False, False]
    for hold in holds:
        hold.close()
    await wait_until_gone(chunk_files(tmp_path / "tier"))


async def test_holding_what_stays_removes_nothing(open_tier: OpenTier) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_response(), b"x")
    tier.hold(stored).close()
    await tier.flush()
    assert await read_all(tier, stored) == b"x"


# Files and index apart


async def test_reconciling_leaves_running_writes_alone(open_tier: OpenTier, tmp_path: Path) -> None:
    """Also when the clock was set back after the start, so that their files look older than it."""
    tier = await open_tier()
    content = tier.new_content(make_response().key)
    await content.write(0, b"x" * CHUNK_BYTES)
    for path in chunk_files(tmp_path / "tier"):
        os.utime(path, (1, 1))
    assert await tier.reconcile() == Reconciled(0, 0)
    await content.write(1, b"y")
    assert await content.enter(make_response()) is StoreOutcome.STORED
    (found,) = await tier.find_all("s1", PATH)
    assert await read_all(tier, found) == b"x" * CHUNK_BYTES + b"y"


async def test_what_a_killed_write_left_is_removed_after_the_next_start(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier()
    moved = await keep(tier, make_response("01", path="/moved"), b"")
    content = tier.new_content(make_response().key)
    await write_all(content, b"x" * (CHUNK_BYTES + 1))
    await tier.aclose()  # a kill closes no better
    again = await open_tier()
    assert len(chunk_files(tmp_path / "tier")) == 2
    for path in chunk_files(tmp_path / "tier"):
        os.utime(path, (1, 1))
    assert await again.reconcile() == Reconciled(2, 0)
    assert chunk_files(tmp_path / "tier") == []
    assert await again.find_all("s1", "/moved") == (moved,), "it has no file to miss"


async def test_content_that_outlived_its_index_does_not_enter_the_next_one(open_tier: OpenTier, tmp_path: Path) -> None:
    """A damaged index is thrown away with every file."""
    tier = await open_tier()
    await keep(tier, make_response("01"), b"x")
    content = tier.new_content(make_response().key)
    await content.write(0, b"x")
    tier._index.submit(Damaged(tier._index.edition))
    await tier.flush()
    assert await tier.find_all("s1", PATH) == ()
    assert await content.enter(make_response()) is StoreOutcome.FULL
    assert await tier.find_all("s1", PATH) == ()
    assert await keep(tier, make_response(), b"new")


async def test_a_head_that_cannot_be_read_is_damage(open_tier: OpenTier, tmp_path: Path) -> None:
    tier = await open_tier()
    await keep(tier, make_response(), b"x")
    await tier.aclose()
    with contextlib.closing(sqlite3.connect(tmp_path / "tier" / "index.sqlite")) as connection:
        connection.execute("UPDATE stored SET head = x'93c0'")
        connection.commit()
    again = await open_tier()
    assert await again.find_all("s1", PATH) == ()
    await again.flush()
    await again.flush()
    assert again.facts().index_counters.rebuilds == 1
    assert await keep(again, make_response(), b"new")


async def test_the_writer_outlives_a_rebuild_that_the_system_refuses(
    open_tier: OpenTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = await open_tier()
    await keep(tier, make_response(), b"x")

    def refuse(self: ContentFolder) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as failing:
        failing.setattr(ContentFolder, "clear", refuse)
        tier._index.submit(Damaged(tier._index.edition))
        await tier.flush()
        assert not await tier.flush()
        assert "denied" in tier.facts().index_counters.last_failure
        content = tier.new_content(make_response().key)
        await content.write(0, b"y")
        assert await content.enter(make_response()) is StoreOutcome.FULL
    assert await tier.flush(), "it tries again with every write"
    fresh = await keep(tier, make_response(), b"z")
    assert await tier.find_all("s1", PATH) == (fresh,)
    await tier.aclose()
    again = await open_tier()
    assert await again.find_all("s1", PATH) == (fresh,)
    assert again.new_content(make_response().key).incarnation > fresh.incarnation


# What is known without asking


def test_known_families_are_bounded_in_number_and_in_bytes() -> None:
    known = KnownFamilies(max_families=10, max_bytes=20_000)
    for number in range(20):
        known.begin(("s1", f"/{number}"))
        assert known.end(("s1", f"/{number}"), ())
    assert len(known) == 10
    large = make_response(pulled=make_pulled("e" * 9000))
    for number in range(20):
        known.begin(("s1", f"/large/{number}"))
        known.end(("s1", f"/large/{number}"), (large,))
    assert len(known) == 1
    known.forget_site("s2")
    assert len(known) == 1
    known.forget_site("s1")
    assert len(known) == known._bytes == 0
