"""Pulled responses in the disk tier when things go wrong: eviction, damage (DESIGN I5), kill -9 (I11), a bad index."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cdn.edge.disk_files import ChunkName, ContentFolder
from cdn.edge.disk_reconcile import Reconciled
from cdn.edge.disk_scrub import Scrubbed
from cdn.edge.disk_writes import Damaged
from cdn.edge.stored import StoreOutcome
from cdn.sites.manifest import CHUNK_BYTES
from tests.edge.pulled_responses import (
    PATH,
    OpenTier,
    chunk_files,
    content_of,
    keep,
    make_response,
    read_all,
    write_all,
)

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


# Sudden death


ROOT = Path(__file__).parents[2]

KILLED = """
import asyncio, pathlib, sys
from cdn.edge.disk_tier import DiskTier
from tests.edge.pulled_responses import content_of, make_response, write_all

async def main(folder, first):
    tier = await DiskTier.open(pathlib.Path(folder), 60_000_000)
    number = first
    while True:
        cut_off = [tier.new_content(make_response(path=f"/cut-off/{number}").key) for _ in range(2)]
        contents = [tier.new_content(make_response(path=f"/{each}").key) for each in range(number, number + 6)]
        await asyncio.gather(*(write_all(each, b"never entered") for each in cut_off))
        await asyncio.gather(*(write_all(each, content_of(number + at)) for at, each in enumerate(contents)))
        await asyncio.gather(*(each.enter(make_response(path=each.key.path)) for each in contents))
        number += 6
        assert await tier.flush()
        print(number, flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize("seed", [1, 2])
async def test_kill_at_any_moment_leaves_whole_responses_and_nothing_else(
    open_tier: OpenTier, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    written = 0
    for _ in range(2):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "tier"), str(written)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
            assert child.stdout is not None
            for _ in range(chance.randrange(1, 4)):
                written = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
        tier = await open_tier(max_bytes=60_000_000)
        for path in chunk_files(tmp_path / "tier"):
            os.utime(path, (1, 1))  # as old as they would be on a slower machine
        await tier.reconcile()
        for number in range(written + 12):
            found = await tier.find_all("s1", f"/{number}")
            assert len(found) == 1 or number >= written, "what was flushed is found again"
            for stored in found:
                assert await read_all(tier, stored) == content_of(number)
        await tier.flush()
        facts = tier.facts()
        assert facts.chunks == len(chunk_files(tmp_path / "tier"))
        with contextlib.closing(sqlite3.connect(tmp_path / "tier" / "index.sqlite")) as connection:
            (responses, of_stored) = connection.execute("SELECT count(*), sum(cost_bytes) FROM stored").fetchone()
            (of_content,) = connection.execute("SELECT sum(cost_bytes) FROM chunk").fetchone()
        assert (facts.responses, facts.cost_bytes) == (responses, of_stored + of_content)
        await tier.aclose()
