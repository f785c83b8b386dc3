"""The disk tier when things go wrong: damaged bytes (DESIGN I5), kill -9 (I11), a full disk, a broken index."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cdn.edge.disk_files import ChunkName, ContentFolder
from cdn.edge.disk_index import IndexUnavailable
from cdn.edge.disk_reconcile import Reconciled
from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import StoredKey, StoredResponse, StoreOutcome
from cdn.fleet.position import Position
from cdn.sites.manifest import CHUNK_BYTES, FileEntry

OpenTier = Callable[..., Awaitable[DiskTier]]
MakeStored = Callable[..., StoredResponse]


async def keep(tier: DiskTier, stored: StoredResponse, content: bytes) -> StoredResponse:
    admitted = await tier.admit(stored, 0)
    for number in range(admitted.entry.chunk_count):
        start, stop = admitted.entry.chunk_span(number)
        assert await tier.put_chunk(admitted, number, content[start:stop]) is StoreOutcome.STORED
    return admitted


def chunk_file(folder: Path, stored: StoredResponse, number: int = 0) -> Path:
    return ContentFolder(folder).path(ChunkName(stored.key.fingerprint(), stored.incarnation, number))


def flip_byte(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


# Damage


@pytest.mark.parametrize("size", [1, 1000, 70_000, CHUNK_BYTES])
async def test_a_flipped_byte_is_found_at_the_first_opening(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path, size: int
) -> None:
    tier = await open_tier()
    content = os.urandom(size)
    stored = await keep(tier, make_stored(content), content)
    await tier.aclose()
    path = chunk_file(tmp_path / "tier", stored)
    flip_byte(path, size // 2)
    again = await open_tier()
    assert await again.find(stored.key) == stored
    assert await again.read_chunk(stored, 0) is None
    assert again.counters.damaged == 1
    assert not path.exists()
    assert await again.put_chunk(stored, 0, content) is StoreOutcome.STORED
    assert await again.read_chunk(stored, 0) == content
    await again.aclose()
    last = await open_tier()
    assert await last.find(stored.key) == stored
    assert await last.read_chunk(stored, 0) == content


async def test_only_the_damaged_chunk_of_a_large_file_goes(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    tier = await open_tier()
    content = os.urandom(3 * CHUNK_BYTES)
    stored = await keep(tier, make_stored(content), content)
    await tier.aclose()
    flip_byte(chunk_file(tmp_path / "tier", stored, 1), 77)
    again = await open_tier()
    read = [await again.read_chunk(stored, number) for number in range(3)]
    assert [each is not None for each in read] == [True, False, True]
    await again.flush()
    assert again.facts().chunks == 2


@pytest.mark.parametrize("length", [0, 1, 999_999, CHUNK_BYTES + 1])
async def test_a_torn_file_is_damage_not_a_crash(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path, length: int
) -> None:
    tier = await open_tier()
    content = os.urandom(CHUNK_BYTES)
    stored = await keep(tier, make_stored(content), content)
    await tier.aclose()
    os.truncate(chunk_file(tmp_path / "tier", stored), length)
    again = await open_tier()
    assert await again.read_chunk(stored, 0) is None
    assert again.counters.damaged == 1


async def test_chunks_that_changed_places_are_damage(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    tier = await open_tier()
    content = os.urandom(2 * CHUNK_BYTES)
    stored = await keep(tier, make_stored(content), content)
    await tier.aclose()
    chunk_file(tmp_path / "tier", stored, 0).replace(chunk_file(tmp_path / "tier", stored, 1))
    again = await open_tier()
    assert await again.read_chunk(stored, 0) is None
    assert await again.read_chunk(stored, 1) is None
    assert (again.counters.missing, again.counters.damaged) == (1, 1)


async def test_a_file_that_cannot_be_opened_is_not_taken_for_damaged(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_stored(b"x"), b"x")
    path = chunk_file(tmp_path / "tier", stored)
    path.rename(path.with_suffix(".aside"))
    path.mkdir()
    assert await tier.read_chunk(stored, 0) is None
    assert tier.counters.unreadable == 1
    path.rmdir()
    path.with_suffix(".aside").rename(path)
    assert await tier.read_chunk(stored, 0) == b"x"


# Files and index apart


async def test_reconciling_brings_files_and_index_together(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    tier = await open_tier()
    kept = await keep(tier, make_stored(b"k", path="/k"), b"k")
    lost = await keep(tier, make_stored(b"l", path="/l"), b"l")
    await tier.aclose()
    chunk_file(tmp_path / "tier", lost).unlink()
    beside = chunk_file(tmp_path / "tier", kept)
    orphan = beside.with_name(beside.name[:-1] + "7")
    orphan.write_bytes(b"orphan")
    foreign = beside.with_name("notes.txt")
    foreign.write_bytes(b"foreign")
    os.utime(orphan, (1, 1))
    again = await open_tier()
    written_now = beside.with_name(beside.name[:-1] + "8")
    written_now.write_bytes(b"its row is on the way")
    os.utime(written_now, (2**32, 2**32))
    assert await again.reconcile() == Reconciled(orphan_files=2, lost_rows=1)
    await again.flush()
    assert not orphan.exists()
    assert not foreign.exists()
    assert written_now.exists()
    assert again.facts().responses == 1
    assert await again.read_chunk(kept, 0) == b"k"
    assert await again.reconcile() == Reconciled(0, 0)


async def test_it_reconciles_by_itself_after_a_start(
    open_tier: OpenTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.edge.disk_tier.RECONCILE_PAUSE_S", 0.0)
    orphan = tmp_path / "tier" / "content" / "fff" / ("f" * 32 + "-1-0")
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"orphan")
    os.utime(orphan, (1, 1))
    await open_tier(reconciles=True)
    while orphan.exists():
        await asyncio.sleep(0)


async def test_what_a_killed_write_left_is_cleared_at_a_start(open_tier: OpenTier, tmp_path: Path) -> None:
    incoming = tmp_path / "tier" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "0").write_bytes(b"half")
    await open_tier()
    assert list(incoming.iterdir()) == []


# The index broken


@pytest.mark.parametrize("breakage", ["garbage", "version"])
async def test_a_broken_index_at_a_start_means_starting_cold(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path, breakage: str
) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_stored(b"x"), b"x")
    await tier.aclose()
    index = tmp_path / "tier" / "index.sqlite"
    if breakage == "garbage":
        index.write_bytes(random.Random(1).randbytes(50_000))
    else:
        connection = sqlite3.connect(index)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    again = await open_tier()
    assert await again.find(stored.key) is None
    assert not chunk_file(tmp_path / "tier", stored).exists()
    assert await keep(again, make_stored(b"x"), b"x")


async def test_an_index_that_breaks_while_serving_is_begun_anew(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    tier = await open_tier()
    for number in range(500):
        await keep(tier, make_stored(b"x", path=f"/{number}"), b"x")
    await tier.flush()
    with (tmp_path / "tier" / "index.sqlite-wal").open("r+b") as wal:
        wal.truncate(0)
    with (tmp_path / "tier" / "index.sqlite").open("r+b") as index:
        index.seek(0)
        index.write(b"\xff" * 200_000)
    for number in range(200):
        stored = await tier.admit(make_stored(b"y", path=f"/y{number}"), 0)
        await tier.put_chunk(stored, 0, b"y")
        await tier.flush()
        if tier.facts().index_counters.rebuilds:
            break
    assert tier.facts().index_counters.rebuilds >= 1
    fresh = await keep(tier, make_stored(b"z", path="/z"), b"z")
    assert await tier.flush()
    await tier.aclose()
    again = await open_tier()
    assert await again.find(fresh.key) == fresh
    assert await again.read_chunk(fresh, 0) == b"z"
    later = await again.admit(make_stored(b"zz", path="/zz"), 0)
    assert later.incarnation > fresh.incarnation


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(IndexUnavailable, match="file"):
        await DiskTier.open(tmp_path / "file", 1000)
    (tmp_path / "tier" / "index.sqlite").mkdir(parents=True)
    with pytest.raises(IndexUnavailable, match=r"index\.sqlite"):
        await DiskTier.open(tmp_path / "tier", 1000)


async def test_a_locked_index_makes_a_miss_not_an_error(
    open_tier: OpenTier, make_stored: MakeStored, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_stored(b"x"), b"x")
    await tier.flush()
    tier._known.clear()

    def refuse() -> sqlite3.Connection:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(tier._index, "_reader", refuse)
    assert await tier.find(stored.key) is None
    with pytest.raises(IndexUnavailable, match="locked"):
        await tier.sweep("s1", Position("e1", 9), lambda each: True)
    assert tier.facts().index_counters.failed_reads == 2
    monkeypatch.undo()
    assert await tier.find(stored.key) == stored


# A full disk


def run_child(script: str, *arguments: str, prefix: tuple[str, ...] = ()) -> str:
    """Run a script in a process of its own; what it printed."""
    command = [*prefix, sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


FULL_DISK = """
import asyncio, hashlib, os, pathlib, resource, subprocess, sys
from cdn.edge import disk_eviction, disk_index
from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import StoredKey, StoredResponse, StoreOutcome
from cdn.fleet.position import Position
from cdn.sites.manifest import FileEntry

disk_eviction.RELIEF_INTERVAL_S = 0.0
disk_eviction.RELIEF_BYTES = 1 << 20

def make(number, size):
    content = hashlib.shake_128(b"%d" % number).digest(size)
    digest = hashlib.sha256(content).hexdigest()
    key = StoredKey("s1", f"/{number}", digest)
    return StoredResponse(key, FileEntry(digest, size), (), (), Position("e", 1), 1.0, 1.0), content

async def put(tier, number, size):
    stored, content = make(number, size)
    stored = await tier.admit(stored, 0)
    return await tier.put_chunk(stored, 0, content)

async def count_right(tier, numbers, size):
    right = 0
    for number in numbers:
        stored, content = make(number, size)
        found = await tier.find(stored.key)
        if found is not None:
            read = await tier.read_chunk(found, 0)
            assert read is None or read == content
            right += read is not None
    return right
"""

FILLED_BY_OTHERS = (
    FULL_DISK
    + """
async def main(folder):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    size = 100_000
    tier = await DiskTier.open(pathlib.Path(folder), 1 << 30, reconciles=False)
    outcomes = []
    for number in range(150):
        outcomes.append(await put(tier, number, size))
        if outcomes[-1] is not StoreOutcome.STORED:
            await tier.flush()  # the room is made by the time the next one comes
    assert StoreOutcome.FULL in outcomes and tier.counters.full > 0
    assert outcomes[-1] is StoreOutcome.STORED or outcomes[-2] is StoreOutcome.STORED, "it makes room for itself"
    await tier.flush()
    assert await count_right(tier, range(150), size) > 20
    assert tier.facts().index_counters.evicted_chunks > 0

    disk_eviction.RELIEF_BYTES = 1  # from here on others take every byte that is given up
    async def fill():
        with open(folder + "/foreign", "ab", buffering=0) as foreign:
            try:
                while True:
                    foreign.write(bytes(4096))
            except OSError:
                pass
    held = await count_right(tier, range(150), size)
    await fill()
    for number in range(150, 160):
        assert await put(tier, number, size) is not StoreOutcome.STORED
        await tier.flush()
        await fill()
    assert await count_right(tier, range(150), size) >= held - 40, "it goes on serving"

    os.unlink(folder + "/foreign")
    for _ in range(20):  # what the others gave back may be less than is needed: it makes room again
        if await put(tier, 500, size) is StoreOutcome.STORED and await tier.flush():
            break
    else:
        raise SystemExit(f"it never recovered: {tier.facts()}")
    await tier.aclose()
    tier = await DiskTier.open(pathlib.Path(folder), 1 << 30, reconciles=False)
    await tier.reconcile()
    assert await count_right(tier, [500], size) == 1
    assert await count_right(tier, range(150), size) > 0
    await tier.aclose()
    print("served throughout")

asyncio.run(main(sys.argv[1]))
"""
)

WRITES_REFUSED = (
    FULL_DISK
    + """
async def main(folder):
    tier = await DiskTier.open(pathlib.Path(folder), 1 << 30, reconciles=False)
    for number in range(20):
        assert await put(tier, number, 1000) is StoreOutcome.STORED
    assert await tier.flush()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
    assert await put(tier, 100, 300_000) is StoreOutcome.FULL
    is_written = True
    for number in range(200, 1000):
        await put(tier, number, 1000)
        is_written = await tier.flush()
        if not is_written:
            break
    assert not is_written and tier.facts().index_counters.failed_writes > 0
    try:
        await tier.sweep("s2", Position("e", 9), lambda stored: True)
        raise SystemExit("a sweep that was not written must not count as done")
    except disk_index.IndexUnavailable:
        pass
    assert await count_right(tier, range(20), 1000) > 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert await put(tier, 2000, 300_000) is StoreOutcome.STORED
    assert await tier.flush(), tier.facts()
    await tier.aclose()
    tier = await DiskTier.open(pathlib.Path(folder), 1 << 30, reconciles=False)
    assert await count_right(tier, [2000], 300_000) == 1
    await tier.aclose()
    print("served throughout")

asyncio.run(main(sys.argv[1]))
"""
)


def test_writes_that_the_system_refuses_do_not_stop_serving(tmp_path: Path) -> None:
    """The index cannot grow, content neither; when the limit is lifted everything works again."""
    assert run_child(WRITES_REFUSED, str(tmp_path)) == "served throughout\n"


def test_a_full_disk_does_not_stop_serving(tmp_path: Path) -> None:
    """A file system of 8 MiB, mounted where only the child sees it; without that right, the refusals above stand in."""
    private = ("unshare", "--map-root-user", "--mount")
    can_mount = subprocess.run([*private, "true"], capture_output=True, check=False).returncode == 0
    script = FILLED_BY_OTHERS if can_mount else WRITES_REFUSED
    assert run_child(script, str(tmp_path), prefix=private if can_mount else ()) == "served throughout\n"


# Sudden death


KILLED = """
import asyncio, hashlib, pathlib, sys
from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import StoredKey, StoredResponse
from cdn.fleet.position import Position
from cdn.sites.manifest import FileEntry

async def main(folder, first):
    tier = await DiskTier.open(pathlib.Path(folder), 40_000_000)
    number = first
    while True:
        batch = []
        for number in range(number, number + 20):
            content = hashlib.shake_128(b"%d" % number).digest(1 + number * 7919 % 200_000)
            digest = hashlib.sha256(content).hexdigest()
            key = StoredKey("s1", f"/{number}", digest)
            stored = StoredResponse(key, FileEntry(digest, len(content)), (), (), Position("e", 1), 1.0, 1.0)
            batch.append(tier.put_chunk(await tier.admit(stored, 0), 0, content))
        await asyncio.gather(*batch)
        number += 1
        assert await tier.flush()
        print(number, flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def content_of(number: int) -> bytes:
    return hashlib.shake_128(b"%d" % number).digest(1 + number * 7919 % 200_000)


@pytest.mark.parametrize("seed", [1, 2])
async def test_kill_at_any_moment_leaves_a_warm_tier_without_a_wrong_byte(
    open_tier: OpenTier, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    written = 0
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "tier"), str(written)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(chance.randrange(1, 4)):
            written = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        tier = await open_tier(max_bytes=40_000_000)
        await check_after_kill(tier, tmp_path / "tier", written)
        await tier.aclose()


async def check_after_kill(tier: DiskTier, folder: Path, written: int) -> None:
    for number in range(written + 40):
        content = content_of(number)
        digest = hashlib.sha256(content).hexdigest()
        found = await tier.find(StoredKey("s1", f"/{number}", digest))
        if number < written:
            assert found is not None, "everything that was flushed is found again"
        if found is not None:
            assert found.entry == FileEntry(digest, len(content))
            assert await tier.read_chunk(found, 0) == content
    await tier.reconcile()
    await tier.flush()
    files = [path for path in (folder / "content").rglob("*") if path.is_file()]
    assert tier.facts().chunks == len(files)
    connection = sqlite3.connect(folder / "index.sqlite")
    counted = connection.execute("SELECT count(*), sum(cost_bytes) FROM chunk").fetchone()
    stored = connection.execute("SELECT count(*), sum(cost_bytes) FROM stored").fetchone()
    connection.close()
    facts = tier.facts()
    assert (facts.chunks, facts.responses, facts.cost_bytes) == (counted[0], stored[0], counted[1] + stored[1])
