"""The slow scrub: every chunk in the disk tier is read and checked now and then, beside the serving (DESIGN I5)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from cdn.edge.disk_files import ChunkName, ContentFolder, ReadFault
from cdn.edge.disk_index import DiskIndex
from cdn.edge.disk_rows import SELECT_AFTER, chunks_of, read_stored
from cdn.edge.stored import StoredResponse

RESPONSES_PER_STEP = 64
"""Responses read from the index at once; their chunks are then read one by one."""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What one pass over the tier found."""

    chunks: int
    faults: int


async def scrub(
    index: DiskIndex,
    files: ContentFolder,
    note_fault: Callable[[ReadFault, StoredResponse, int], None],
    *,
    rate_bytes_per_s: float,
) -> Scrubbed:
    """Check every chunk against its digest, at most `rate_bytes_per_s` of them; `note_fault` removes a damaged one.

    Raises IndexUnavailable; what was found until then is dealt with.
    """
    chunks = faults = 0
    async for stored, number in _all_chunks(index):
        name = ChunkName(stored.key.fingerprint(), stored.incarnation, number)
        start, stop = stored.entry.chunk_span(number)
        digest = stored.entry.chunk_digest(number)
        content = await asyncio.to_thread(files.read, name, stop - start, digest)
        chunks += 1
        # One that was evicted or swept since its row was read is merely missing. Of a pulled response, a chunk that was
        # lost takes the rest with it, and removing what has left already does no harm.
        if content is ReadFault.DAMAGED or (content is ReadFault.MISSING and stored.pulled is not None):
            faults += content is ReadFault.DAMAGED
            note_fault(content, stored, number)
        await asyncio.sleep((stop - start) / rate_bytes_per_s)
    return Scrubbed(chunks, faults)


async def _all_chunks(index: DiskIndex) -> AsyncIterator[tuple[StoredResponse, int]]:
    after = 0
    while page := await index.read(_page_query(after)):
        for stored, numbers in page:
            for number in numbers:
                yield stored, number
            after = stored.incarnation


def _page_query(after: int) -> Callable[[sqlite3.Connection], list[tuple[StoredResponse, list[int]]]]:
    def query(connection: sqlite3.Connection) -> list[tuple[StoredResponse, list[int]]]:
        page = [read_stored(row) for row in connection.execute(SELECT_AFTER, (after, RESPONSES_PER_STEP))]
        return [(stored, chunks_of(connection, stored)) for stored in page]

    return query
