"""Content that is stored while it comes in: bounds (DESIGN I10), cancelled callers, readers that take their time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cdn.edge.stored import StoreOutcome
from cdn.fleet.position import Position
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.pulled_responses import (
    PATH,
    OpenTier,
    chunk_files,
    entry_of,
    keep,
    make_response,
    read_all,
    write_all,
)


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
