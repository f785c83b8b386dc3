"""Fetching chunks: checked on entry (DESIGN I5), collapsed (I6), detached by floors (I1), bounded (I10)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cdn.edge.collapse import TooManyFetches
from cdn.edge.disk_tier import DiskTier
from cdn.edge.fetch import ChunkFetcher, Fetched, UpstreamDamaged
from cdn.edge.stored import StoredKey, StoredResponse, StoreOutcome
from cdn.fleet.position import Position
from cdn.origin.directory import DirectoryStore
from cdn.origin.layout import blob_key
from cdn.origin.store import ObjectMissing, StoreUnavailable
from cdn.purge.floors import Floors
from cdn.purge.scope import EVERYTHING
from cdn.sites.manifest import CHUNK_BYTES, FileEntry

OpenTier = Callable[..., Awaitable[DiskTier]]
MakeStored = Callable[..., StoredResponse]


def always(admitted: Position) -> bool:
    return True


class ScriptedStore(DirectoryStore):
    """A directory store that remembers what it was asked, and answers when the test lets it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root
        self.asked: list[tuple[str, int, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.damages_left = 0
        self.running = 0
        self.most_running = 0

    def hold(self, stored: StoredResponse, content: bytes) -> None:
        path = self.root / "objects" / blob_key(stored.key.site_id, stored.key.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    async def get_range(self, key: str, start: int, stop: int) -> bytes:
        self.asked.append((key, start, stop))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            part = await super().get_range(key, start, stop)  # what it holds when it is asked, not when it answers
            await self.gate.wait()
        finally:
            self.running -= 1
        if self.damages_left:
            self.damages_left -= 1
            return bytes([part[0] ^ 1]) + part[1:]
        return part

    async def until_asked(self, times: int) -> None:
        while len(self.asked) < times:
            await asyncio.sleep(0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ScriptedStore]:
    store = ScriptedStore(tmp_path / "store")
    yield store
    store.gate.set()
    await store.aclose()


@pytest.fixture
async def tier(open_tier: OpenTier) -> DiskTier:
    return await open_tier()


@pytest.fixture
async def fetcher(store: ScriptedStore, tier: DiskTier) -> AsyncIterator[ChunkFetcher]:
    fetcher = ChunkFetcher(store, tier)
    yield fetcher
    await fetcher.aclose()


async def test_a_chunk_is_fetched_checked_stored_and_then_read_from_here(
    store: ScriptedStore, tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored
) -> None:
    content = os.urandom(2 * CHUNK_BYTES + 5)
    stored = await tier.admit(make_stored(content), 0)
    store.hold(stored, content)
    fetched = await fetcher.chunk(stored, 2, may_store=always)
    assert fetched == Fetched(content[2 * CHUNK_BYTES :], is_collapsed=False)
    assert store.asked == [(blob_key("s1", stored.key.digest), 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 5)]
    assert await tier.read_chunk(stored, 2) == content[2 * CHUNK_BYTES :]
    assert await tier.read_chunk(stored, 0) is None
    assert fetcher.counters.upstream_bytes == 5


async def test_an_empty_file_needs_no_upstream(
    store: ScriptedStore, tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored
) -> None:
    stored = await tier.admit(make_stored(b""), 0)
    assert (await fetcher.chunk(stored, 0, may_store=always)).content == b""
    assert store.asked == []
    assert await tier.read_chunk(stored, 0) == b""


# I5


async def test_a_byte_damaged_on_the_way_is_fetched_again(
    store: ScriptedStore, tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored
) -> None:
    content = os.urandom(100_000)
    stored = await tier.admit(make_stored(content), 0)
    store.hold(stored, content)
    store.damages_left = 1
    assert (await fetcher.chunk(stored, 0, may_store=always)).content == content
    assert (fetcher.counters.damaged, len(store.asked)) == (1, 2)


@pytest.mark.parametrize("damage", ["flipped", "short", "long"])
async def test_a_damaged_blob_is_neither_sent_nor_stored(
    store: ScriptedStore, tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored, damage: str
) -> None:
    content = os.urandom(CHUNK_BYTES + 10)
    stored = await tier.admit(make_stored(content), 0)
    held = bytearray(content)
    if damage == "flipped":
        held[CHUNK_BYTES + 3] ^= 0x80
    elif damage == "short":
        del held[-1]
    else:
        del held[CHUNK_BYTES]
        held += b"xx"
    store.hold(stored, bytes(held))
    with pytest.raises(UpstreamDamaged, match=r"a\.txt"):
        await fetcher.chunk(stored, 1, may_store=always)
    assert fetcher.counters.damaged == len(store.asked) == 2
    assert await tier.read_chunk(stored, 1) is None
    # Other chunks of the same file are whole.
    assert (await fetcher.chunk(stored, 0, may_store=always)).content == content[:CHUNK_BYTES]


async def test_damage_on_disk_is_fetched_again(
    store: ScriptedStore, tier: DiskTier, open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path
) -> None:
    content = os.urandom(3000)
    stored = await tier.admit(make_stored(content), 0)
    store.hold(stored, content)
    await tier.put_chunk(stored, 0, content)
    await tier.aclose()
    (path,) = (each for each in (tmp_path / "tier" / "content").rglob("*") if each.is_file())
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again = await open_tier()
    found = await again.find(stored.key)
    assert found is not None
    assert await again.read_chunk(found, 0) is None
    fetcher = ChunkFetcher(store, again)
    assert (await fetcher.chunk(found, 0, may_store=always)).content == content
    assert await again.read_chunk(found, 0) == content


async def test_a_missing_blob_says_so(tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored) -> None:
    stored = await tier.admit(make_stored(b"x"), 0)
    with pytest.raises(ObjectMissing):
        await fetcher.chunk(stored, 0, may_store=always)


# I6


async def test_a_thousand_waiters_cost_one_upstream_request(
    store: ScriptedStore, tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored
) -> None:
    content = os.urandom(5000)
    proposal = make_stored(content)
    store.hold(proposal, content)
    store.gate.clear()

    async def request(number: int) -> Fetched | None:
        stored = await tier.admit(make_stored(content, admitted=5 + number), 0)
        if await tier.read_chunk(stored, 0) is not None:
            return None
        return await fetcher.chunk(stored, 0, may_store=always)

    waiters = [asyncio.create_task(request(number)) for number in range(1000)]
    await store.until_asked(1)
    for waiter in waiters[::2]:
        waiter.cancel()
    late = asyncio.create_task(request(2000))
    await asyncio.sleep(0)
    store.gate.set()
    done = await asyncio.gather(*waiters, late, return_exceptions=True)
    answered = [each for each in done if isinstance(each, Fetched)]
    assert len(store.asked) == 1
    assert len(answered) + sum(each is None for each in done) == 501
    assert all(each.content == content for each in answered)
    assert fetcher.counters.upstream_requests == 1


async def test_chunks_are_fetched_side_by_side_within_bounds(
    store: ScriptedStore, tier: DiskTier, make_stored: MakeStored
) -> None:
    fetcher = ChunkFetcher(store, tier, max_concurrent=3, max_concurrent_per_site=2)
    content = os.urandom(6 * CHUNK_BYTES)
    ours = await tier.admit(make_stored(content), 0)
    theirs = await tier.admit(make_stored(content, site_id="s2"), 0)
    store.hold(ours, content)
    store.hold(theirs, content)
    store.gate.clear()
    chunks = [asyncio.create_task(fetcher.chunk(ours, n, may_store=always)) for n in range(6)]
    await store.until_asked(2)
    chunks.append(asyncio.create_task(fetcher.chunk(theirs, 0, may_store=always)))
    await store.until_asked(3)
    assert [key.split("/")[1] for key, _, _ in store.asked] == ["s1", "s1", "s2"]
    store.gate.set()
    await asyncio.gather(*chunks)
    assert store.most_running == 3
    assert len(store.asked) == 7


async def test_a_store_that_keeps_silent_counts_as_down(
    store: ScriptedStore, tier: DiskTier, make_stored: MakeStored
) -> None:
    fetcher = ChunkFetcher(store, tier, timeout_s=0.01)
    stored = await tier.admit(make_stored(b"x"), 0)
    store.hold(stored, b"x")
    store.gate.clear()
    with pytest.raises(StoreUnavailable, match=r"0\.01 s"):
        await fetcher.chunk(stored, 0, may_store=always)
    store.gate.set()
    assert (await fetcher.chunk(stored, 0, may_store=always)).content == b"x"


async def test_too_many_fetches_are_refused(
    store: ScriptedStore, tier: DiskTier, make_stored: MakeStored, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher = ChunkFetcher(store, tier)
    monkeypatch.setattr(fetcher._collapse, "_max_flights_per_site", 1)
    content = os.urandom(2 * CHUNK_BYTES)
    stored = await tier.admit(make_stored(content), 0)
    store.hold(stored, content)
    store.gate.clear()
    first = asyncio.create_task(fetcher.chunk(stored, 0, may_store=always))
    await store.until_asked(1)
    with pytest.raises(TooManyFetches, match="s1"):
        await fetcher.chunk(stored, 1, may_store=always)
    store.gate.set()
    await first


# I1


class Node:
    """The part of a node that floors touch: position, floors, and the road of a request for one file."""

    def __init__(self, tier: DiskTier, fetcher: ChunkFetcher, proposal: StoredResponse) -> None:
        self.tier = tier
        self.fetcher = fetcher
        self.proposal = proposal
        self.sequence = 5
        self.waiting = 0
        self.floors = Floors()

    def hard(self) -> int:
        return self.floors.of("s1").required(self.proposal.names, self.proposal.tags).hard

    def purge(self) -> None:
        self.sequence += 1
        self.floors.of("s1").raise_floor(EVERYTHING, self.sequence, soft=False)

    async def request(self) -> bytes:
        found = await self.tier.find(self.proposal.key)
        if found is not None and not found.is_below(self.hard(), "e1"):
            content = await self.tier.read_chunk(found, 0)
            if content is not None:
                return bytes(content)
        asking = StoredResponse(
            self.proposal.key, self.proposal.entry, self.proposal.names, (), Position("e1", self.sequence), 1.0, 1.0
        )
        stored = await self.tier.admit(asking, self.hard())
        self.waiting += 1
        fetched = await self.fetcher.chunk(stored, 0, may_store=lambda admitted: admitted.sequence >= self.hard())
        return bytes(fetched.content)


async def test_a_floor_raised_during_a_fetch_detaches_it(
    store: ScriptedStore, tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored
) -> None:
    """Earlier waiters keep their answer, nothing of it is stored, the next request starts another fetch."""
    node = Node(tier, fetcher, make_stored(b"x"))
    store.hold(node.proposal, b"x")
    store.gate.clear()
    before = [asyncio.create_task(node.request()) for _ in range(3)]
    while node.waiting < 3:
        await asyncio.sleep(0)
    node.purge()
    after = [asyncio.create_task(node.request()) for _ in range(3)]
    while node.waiting < 6:
        await asyncio.sleep(0)
    await store.until_asked(2)
    store.gate.set()
    assert await asyncio.gather(*before, *after) == [b"x"] * 6
    assert len(store.asked) == 2
    assert fetcher.counters.collapsed == 4
    assert await node.request() == b"x"
    assert len(store.asked) == 2
    found = await tier.find(node.proposal.key)
    assert found is not None
    assert found.admitted.sequence == 6


async def test_a_detached_fetch_that_ends_first_is_not_stored(
    store: ScriptedStore, tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored, tmp_path: Path
) -> None:
    node = Node(tier, fetcher, make_stored(b"x"))
    store.hold(node.proposal, b"x")
    store.gate.clear()
    before = asyncio.create_task(node.request())
    await store.until_asked(1)
    node.purge()
    store.gate.set()
    assert await before == b"x"
    await tier.flush()
    assert tier.facts().chunks == 0
    assert [path for path in (tmp_path / "tier" / "content").rglob("*") if path.is_file()] == []
    assert fetcher.counters.detached == 1
    await node.request()
    assert len(store.asked) == 2


async def test_a_fetch_that_outlives_floor_and_sweep_is_not_stored(
    store: ScriptedStore, tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored
) -> None:
    """The floor rises, a sweep runs and lets the floor go, and only then the old fetch ends."""
    node = Node(tier, fetcher, make_stored(b"x"))
    store.hold(node.proposal, b"x")
    store.gate.clear()
    before = asyncio.create_task(node.request())
    await store.until_asked(1)
    node.purge()
    through = Position("e1", node.sequence)
    await tier.sweep("s1", through, lambda stored: stored.is_below(node.hard(), "e1"))
    node.floors.of("s1").swept(through.sequence)
    assert node.hard() == 0
    store.gate.set()
    assert await before == b"x"
    await tier.flush()
    assert tier.facts().responses == 0
    assert await node.request() == b"x"
    assert len(store.asked) == 2


async def test_a_fetch_that_outlives_floor_and_sweep_is_not_joined(
    store: ScriptedStore, tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored
) -> None:
    """The floor that would have told is forgotten while the store still keeps the old fetch waiting."""
    node = Node(tier, fetcher, make_stored(b"x"))
    store.hold(node.proposal, b"x")
    store.gate.clear()
    before = asyncio.create_task(node.request())
    await store.until_asked(1)
    node.purge()
    through = Position("e1", node.sequence)
    await tier.sweep("s1", through, lambda stored: stored.is_below(node.hard(), "e1"))
    node.floors.of("s1").swept(through.sequence)
    after = asyncio.create_task(node.request())
    while node.waiting < 2:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(store.asked) == 2
    store.gate.set()
    assert await before == await after == b"x"


@pytest.mark.parametrize("seed", range(8))
async def test_no_interleaving_returns_what_was_fetched_before_a_purge(
    store: ScriptedStore, tier: DiskTier, fetcher: ChunkFetcher, make_stored: MakeStored, seed: int
) -> None:
    """Requests, purges, sweeps and slow answers in random order: a request never gets an answer asked before a purge
    that had been applied when the request began."""
    chance = random.Random(seed)
    node = Node(tier, fetcher, make_stored(b"x"))
    store.hold(node.proposal, b"x")
    asked_at: list[int] = []
    get_range = store.get_range

    async def noting(key: str, start: int, stop: int) -> bytes:
        asked_at.append(node.sequence)
        return await get_range(key, start, stop)

    store.get_range = noting  # type: ignore[method-assign]
    running: list[asyncio.Task[bytes]] = []
    for _ in range(60):
        match chance.randrange(6):
            case 0 | 1 | 2:
                running.append(asyncio.create_task(node.request()))
            case 3:
                node.purge()
            case 4:
                (store.gate.set if chance.random() < 0.5 else store.gate.clear)()
            case _:
                through = Position("e1", node.sequence)
                await tier.sweep("s1", through, lambda stored: stored.is_below(node.hard(), "e1"))
                node.floors.of("s1").swept(through.sequence)
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
    store.gate.set()
    await asyncio.gather(*running)
    node.purge()
    asked = len(asked_at)
    await node.request()
    assert len(asked_at) == asked + 1
    assert asked_at[-1] == node.sequence
    found = await tier.find(node.proposal.key)
    assert found is not None
    assert found.admitted.sequence == node.sequence


# Large files


async def test_a_cold_range_of_five_gigabytes_fetches_only_its_chunks(tier: DiskTier, tmp_path: Path) -> None:
    size = 5 * 1024**3
    zeros = hashlib.sha256(bytes(CHUNK_BYTES)).hexdigest()
    digest = "5" * 64
    entry = FileEntry(digest, size, (zeros,) * (size // CHUNK_BYTES))
    directory = DirectoryStore(tmp_path / "store")
    blob = tmp_path / "store" / "objects" / blob_key("s1", digest)
    blob.parent.mkdir(parents=True)
    with blob.open("wb") as file:
        file.truncate(size)
    fetcher = ChunkFetcher(directory, tier)
    proposal = StoredResponse(StoredKey("s1", "/disk.img", digest), entry, ("/disk.img",), (), Position("e", 1), 1, 1)
    stored = await tier.admit(proposal, 0)
    for number in (4000, 4001, 5119):
        fetched = await fetcher.chunk(stored, number, may_store=always)
        assert fetched.content == bytes(CHUNK_BYTES)
    assert fetcher.counters.upstream_requests == 3
    assert fetcher.counters.upstream_bytes == 3 * CHUNK_BYTES
    assert await tier.read_chunk(stored, 4001) is not None
    await tier.flush()
    assert tier.facts().chunks == 3
    await fetcher.aclose()
    await directory.aclose()


async def test_what_cannot_be_stored_is_answered_all_the_same(
    store: ScriptedStore,
    tier: DiskTier,
    fetcher: ChunkFetcher,
    make_stored: MakeStored,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*arguments: object, **options: object) -> StoreOutcome:
        return StoreOutcome.FULL

    monkeypatch.setattr(tier, "put_chunk", refuse)
    stored = await tier.admit(make_stored(b"x"), 0)
    store.hold(stored, b"x")
    assert (await fetcher.chunk(stored, 0, may_store=always)).content == b"x"
    assert fetcher.counters.not_stored == 1
