"""Responses of pull sites in the disk tier: in and out as a whole, never across a floor (DESIGN I1, I10, I11)."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cdn.edge.disk_new_content import NewContent
from cdn.edge.disk_tier import DiskTier
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
    assert stored.entry.size_bytes == len(whole)
    for _ in range(2):
        assert await tier.find_all("s1", PATH) == (stored,)
        assert await read_all(tier, stored) == whole
        facts = tier.facts()
        assert (facts.responses, facts.chunks) == (1, -(-len(whole) // CHUNK_BYTES))
        await tier.aclose()
        tier = await open_tier()
