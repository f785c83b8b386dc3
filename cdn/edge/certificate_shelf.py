"""Certificates on the node's disk: chains, and keys as they are in records, sealed (DESIGN I11)."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cdn.errors import Unavailable
from cdn.journal.database import Database

REMOVE_BATCH = 500
"""Certificates removed in one transaction: what is kept meanwhile waits for a few milliseconds."""

_SCHEMA = "CREATE TABLE certificate (id TEXT PRIMARY KEY, chain TEXT NOT NULL, sealed_keys TEXT NOT NULL) WITHOUT ROWID"
_SCHEMA_VERSION = 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ShelvedCertificate:
    """`chain` is in PEM form. `sealed_keys` are those of `CertificateSet`."""

    certificate_id: str
    chain: str
    sealed_keys: Mapping[str, str] = field(repr=False)


class ShelfReader:
    """Reads what the node's process keeps; for handshakes, in any process. A read takes some tens of microseconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def get(self, certificate_id: str) -> ShelvedCertificate | None:
        """None when it is not here. Raises Unavailable when the file cannot be read."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, isolation_level=None)
                self._connection.execute("PRAGMA cache_size=-512")  # KiB: what was read is kept as a context
            query = "SELECT chain, sealed_keys FROM certificate WHERE id = ?"
            found = self._connection.execute(query, (certificate_id,)).fetchone()
        except sqlite3.Error as exc:
            self.close()
            raise _unavailable(f"{self._path}: {exc}") from exc
        return None if found is None else ShelvedCertificate(certificate_id, found[0], json.loads(found[1]))

    def close(self) -> None:
        """It opens again when it is asked."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class CertificateShelf:
    """The file itself, which one process writes. Every method may raise Unavailable."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self._database = database

    @classmethod
    async def open(cls, path: Path) -> CertificateShelf:
        """The shelf at `path`, empty when there is none. A file that is damaged is set aside with the suffix
        `.damaged`: the store has every certificate."""
        database = Database(path, _SCHEMA, schema_version=_SCHEMA_VERSION, failure=_unavailable)
        try:
            await database.run(_look)
        except Unavailable as exc:
            if not isinstance(exc.__cause__, sqlite3.DatabaseError) or isinstance(
                exc.__cause__, sqlite3.OperationalError
            ):
                await database.aclose()
                raise
            _log.error("%s is damaged (%s): set aside, certificates are fetched again", path, exc)
            for suffix in ("", "-wal", "-shm"):
                part = path.with_name(path.name + suffix)
                if part.exists():
                    part.replace(part.with_name(part.name + ".damaged"))
            await database.run(_look)
        return cls(path, database)

    async def put(self, certificates: Iterable[ShelvedCertificate]) -> None:
        """Keep them, in the place of what was kept under the same ids; durable when this returns."""
        rows = [(each.certificate_id, each.chain, json.dumps(dict(each.sealed_keys))) for each in certificates]

        def keep(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO certificate VALUES (?, ?, ?)", rows)

        if rows:
            await self._database.transact(keep)

    async def ids(self) -> set[str]:
        """Of all that is here."""
        return await self._database.run(lambda connection: {row[0] for row in connection.execute(_IDS)})

    async def remove(self, certificate_ids: Iterable[str]) -> None:
        """Forget them."""
        left = [(name,) for name in certificate_ids]
        while left:
            batch, left = left[:REMOVE_BATCH], left[REMOVE_BATCH:]

            def drop(connection: sqlite3.Connection, batch: list[tuple[str]] = batch) -> None:
                connection.executemany("DELETE FROM certificate WHERE id = ?", batch)

            await self._database.transact(drop)

    async def aclose(self) -> None:
        """May be called twice."""
        await self._database.aclose()


_IDS = "SELECT id FROM certificate"


def _look(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT id FROM certificate LIMIT 1").fetchone()


def _unavailable(reason: str) -> Unavailable:
    return Unavailable(f"the node's certificates cannot be read or kept now ({reason}): free or mend its disk")
