"""A node's disk tier filled while the node is stopped, as if it had answered from many files.

Rows go through the index's own statements and files have the names the tier gives them. Both are written in bulk, past
the tier's queue and its renames: through `DiskTier.put_chunk` a million would take many minutes.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

from cdn.edge import disk_rows as rows
from cdn.edge.disk_files import ChunkName, shard_names
from cdn.edge.disk_index import START_SHIFT
from cdn.edge.stored import StoredKey, StoredResponse
from cdn.fleet.position import Position
from cdn.sites.manifest import FileEntry

ROWS_PER_COMMIT = 20_000
FIRST_INCARNATION = 1 << 30
"""Above what the node's first start gave, below what its next will."""


def fill_index(content_dir: Path, site_id: str, admitted: Position, count: int, stored_at: float) -> None:
    """Add `count` stored responses of one tiny chunk each. The node of this folder has run before and is stopped."""
    contents = content_dir / "content"
    for shard in shard_names():
        (contents / shard).mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(content_dir / "index.sqlite", isolation_level=None)
    try:
        cost_bytes, chunks, responses, starts = connection.execute(
            "SELECT cost_bytes, chunks, responses, starts FROM total"
        ).fetchone()
        totals = rows.Totals(cost_bytes, chunks, responses)
        for start in range(0, count, ROWS_PER_COMMIT):
            connection.execute("BEGIN")
            for number in range(start, min(count, start + ROWS_PER_COMMIT)):
                incarnation = (starts << START_SHIFT) + FIRST_INCARNATION + number
                _add(connection, totals, contents, _response(site_id, number, incarnation, admitted, stored_at))
            rows.save_totals(connection, totals)
            connection.execute("COMMIT")
    finally:
        connection.close()


def _response(site_id: str, number: int, incarnation: int, admitted: Position, stored_at: float) -> StoredResponse:
    path = f"/archive/{number % 1000:03d}/page-{number}.html"
    content = path.encode()
    entry = FileEntry(hashlib.sha256(content).hexdigest(), len(content))
    return StoredResponse(
        key=StoredKey(site_id, path, entry.digest),
        entry=entry,
        names=(path, path.removesuffix(".html")),
        tags=(f"section-{number % 1000}",),
        admitted=admitted,
        stored_at=stored_at,
        validated_at=stored_at,
        incarnation=incarnation,
    )


def _add(connection: sqlite3.Connection, totals: rows.Totals, contents: Path, stored: StoredResponse) -> None:
    name = ChunkName(stored.key.fingerprint(), stored.incarnation, 0)
    descriptor = os.open(f"{contents}/{name.shard}/{name.file_name()}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, stored.key.path.encode())
    finally:
        os.close(descriptor)
    rows.insert_stored(connection, totals, name.fingerprint, stored)
    rows.insert_chunk(connection, totals, name, stored.entry.size_bytes, int(stored.stored_at * 1000))
