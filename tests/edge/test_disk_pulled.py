"""Responses of pull sites in the disk tier: found, replaced, updated, dropped; never across a floor (DESIGN I1)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdn.edge import disk_rows as rows
from cdn.edge.disk_families import KnownFamilies
from cdn.edge.disk_pulled_head import MAX_HEAD_BYTES
from cdn.edge.disk_writes import Remove, UpdateHead
from cdn.edge.stored import StoredResponse, StoreOutcome
from cdn.fleet.position import Position
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.pulled_responses import (
    PATH,
    OpenTier,
    chunk_files,
    entry_of,
    keep,
    make_pulled,
    make_response,
    read_all,
    update,
)

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


# Validation


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
    lower = await update(tier, stored, make_pulled("last", received_at=1300.0), admitted=8, at=1300.0)
    assert lower is not None
    assert (lower.admitted.sequence, lower.validated_at) == (9, 1300.0)


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


async def test_a_lookup_that_read_before_a_change_was_written_answers_with_the_change(open_tier: OpenTier) -> None:
    """The change was made before the lookup began, and is written and told before the lookup's answer comes."""
    tier = await open_tier()
    stored = await keep(tier, make_response(), b"x")
    await tier.flush()
    assert await tier.find_all("s1", PATH) == (stored,)
    hand_over, read = tier._index.hand_over, tier._index.read
    waiting: list[Any] = []
    is_read, may_return = asyncio.Event(), asyncio.Event()

    def held_write(write: Any) -> asyncio.Future[StoreOutcome]:
        done: asyncio.Future[StoreOutcome] = asyncio.get_running_loop().create_future()
        waiting.append((write, done))
        return done

    async def held_read(query: Callable[[sqlite3.Connection], Any]) -> Any:
        result = await read(query)
        is_read.set()
        await may_return.wait()
        return result

    tier._index.hand_over = held_write  # type: ignore[method-assign]
    tier._index.read = held_read  # type: ignore[method-assign]
    again = await update(tier, stored, make_pulled("2", received_at=1100.0))
    tier._pulled._families.clear()
    finding = asyncio.create_task(tier.find_all("s1", PATH))
    await is_read.wait()
    ((write, done),) = waiting
    done.set_result(await hand_over(write))
    await asyncio.sleep(0)
    may_return.set()
    assert await finding == (again,)
    assert await tier.find_all("s1", PATH) == (again,)


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
    for number in range(20):  # nothing is stored there, but visitors write long keys
        place = ("s1", f"/{number}" + "x" * 6000)
        known.begin(place)
        known.end(place, ())
    assert len(known) == 3
    known.forget_site("s1")
    assert len(known) == known._bytes == 0
