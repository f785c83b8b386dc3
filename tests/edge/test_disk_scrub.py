"""The slow scrub finds damage that nobody has asked for yet (DESIGN I5)."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cdn.edge.disk_files import ChunkName, ContentFolder
from cdn.edge.disk_scrub import RESPONSES_PER_STEP, Scrubbed
from cdn.edge.disk_tier import DiskTier
from cdn.edge.stored import StoredResponse, StoreOutcome
from cdn.sites.manifest import CHUNK_BYTES

OpenTier = Callable[..., Awaitable[DiskTier]]
MakeStored = Callable[..., StoredResponse]

FAST = 1e15


async def keep(tier: DiskTier, stored: StoredResponse, content: bytes) -> StoredResponse:
    admitted = await tier.admit(stored, 0)
    for number in range(admitted.entry.chunk_count):
        start, stop = admitted.entry.chunk_span(number)
        assert await tier.put_chunk(admitted, number, content[start:stop]) is StoreOutcome.STORED
    return admitted


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_damaged_chunk_is_removed_and_the_others_stay(
    open_tier: OpenTier, make_stored: MakeStored, tmp_path: Path, is_open: bool
) -> None:
    tier = await open_tier()
    content = os.urandom(2 * CHUNK_BYTES + 100)
    stored = await keep(tier, make_stored(content), content)
    assert await tier.flush()
    if is_open:  # a mapped chunk shows what happens to its file
        assert await tier.read_chunk(stored, 1) is not None
    path = ContentFolder(tmp_path / "tier").path(ChunkName(stored.key.fingerprint(), stored.incarnation, 1))
    with path.open("r+b") as file:
        file.seek(77)
        byte = file.read(1)[0]
        file.seek(77)
        file.write(bytes([byte ^ 1]))
    assert await tier.scrub(FAST) == Scrubbed(chunks=3, faults=1)
    assert await tier.flush()
    assert tier.counters.damaged == 1
    assert await tier.read_chunk(stored, 1) is None
    assert await tier.read_chunk(stored, 0) == content[:CHUNK_BYTES]
    assert await tier.read_chunk(stored, 2) == content[2 * CHUNK_BYTES :]


async def test_every_response_is_looked_at(open_tier: OpenTier, make_stored: MakeStored) -> None:
    tier = await open_tier()
    count = RESPONSES_PER_STEP + 3
    for number in range(count):
        content = b"%d" % number
        await keep(tier, make_stored(content, path=f"/{number}"), content)
    assert await tier.flush()
    assert await tier.scrub(FAST) == Scrubbed(chunks=count, faults=0)


async def test_an_empty_tier_is_soon_scrubbed(open_tier: OpenTier) -> None:
    assert await (await open_tier()).scrub(FAST) == Scrubbed(0, 0)
