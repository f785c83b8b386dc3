"""The disk tier: what it keeps, what it gives back, floors (DESIGN I1), the bound (I10), restarts (I11)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cdn.edge import disk_rows as rows
from cdn.edge.disk_files import ChunkName, ContentFolder, parse_file_name
from cdn.edge.disk_known import KnownResponses, OpenMaps, VerifiedChunks
from cdn.edge.disk_tier import DiskTier
from cdn.edge.disk_writes import MAX_HORIZONS
from cdn.edge.stored import ResidenceClock, StoredResponse, StoreOutcome
from cdn.fleet.position import Position
from cdn.sites.manifest import CHUNK_BYTES

OpenTier = Callable[..., Awaitable[DiskTier]]
MakeStored = Callable[..., StoredResponse]


async def keep(tier: DiskTier, stored: StoredResponse, content: bytes, *, hard: int = 0) -> StoredResponse:
    """Admit a response and store all its chunks."""
    admitted = await tier.admit(stored, hard)
    for number in range(admitted.entry.chunk_count):
        start, stop = admitted.entry.chunk_span(number)
        assert await tier.put_chunk(admitted, number, content[start:stop]) is StoreOutcome.STORED
    return admitted


def chunk_files(tier_folder: Path) -> list[Path]:
    return sorted(path for path in (tier_folder / "content").rglob("*") if path.is_file())


async def test_content_comes_back_as_it_was_put(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    contents = [b"", b"small", b"x" * 70_000, bytes(range(256)) * 4096, b"y" * (2 * CHUNK_BYTES + 17)]
    for number, content in enumerate(contents):
        stored = await keep(tier, make_stored(content, path=f"/{number}"), content)
        assert await tier.find(stored.key) == stored
        read = [await tier.read_chunk(stored, each) for each in range(stored.entry.chunk_count)]
        assert b"".join(each for each in read if each is not None) == content
    assert await tier.flush()
    assert tier.facts().responses == len(contents)


async def test_large_chunks_are_mapped_and_opened_once(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    content = os.urandom(CHUNK_BYTES)
    stored = await keep(tier, make_stored(content), content)
    first, second = await asyncio.gather(tier.read_chunk(stored, 0), tier.read_chunk(stored, 0))
    assert isinstance(first, memoryview)
    assert first is second is await tier.read_chunk(stored, 0)
    assert first.readonly


async def test_what_is_not_stored_is_not_found(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    content = b"z" * (CHUNK_BYTES + 1)
    stored = make_stored(content)
    assert await tier.find(stored.key) is None
    assert await tier.read_chunk(stored, 0) is None
    admitted = await tier.admit(stored, 0)
    await tier.put_chunk(admitted, 1, content[CHUNK_BYTES:])
    assert await tier.read_chunk(admitted, 0) is None
    assert await tier.read_chunk(admitted, 1) == b"z"
    other_site = make_stored(content, site_id="s2")
    assert await tier.find(other_site.key) is None


async def test_it_starts_warm(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    content = b"w" * (CHUNK_BYTES + 5)
    stored = await keep(tier, make_stored(content, path="/größe.txt", tags=("a", "b c")), content)
    await tier.aclose()
    again = await open_tier()
    assert await again.find(stored.key) == stored
    assert await again.read_chunk(stored, 0) == content[:CHUNK_BYTES]
    assert await again.read_chunk(stored, 1) == content[CHUNK_BYTES:]
    assert again.facts().cost_bytes == tier.facts().cost_bytes > len(content)


async def test_incarnations_rise_over_restarts(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    first = await keep(tier, make_stored(b"a"), b"a")
    await tier.aclose()
    again = await open_tier()
    second = await again.admit(make_stored(b"b", path="/b"), 0)
    assert second.incarnation > first.incarnation


# Floors


async def test_below_a_hard_floor_the_key_is_admitted_anew_without_its_old_chunks(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    tier = await open_tier()
    content = b"c" * (CHUNK_BYTES + 5)
    old = await keep(tier, make_stored(content, admitted=5), content)
    new = await tier.admit(make_stored(content, admitted=9), 7)
    assert new.incarnation > old.incarnation
    assert await tier.find(new.key) == new
    assert await tier.read_chunk(new, 0) is None
    assert await tier.read_chunk(new, 1) is None
    assert await tier.put_chunk(new, 1, content[CHUNK_BYTES:]) is StoreOutcome.STORED
    assert await tier.put_chunk(old, 0, content[:CHUNK_BYTES]) is StoreOutcome.SUPERSEDED
    await tier.flush()
    assert [path.name[-2:] for path in chunk_files(tmp_path / "tier")] == ["-1"]
    await tier.aclose()
    again = await open_tier()
    assert await again.find(new.key) == new
    assert await again.read_chunk(new, 0) is None


async def test_an_old_admission_never_replaces_a_newer_one_in_the_index(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    """Even when the loop no longer remembers the newer one."""
    tier = await open_tier()
    old = await tier.admit(make_stored(b"x", admitted=5), 0)
    new = await keep(tier, make_stored(b"x", admitted=9), b"x", hard=7)
    await tier.flush()
    tier._known.clear()
    await tier.put_chunk(old, 0, b"x")
    await tier.flush()
    tier._known.clear()
    assert await tier.find(new.key) == new
    assert len(chunk_files(tmp_path / "tier")) == 1


async def test_admitting_joins_what_may_still_be_used(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    admitted = await asyncio.gather(*(tier.admit(make_stored(b"x", admitted=at), 0) for at in range(5, 105)))
    assert len({each.incarnation for each in admitted}) == 1
    assert (await tier.admit(make_stored(b"x", admitted=200), 5)).incarnation == admitted[0].incarnation
    assert (await tier.admit(make_stored(b"x", admitted=200, epoch="e2"), 0)).incarnation > admitted[0].incarnation


async def test_other_chunk_digests_under_one_digest_are_another_content(
    open_tier: OpenTier, make_stored: MakeStored
) -> None:
    """A manifest may lie about the chunks of a digest; it must not spoil that digest for an honest one."""
    tier = await open_tier()
    content = b"h" * (CHUNK_BYTES + 5)
    honest = make_stored(content)
    lying = make_stored(b"l" * (CHUNK_BYTES + 5))
    first = await tier.admit(StoredResponse(honest.key, lying.entry, (), (), honest.admitted, 1.0, 1.0), 0)
    second = await tier.admit(honest, 0)
    assert second.entry == honest.entry
    assert second.incarnation > first.incarnation


async def test_a_floor_raised_before_the_write_leaves_nothing(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    tier = await open_tier()
    stored = await tier.admit(make_stored(b"x", admitted=5), 0)
    outcome = await tier.put_chunk(stored, 0, b"x", may_store=lambda admitted: admitted.sequence >= 6)
    assert outcome is StoreOutcome.DETACHED
    assert chunk_files(tmp_path / "tier") == []


async def test_a_floor_raised_during_the_write_leaves_nothing(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    tier = await open_tier()
    stored = await tier.admit(make_stored(b"x", admitted=5), 0)
    answers = iter([True, False])
    outcome = await tier.put_chunk(stored, 0, b"x", may_store=lambda admitted: next(answers))
    assert outcome is StoreOutcome.DETACHED
    await tier.flush()
    assert chunk_files(tmp_path / "tier") == []
    tier._known.clear()
    assert await tier.find(stored.key) is None


async def test_validation_admits_again_but_never_across_a_hard_floor(
    open_tier: OpenTier, make_stored: MakeStored
) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_stored(b"x", admitted=5, at=1000.0), b"x")
    assert await tier.revalidated(stored, Position("e1", 9), 1100.0, hard=7) is None
    assert await tier.find(stored.key) == stored
    again = await tier.revalidated(stored, Position("e1", 9), 1100.0, hard=5)
    assert again is not None
    assert (again.admitted.sequence, again.validated_at, again.stored_at) == (9, 1100.0, 1000.0)
    await tier.aclose()
    reopened = await open_tier()
    assert await reopened.find(stored.key) == again
    assert await reopened.read_chunk(again, 0) == b"x"


async def test_validation_of_another_epoch_is_for_responses_without_a_floor(
    open_tier: OpenTier, make_stored: MakeStored
) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_stored(b"x", admitted=500, epoch="old"), b"x")
    assert await tier.revalidated(stored, Position("new", 9), 1100.0, hard=3) is None
    again = await tier.revalidated(stored, Position("new", 9), 1100.0, hard=0)
    assert again is not None
    assert again.admitted == Position("new", 9)


async def test_validation_of_what_was_replaced_does_nothing(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    old = await keep(tier, make_stored(b"x", admitted=5), b"x")
    new = await keep(tier, make_stored(b"x", admitted=9), b"x", hard=7)
    assert await tier.revalidated(old, Position("e1", 20), 1100.0, hard=0) is None
    assert await tier.find(new.key) == new


async def test_a_late_validation_never_lowers(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_stored(b"x", admitted=5, at=1000.0), b"x")
    await tier.revalidated(stored, Position("e1", 20), 1200.0, hard=0)
    late = await tier.revalidated(stored, Position("e1", 10), 1100.0, hard=0)
    assert late is not None
    assert (late.admitted.sequence, late.validated_at) == (20, 1200.0)


# Sweeps


async def test_a_sweep_removes_what_is_unusable_and_nothing_else(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    tier = await open_tier()
    kept = [await keep(tier, make_stored(b"k", path=f"/k{n}", admitted=9), b"k") for n in range(300)]
    swept = [await keep(tier, make_stored(b"s", path=f"/s{n}", admitted=5), b"s") for n in range(300)]
    other = await keep(tier, make_stored(b"o", site_id="s2", admitted=5), b"o")
    removed = await tier.sweep("s1", Position("e1", 9), lambda stored: stored.admitted.sequence < 7)
    assert removed == 300
    assert [await tier.find(stored.key) for stored in swept] == [None] * 300
    assert [await tier.read_chunk(stored, 0) for stored in swept] == [None] * 300
    assert [await tier.read_chunk(stored, 0) for stored in kept] == [b"k"] * 300
    assert await tier.read_chunk(other, 0) == b"o"
    assert len(chunk_files(tmp_path / "tier")) == 301
    await tier.aclose()
    again = await open_tier()
    assert [await again.find(stored.key) for stored in swept[:10]] == [None] * 10
    assert again.facts().responses == 301


async def test_removing_a_site_leaves_the_others(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    ours = await keep(tier, make_stored(b"x", site_id="s1"), b"x")
    theirs = await keep(tier, make_stored(b"x", site_id="s2"), b"x")
    assert await tier.remove_site("s1", Position("e1", 9)) == 1
    assert await tier.find(ours.key) is None
    assert await tier.read_chunk(theirs, 0) == b"x"


async def test_a_fetch_that_outlived_a_sweep_is_not_stored(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    """The floors are forgotten after the sweep, so nobody but the tier can still refuse it."""
    tier = await open_tier()
    content = b"x" * (CHUNK_BYTES + 5)
    stored = await tier.admit(make_stored(content, admitted=5), 0)
    await tier.put_chunk(stored, 0, content[:CHUNK_BYTES])
    await tier.sweep("s1", Position("e1", 9), lambda each: each.admitted.sequence < 7)
    await tier.put_chunk(stored, 1, content[CHUNK_BYTES:])
    await tier.flush()
    assert await tier.find(stored.key) is None
    assert chunk_files(tmp_path / "tier") == []
    fresh = await keep(tier, make_stored(content, admitted=9), content)
    assert await tier.find(stored.key) == fresh


async def test_a_response_that_a_sweep_spared_takes_more_chunks(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    content = b"x" * (CHUNK_BYTES + 5)
    stored = await tier.admit(make_stored(content, admitted=5), 0)
    await tier.put_chunk(stored, 0, content[:CHUNK_BYTES])
    await tier.sweep("s1", Position("e1", 9), lambda each: False)
    await tier.put_chunk(stored, 1, content[CHUNK_BYTES:])
    await tier.aclose()
    again = await open_tier()
    assert await again.find(stored.key) == stored
    assert await again.read_chunk(stored, 1) == content[CHUNK_BYTES:]


async def test_a_response_that_a_sweep_spared_and_whose_chunk_was_lost_is_admitted_anew(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    """Its old admission cannot be judged any more; keeping it would mean fetching for it in vain for ever."""
    tier = await open_tier()
    spared = await keep(tier, make_stored(b"x", admitted=5), b"x")
    await tier.sweep("s1", Position("e1", 9), lambda each: False)
    (path,) = chunk_files(tmp_path / "tier")
    path.write_bytes(b"y")
    tier._reader.verified.drop((spared.incarnation, 0))
    assert await tier.read_chunk(spared, 0) is None
    again = await keep(tier, make_stored(b"x", admitted=9), b"x")
    assert again == spared
    await tier.flush()
    anew = await keep(tier, make_stored(b"x", admitted=9), b"x")
    assert anew.incarnation > spared.incarnation
    await tier.flush()
    assert await tier.read_chunk(anew, 0) == b"x"
    assert tier.facts().responses == 1


@pytest.mark.parametrize("sites", [1, MAX_HORIZONS + 1])
async def test_a_sweep_of_an_earlier_epoch_stops_nothing(
    open_tier: OpenTier, make_stored: MakeStored, sites: int
) -> None:
    tier = await open_tier()
    for number in range(sites):
        tier._index._horizons.raise_to(f"s{number}", Position("e0", 900))
    stored = await keep(tier, make_stored(b"x", site_id="s0", admitted=5, epoch="e1"), b"x")
    await tier.flush()
    assert await tier.read_chunk(stored, 0) == b"x"
    assert tier.facts().responses == 1


async def test_a_lookup_that_raced_a_sweep_does_not_bring_a_response_back(
    open_tier: OpenTier, make_stored: MakeStored
) -> None:
    tier = await open_tier()
    stored = await keep(tier, make_stored(b"x", admitted=5), b"x")
    await tier.flush()
    tier._known.clear()
    read, is_read, may_return = tier._index.read, asyncio.Event(), asyncio.Event()

    async def held_read(query: Callable[[sqlite3.Connection], Any]) -> Any:
        result = await read(query)
        if isinstance(result, StoredResponse):
            is_read.set()
            await may_return.wait()
        return result

    tier._index.read = held_read  # type: ignore[method-assign]
    finding = asyncio.create_task(tier.find(stored.key))
    await is_read.wait()
    await tier.sweep("s1", Position("e1", 9), lambda each: each.admitted.sequence < 7)
    may_return.set()
    assert await finding is None
    assert await tier.find(stored.key) is None


async def test_what_is_only_remembered_is_swept_as_well(open_tier: OpenTier, make_stored: MakeStored) -> None:
    """A response that was admitted, of which no chunk was stored yet."""
    tier = await open_tier()
    stored = await tier.admit(make_stored(b"x", admitted=5), 0)
    await tier.sweep("s1", Position("e1", 9), lambda each: each.admitted.sequence < 7)
    assert await tier.find(stored.key) is None


# The bound


async def test_the_bound_holds_and_the_least_recently_used_goes_first(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    cost = rows.chunk_cost(10_000) + rows.ROW_BYTES + 40
    tier = await open_tier(max_bytes=50 * cost)
    stored: list[StoredResponse] = []
    contents = [bytes([n]) * 10_000 for n in range(100)]
    for number in range(40):
        stored.append(await keep(tier, make_stored(contents[number], path=f"/{number}"), contents[number]))
    for used in range(10):
        assert await tier.read_chunk(stored[used], 0) is not None
    for touched in range(10, 15):
        tier.touch(stored[touched].key)
    for number in range(40, 70):
        stored.append(await keep(tier, make_stored(contents[number], path=f"/{number}"), contents[number]))
    await tier.flush()
    facts = tier.facts()
    assert facts.cost_bytes <= facts.max_bytes
    assert facts.index_counters.evicted_chunks == 70 - facts.chunks > 0
    files = chunk_files(tmp_path / "tier")
    assert len(files) == facts.chunks
    assert sum(path.stat().st_size for path in files) <= facts.max_bytes
    found = [await tier.find(each.key) is not None for each in stored]
    assert all(found[:15])
    assert not any(found[15 : 15 + facts.index_counters.evicted_chunks])
    assert all(found[15 + facts.index_counters.evicted_chunks :])


async def test_a_file_larger_than_the_tier_does_not_stop_it(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier(max_bytes=3 * CHUNK_BYTES)
    content = os.urandom(8 * CHUNK_BYTES)
    stored = await keep(tier, make_stored(content), content)
    await tier.flush()
    assert tier.facts().cost_bytes <= 3 * CHUNK_BYTES
    assert await tier.read_chunk(stored, 7) == content[7 * CHUNK_BYTES :]
    assert await tier.read_chunk(stored, 0) is None


async def test_what_cannot_fit_at_all_is_refused(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier(max_bytes=1000)
    stored = await tier.admit(make_stored(b"x" * 2000), 0)
    assert await tier.put_chunk(stored, 0, b"x" * 2000) is StoreOutcome.TOO_LARGE


async def test_a_tier_reopened_with_a_smaller_bound_shrinks(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    for number in range(50):
        await keep(tier, make_stored(b"x", path=f"/{number}"), b"x")
    await tier.aclose()
    again = await open_tier(max_bytes=100_000)
    await keep(again, make_stored(b"y"), b"y")
    await again.flush()
    assert 0 < again.facts().cost_bytes <= 100_000


async def test_a_busy_index_refuses_chunks_instead_of_queueing_them(
    open_tier: OpenTier, make_stored: MakeStored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.edge.disk_index.MAX_QUEUED_WRITES", 0)
    tier = await open_tier()
    stored = await tier.admit(make_stored(b"x"), 0)
    assert await tier.put_chunk(stored, 0, b"x") is StoreOutcome.BUSY


async def test_a_hit_writes_nothing(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    small = await keep(tier, make_stored(b"x"), b"x")
    large_content = b"y" * CHUNK_BYTES
    large = await keep(tier, make_stored(large_content, path="/y"), large_content)
    await tier.flush()
    commits = tier.facts().index_counters.commits
    for _ in range(200):
        await tier.find(small.key)
        await tier.read_chunk(small, 0)
        await tier.read_chunk(large, 0)
        tier.touch(small.key)
    assert tier.facts().index_counters.commits == commits
    assert tier.facts().queued_writes == 0


async def test_access_times_waiting_are_bounded(
    open_tier: OpenTier, make_stored: MakeStored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdn.edge.disk_use.MAX_TOUCHED", 10)
    tier = await open_tier()
    for number in range(100):
        tier.touch(make_stored(b"x", path=f"/{number}").key)
        assert len(tier._use._keys) <= 10


def test_known_responses_are_bounded_in_number_and_in_chunks(make_stored: MakeStored) -> None:
    known = KnownResponses(max_responses=10, max_chunks=20)
    small = [make_stored(b"x", path=f"/{n}") for n in range(12)]
    for stored in small:
        known.put(stored.key, stored)
    assert len(known) == 10
    assert known.get(small[1].key) is None
    large = [make_stored(b"x" * (7 * CHUNK_BYTES + n), path=f"/l{n}") for n in range(3)]
    for stored in large:
        known.put(stored.key, stored)
    assert [known.get(stored.key) is not None for stored in large] == [False, True, True]
    known.put(large[1].key, None)
    assert large[1].key in known
    known.drop(large[1].key)
    assert large[1].key not in known


def test_open_maps_and_verified_chunks_are_bounded() -> None:
    maps = OpenMaps(2)
    for number in range(3):
        maps.put((1, number), memoryview(b"x"))
    assert (len(maps), maps.get((1, 0))) == (2, None)
    verified = VerifiedChunks(2)
    for number in range(3):
        verified.add((1, number))
    assert [(1, number) in verified for number in range(3)] == [False, True, True]


# The index at size


STATEMENTS = {
    rows.SELECT_BY_FINGERPRINT: (b"",),
    rows.SELECT_BY_SITE: ("", 0, 1),
    rows.SELECT_OLDEST: (1, 0),
    rows.SELECT_SHARD: (b"", b""),
    rows.TOUCH_CHUNK: (1, 1, 1),
    rows.TOUCH_FIRST: (1, b""),
}


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_no_statement_walks_a_table(open_tier: OpenTier, tmp_path: Path, statement: str) -> None:
    tier = await open_tier()
    await tier.aclose()
    connection = sqlite3.connect(tmp_path / "tier" / "index.sqlite")
    plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement, STATEMENTS[statement])]
    connection.close()
    assert not any("TEMP B-TREE" in step for step in plan)
    walks = [step for step in plan if step.startswith("SCAN")]
    if statement == rows.SELECT_OLDEST:
        assert walks == ["SCAN c USING INDEX chunk_by_access"]  # in order of access, up to the limit
    else:
        assert walks == []


async def test_a_flush_is_synced_even_when_there_was_nothing_to_write(open_tier: OpenTier, tmp_path: Path) -> None:
    """SQLite leaves out the sync of a commit that changes nothing."""
    tier = await open_tier()
    await tier.flush()
    wal = tmp_path / "tier" / "index.sqlite-wal"
    before = wal.read_bytes()
    await tier.flush()
    assert wal.read_bytes() != before


async def test_totals_are_read_not_counted_at_a_start(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    tier = await open_tier()
    await keep(tier, make_stored(b"x"), b"x")
    await tier.aclose()
    connection = sqlite3.connect(tmp_path / "tier" / "index.sqlite")
    connection.execute("UPDATE total SET responses = 1000000, chunks = 1000000")
    connection.commit()
    connection.close()
    assert (await open_tier()).facts().responses == 1_000_000


def test_file_names_say_what_they_hold() -> None:
    name = ChunkName(bytes(range(16)), (7 << 36) + 3, 4711)
    assert parse_file_name(name.file_name()) == name
    for foreign in ("", "x", name.file_name() + "0x", "00-1-1-", name.file_name().upper(), "lost+found"):
        assert parse_file_name(foreign) in (None, ChunkName(b"\0", 1, 1))


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ContentFolder(tmp_path)
    files.prepare()
    name = ChunkName(bytes(16), 1, 0)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        files.write(name, b"x")
    assert list((tmp_path / "incoming").iterdir()) == []


def test_residence_is_monotonic_and_a_remembered_future_means_now() -> None:
    clock = ResidenceClock(started_wall_s=1_000_000.0, started_monotonic_s=50.0)
    assert clock.wall(60.0) == 1_000_010.0
    assert clock.monotonic(1_000_010.0, now=70.0) == 60.0
    assert clock.monotonic(999_000.0, now=70.0) == -950.0
    assert clock.monotonic(2_000_000.0, now=70.0) == 70.0


async def test_other_tags_are_another_admission(open_tier: OpenTier, make_stored: MakeStored) -> None:
    """The floor was asked for the new tags; it says nothing of what was stored under the old ones."""
    tier = await open_tier()
    old = await keep(tier, make_stored(b"x", tags=("old",)), b"x")
    new = await tier.admit(make_stored(b"x", tags=("new",)), 0)
    assert new.tags == ("new",)
    assert new.incarnation > old.incarnation
    assert await tier.read_chunk(new, 0) is None
