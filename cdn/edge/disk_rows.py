"""The disk index's tables, and the statements over them. All of it runs in the index's own threads."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from cdn.edge.disk_files import ChunkName, held_bytes
from cdn.edge.disk_pulled_head import pack_head, unpack_head
from cdn.edge.stored import StoredKey, StoredResponse
from cdn.fleet.position import Position
from cdn.sites.manifest import CHUNK_BYTES, FileEntry

INDEX_VERSION = 2
"""The layout below (DESIGN I14). An index of another version is discarded with its chunks: the tier starts cold."""

ROW_BYTES = 512
"""What a response's row and its places in the indexes take, beside names, tags and chunk digests."""

CHUNK_ROW_BYTES = 128
"""What a chunk's row and its place in the order of access take."""

MAX_VARIANTS = 128
"""Responses kept under one primary key of a pull site: all of them are read, and selected from, for one request."""

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
  cost_bytes INTEGER NOT NULL,
  family BLOB,
  content_digest TEXT,
  head BLOB
);
CREATE INDEX stored_by_site ON stored (site_id);
CREATE INDEX stored_by_family ON stored (family) WHERE family IS NOT NULL;
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

# A pulled response has a family (its primary key's fingerprint), a content digest and a head; a bundle's has none of
# them. All its content has one row in `chunk`, number 0: it is used, and evicted, as a whole.

STORED_COLUMNS = """
site_id, path, digest, size_bytes, chunk_digests, names, tags, epoch, admitted, stored_at, validated_at, incarnation,
content_digest, head
"""
SELECT_BY_FINGERPRINT = f"SELECT {STORED_COLUMNS} FROM stored WHERE fingerprint = ? AND family IS NULL"
SELECT_BY_FAMILY = (
    f"SELECT {STORED_COLUMNS} FROM stored WHERE family = ? ORDER BY incarnation DESC LIMIT {MAX_VARIANTS}"
)
SELECT_SURPLUS = (
    "SELECT s.incarnation FROM stored s JOIN chunk c ON c.incarnation = s.incarnation AND c.number = 0 "
    f"WHERE s.family = ? ORDER BY c.accessed_ms DESC, s.incarnation DESC LIMIT -1 OFFSET {MAX_VARIANTS}"
)
SELECT_BY_SITE = (
    f"SELECT {STORED_COLUMNS} FROM stored WHERE site_id = ? AND incarnation > ? ORDER BY incarnation LIMIT ?"
)
SELECT_AFTER = f"SELECT {STORED_COLUMNS} FROM stored WHERE incarnation > ? ORDER BY incarnation LIMIT ?"
SELECT_CHUNKS = "SELECT number FROM chunk WHERE incarnation = ? ORDER BY number"
_PULLED_BYTES = "CASE WHEN s.family IS NULL THEN NULL ELSE s.size_bytes END"
SELECT_OLDEST = (
    f"SELECT s.fingerprint, c.incarnation, c.number, {_PULLED_BYTES}, c.cost_bytes FROM chunk c "
    "JOIN stored s ON s.incarnation = c.incarnation ORDER BY c.accessed_ms LIMIT ? OFFSET ?"
)
SELECT_SHARD = (
    f"SELECT s.fingerprint, s.incarnation, c.number, {_PULLED_BYTES} FROM stored s "
    "JOIN chunk c ON c.incarnation = s.incarnation WHERE s.fingerprint BETWEEN ? AND ?"
)
UPDATE_VALIDATED = "UPDATE stored SET epoch = ?, admitted = ?, validated_at = ? WHERE incarnation = ?"
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


class UnreadableRow(sqlite3.DatabaseError):
    """A row that this program cannot have written: the file is damaged, though SQLite does not see it."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


@dataclass(frozen=True, slots=True)
class Gone:
    """What left the index: chunks of one response, and its key when nothing of it is left."""

    incarnation: int
    chunks: tuple[ChunkName, ...]
    key: StoredKey | None


@dataclass(frozen=True, slots=True)
class Victim:
    """What would be evicted next: a row of `chunk` with the files it stands for."""

    row: ChunkName
    files: tuple[ChunkName, ...]
    cost_bytes: int


def chunk_cost(size_bytes: int) -> int:
    """What a chunk counts for in the tier's bound: its blocks and its row."""
    return held_bytes(size_bytes) + CHUNK_ROW_BYTES


def content_cost(size_bytes: int) -> int:
    """What all content of a pulled response counts for: the blocks of its files, and one row."""
    whole, rest = divmod(size_bytes, CHUNK_BYTES)
    return whole * held_bytes(CHUNK_BYTES) + held_bytes(rest) + CHUNK_ROW_BYTES


def family_of(site_id: str, path: str) -> bytes:
    """16 bytes that stand for a primary key of a pull site."""
    return hashlib.sha256(f"{site_id}\0{path}".encode("utf-8", "surrogatepass")).digest()[:16]


def files_of(row: ChunkName, pulled_bytes: int | None) -> tuple[ChunkName, ...]:
    """The files that a row of `chunk` stands for; `pulled_bytes` is the size of a pulled response's content."""
    if pulled_bytes is None:
        return (row,)
    count = -(-pulled_bytes // CHUNK_BYTES)
    return tuple(ChunkName(row.fingerprint, row.incarnation, number) for number in range(count))


def read_stored(row: tuple[object, ...]) -> StoredResponse:
    """A row of STORED_COLUMNS as a value. Raises UnreadableRow."""
    try:
        return _read_stored(row)
    except (ValueError, AssertionError) as exc:
        raise UnreadableRow(f"a stored response cannot be read: {exc}") from exc


def _read_stored(row: tuple[object, ...]) -> StoredResponse:
    site_id, path, digest, size_bytes, packed, names, tags, epoch, admitted, stored_at, validated_at = row[:11]
    incarnation, content_digest, head = row[11:]
    assert isinstance(packed, bytes)
    digests = tuple(packed[at : at + 32].hex() for at in range(0, len(packed), 32))
    return StoredResponse(
        key=StoredKey(str(site_id), str(path), str(digest)),
        entry=FileEntry(str(digest if content_digest is None else content_digest), _int(size_bytes), digests),
        names=tuple(json.loads(str(names))),
        tags=tuple(json.loads(str(tags))),
        admitted=Position(str(epoch), _int(admitted)),
        stored_at=_float(stored_at),
        validated_at=_float(validated_at),
        incarnation=_int(incarnation),
        pulled=None if head is None else unpack_head(_bytes(head)),
    )


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _float(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


@dataclass(frozen=True, slots=True)
class _Packed:
    """The parts of a response's row whose length varies."""

    names: str
    tags: str
    chunk_digests: bytes
    head: bytes | None
    cost_bytes: int


def _pack(stored: StoredResponse) -> _Packed:
    names, tags = json.dumps(stored.names), json.dumps(stored.tags)
    digests = bytes.fromhex("".join(stored.entry.chunk_digests))
    head = None
    if stored.pulled is not None:
        head = pack_head(stored.pulled)
        assert head is not None, "whoever offers a response to the index has seen that its head can be kept"
    texts = len(names) + len(tags) + len(digests) + len(stored.key.path) + len(head or b"")
    return _Packed(names, tags, digests, head, ROW_BYTES + texts)


def insert_stored(connection: sqlite3.Connection, totals: Totals, fingerprint: bytes, stored: StoredResponse) -> None:
    """Add a response's row."""
    packed = _pack(stored)
    is_pulled = stored.pulled is not None
    connection.execute(
        "INSERT INTO stored VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            stored.incarnation,
            fingerprint,
            stored.key.site_id,
            stored.key.path,
            stored.key.digest,
            stored.entry.size_bytes,
            packed.chunk_digests,
            packed.names,
            packed.tags,
            stored.admitted.epoch,
            stored.admitted.sequence,
            stored.stored_at,
            stored.validated_at,
            packed.cost_bytes,
            family_of(stored.key.site_id, stored.key.path) if is_pulled else None,
            stored.entry.digest if is_pulled else None,
            packed.head,
        ),
    )
    totals.cost_bytes += packed.cost_bytes
    totals.responses += 1


def insert_content(
    connection: sqlite3.Connection, totals: Totals, fingerprint: bytes, stored: StoredResponse, accessed_ms: int
) -> None:
    """Add the row that stands for all content of a pulled response, also when that is empty."""
    cost = content_cost(stored.entry.size_bytes)
    connection.execute("INSERT INTO chunk VALUES (?, 0, ?, ?)", (stored.incarnation, cost, accessed_ms))
    totals.cost_bytes += cost
    totals.chunks += stored.file_count


def update_head(connection: sqlite3.Connection, totals: Totals, stored: StoredResponse) -> None:
    """Write a pulled response's head, names, tags and times anew; nothing when the response is not there."""
    row = connection.execute("SELECT cost_bytes FROM stored WHERE incarnation = ?", (stored.incarnation,)).fetchone()
    if row is None:
        return
    packed = _pack(stored)
    connection.execute(
        "UPDATE stored SET names = ?, tags = ?, epoch = ?, admitted = ?, validated_at = ?, head = ?, cost_bytes = ? "
        "WHERE incarnation = ?",
        (
            packed.names,
            packed.tags,
            stored.admitted.epoch,
            stored.admitted.sequence,
            stored.validated_at,
            packed.head,
            packed.cost_bytes,
            stored.incarnation,
        ),
    )
    totals.cost_bytes += packed.cost_bytes - row[0]


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
    """Remove a chunk's row, and the response's own with the last of them; all of a pulled response, whichever it is."""
    pulled = "SELECT 1 FROM stored WHERE incarnation = ? AND family IS NOT NULL"
    if connection.execute(pulled, (name.incarnation,)).fetchone() is not None:
        removed = delete_response(connection, totals, name.incarnation)
        assert removed is not None
        return removed
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
    row = connection.execute(
        f"SELECT s.fingerprint, {_PULLED_BYTES} FROM stored s WHERE s.incarnation = ?", (incarnation,)
    ).fetchone()
    if row is None:
        return None
    chunks: list[ChunkName] = []
    for number, cost in connection.execute(
        "DELETE FROM chunk WHERE incarnation = ? RETURNING number, cost_bytes", (incarnation,)
    ).fetchall():
        totals.cost_bytes -= cost
        chunks += files_of(ChunkName(row[0], incarnation, number), row[1])
    totals.chunks -= len(chunks)
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


def oldest(connection: sqlite3.Connection, limit: int, offset: int) -> list[Victim]:
    """What was used least recently, first what goes first."""
    return [
        Victim(row := ChunkName(fingerprint, incarnation, number), files_of(row, pulled_bytes), cost)
        for fingerprint, incarnation, number, pulled_bytes, cost in connection.execute(SELECT_OLDEST, (limit, offset))
    ]


def shard_files(connection: sqlite3.Connection, first: bytes, last: bytes) -> Iterator[tuple[ChunkName, bool]]:
    """The files that have to be there for the keys of these fingerprints, and whether each is of a pulled response."""
    for fingerprint, incarnation, number, pulled_bytes in connection.execute(SELECT_SHARD, (first, last)):
        for name in files_of(ChunkName(fingerprint, incarnation, number), pulled_bytes):
            yield name, pulled_bytes is not None


def chunks_of(connection: sqlite3.Connection, stored: StoredResponse) -> list[int]:
    """The numbers of the chunks that are stored of a response."""
    if stored.pulled is not None:
        return list(range(stored.file_count))
    return [number for (number,) in connection.execute(SELECT_CHUNKS, (stored.incarnation,))]


def save_totals(connection: sqlite3.Connection, totals: Totals) -> None:
    """Write what the tier holds, in the transaction that changed it.

    The count of commits makes sure that something changes: SQLite neither writes nor syncs one that changes nothing.
    """
    connection.execute(
        "UPDATE total SET cost_bytes = ?, chunks = ?, responses = ?, commits = commits + 1",
        (totals.cost_bytes, totals.chunks, totals.responses),
    )
