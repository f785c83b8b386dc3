"""Responses of pull sites for the tests of the disk tier: offered, written, read back."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

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


def content_of(number: int) -> bytes:
    """Some content that tells which it is; every seventh is empty, some have several chunks."""
    size_bytes = 0 if number % 7 == 0 else number * 379_721 % (2 * CHUNK_BYTES + 9)
    return hashlib.shake_128(b"%d" % number).digest(size_bytes)
