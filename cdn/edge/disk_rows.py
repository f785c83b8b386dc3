"""The disk index's tables, and the statements over them. All of it runs in the index's own threads."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from cdn.edge.disk_files import ChunkName, held_bytes
from cdn.edge.stored import StoredKey, StoredResponse
from cdn.fleet.position import Position
from cdn.sites.manifest import FileEntry

INDEX_VERSION = 1
"""The layout below (DESIGN I14). An index of another version is discarded with its chunks: the tier starts cold."""

ROW_BYTES = 512
"""What a response's row and its places in the indexes take, beside names, tags and chunk digests."""

CHUNK_ROW_BYTES = 128
"""What a chunk's row and its place in the order of access take."""

TABLES = """
CREATE TABLE stored (
  incarnation INTEGER PRIMARY KEY,
  fingerprint BLOB NOT NULL UNIQUE,
  site_id TEXT NOT NULL,
  path TEXT NOT NULL,
  digest TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  chunk_digests BLOB NOT NULL,
  names TEXT NOT NULL,
  tags TEXT NOT NULL,
  epoch TEXT NOT NULL,
  admitted INTEGER NOT NULL,
  stored_at REAL NOT NULL,
  validated_at REAL NOT NULL,
  cost_bytes INTEGER NOT NULL
);
CREATE INDEX stored_by_site ON stored (site_id);
CREATE TABLE chunk (
  incarnation INTEGER NOT NULL,
  number INTEGER NOT NULL,
  cost_bytes INTEGER NOT NULL,
  accessed_ms INTEGER NOT NULL,
  PRIMARY KEY (incarnation, number)
) WITHOUT ROWID;
CREATE INDEX chunk_by_access ON chunk (accessed_ms);
CREATE TABLE total (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  cost_bytes INTEGER NOT NULL,
  chunks INTEGER NOT NULL,
  responses INTEGER NOT NULL,
  starts INTEGER NOT NULL,
  commits INTEGER NOT NULL
);
INSERT INTO total VALUES (1, 0, 0, 0, 0, 0);
"""

STORED_COLUMNS = """
site_id, path, digest, size_bytes, chunk_digests, names, tags, epoch, admitted, stored_at, validated_at, incarnation
"""
SELECT_BY_FINGERPRINT = f"SELECT {STORED_COLUMNS} FROM stored WHERE fingerprint = ?"
SELECT_BY_SITE = (
    f"SELECT {STORED_COLUMNS} FROM stored WHERE site_id = ? AND incarnation > ? ORDER BY incarnation LIMIT ?"
)
SELECT_AFTER = f"SELECT {STORED_COLUMNS} FROM stored WHERE incarnation > ? ORDER BY incarnation LIMIT ?"
SELECT_CHUNKS = "SELECT number FROM chunk WHERE incarnation = ? ORDER BY number"
SELECT_OLDEST = (
    "SELECT c.incarnation, c.number, c.cost_bytes, s.fingerprint FROM chunk c "
    "JOIN stored s ON s.incarnation = c.incarnation ORDER BY c.accessed_ms LIMIT ? OFFSET ?"
)
SELECT_SHARD = (
    "SELECT s.fingerprint, s.incarnation, c.number FROM stored s "
    "JOIN chunk c ON c.incarnation = s.incarnation WHERE s.fingerprint BETWEEN ? AND ?"
)
TOUCH_CHUNK = "UPDATE chunk SET accessed_ms = max(accessed_ms, ?) WHERE incarnation = ? AND number = ?"
TOUCH_FIRST = (
    "UPDATE chunk SET accessed_ms = max(accessed_ms, ?) "
    "WHERE incarnation = (SELECT incarnation FROM stored WHERE fingerprint = ?) AND number = 0"
)


@dataclass(slots=True)
class Totals:
    """What the tier holds, kept with every change so that a start need not count."""

    cost_bytes: int
    chunks: int
    responses: int


@dataclass(frozen=True, slots=True)
class Gone:
    """What left the index: chunks of one response, and its key when nothing of it is left."""

    incarnation: int
    chunks: tuple[ChunkName, ...]
    key: StoredKey | None


def chunk_cost(size_bytes: int) -> int:
    """What a chunk counts for in the tier's bound: its blocks and its row."""
    return held_bytes(size_bytes) + CHUNK_ROW_BYTES


def read_stored(row: tuple[object, ...]) -> StoredResponse:
    """A row of STORED_COLUMNS as a value."""
    site_id, path, digest, size_bytes, packed, names, tags, epoch, admitted, stored_at, validated_at, incarnation = row
    assert isinstance(packed, bytes)
    digests = tuple(packed[at : at + 32].hex() for at in range(0, len(packed), 32))
    return StoredResponse(
        key=StoredKey(str(site_id), str(path), str(digest)),
        entry=FileEntry(digest=str(digest), size_bytes=_int(size_bytes), chunk_digests=digests),
        names=tuple(json.loads(str(names))),
        tags=tuple(json.loads(str(tags))),
        admitted=Position(str(epoch), _int(admitted)),
        stored_at=_float(stored_at),
        validated_at=_float(validated_at),
        incarnation=_int(incarnation),
    )


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _float(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def insert_stored(connection: sqlite3.Connection, totals: Totals, fingerprint: bytes, stored: StoredResponse) -> None:
    """Add a response's row."""
    names, tags = json.dumps(stored.names), json.dumps(stored.tags)
    packed = bytes.fromhex("".join(stored.entry.chunk_digests))
    cost = ROW_BYTES + len(names) + len(tags) + len(packed) + len(stored.key.path)
    connection.execute(
        "INSERT INTO stored VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            stored.incarnation,
            fingerprint,
            stored.key.site_id,
            stored.key.path,
            stored.key.digest,
            stored.entry.size_bytes,
            packed,
            names,
            tags,
            stored.admitted.epoch,
            stored.admitted.sequence,
            stored.stored_at,
            stored.validated_at,
            cost,
        ),
    )
    totals.cost_bytes += cost
    totals.responses += 1


def insert_chunk(
    connection: sqlite3.Connection, totals: Totals, name: ChunkName, size_bytes: int, accessed_ms: int
) -> None:
    """Add a chunk's row; one that is there already is only touched."""
    cost = chunk_cost(size_bytes)
    added = connection.execute(
        "INSERT OR IGNORE INTO chunk VALUES (?, ?, ?, ?)", (name.incarnation, name.number, cost, accessed_ms)
    )
    if added.rowcount:
        totals.cost_bytes += cost
        totals.chunks += 1
    else:
        connection.execute(TOUCH_CHUNK, (accessed_ms, name.incarnation, name.number))


def delete_chunk(connection: sqlite3.Connection, totals: Totals, name: ChunkName) -> Gone:
    """Remove a chunk's row, and the response's own with the last of them."""
    row = connection.execute(
        "DELETE FROM chunk WHERE incarnation = ? AND number = ? RETURNING cost_bytes", (name.incarnation, name.number)
    ).fetchone()
    if row is None:
        return Gone(name.incarnation, (), None)
    totals.cost_bytes -= row[0]
    totals.chunks -= 1
    left = connection.execute("SELECT 1 FROM chunk WHERE incarnation = ? LIMIT 1", (name.incarnation,)).fetchone()
    key = None if left is not None else _delete_stored(connection, totals, name.incarnation)
    return Gone(name.incarnation, (name,), key)


def delete_response(connection: sqlite3.Connection, totals: Totals, incarnation: int) -> Gone | None:
    """Remove a response's row with those of all its chunks; None when it is not there."""
    row = connection.execute("SELECT fingerprint FROM stored WHERE incarnation = ?", (incarnation,)).fetchone()
    if row is None:
        return None
    chunks: list[ChunkName] = []
    for number, cost in connection.execute(
        "DELETE FROM chunk WHERE incarnation = ? RETURNING number, cost_bytes", (incarnation,)
    ).fetchall():
        totals.cost_bytes -= cost
        totals.chunks -= 1
        chunks.append(ChunkName(row[0], incarnation, number))
    return Gone(incarnation, tuple(chunks), _delete_stored(connection, totals, incarnation))


def _delete_stored(connection: sqlite3.Connection, totals: Totals, incarnation: int) -> StoredKey | None:
    row = connection.execute(
        "DELETE FROM stored WHERE incarnation = ? RETURNING site_id, path, digest, cost_bytes", (incarnation,)
    ).fetchone()
    if row is None:
        return None
    totals.cost_bytes -= row[3]
    totals.responses -= 1
    return StoredKey(row[0], row[1], row[2])


def save_totals(connection: sqlite3.Connection, totals: Totals) -> None:
    """Write what the tier holds, in the transaction that changed it.

    The count of commits makes sure that something changes: SQLite neither writes nor syncs one that changes nothing.
    """
    connection.execute(
        "UPDATE total SET cost_bytes = ?, chunks = ?, responses = ?, commits = commits + 1",
        (totals.cost_bytes, totals.chunks, totals.responses),
    )
