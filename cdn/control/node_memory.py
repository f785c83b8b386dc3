"""What the node directory keeps on disk: the nodes there are, and when they applied what."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cdn.control.archive_layout import KeptNode
from cdn.errors import Unavailable
from cdn.fleet.applied_times import AppliedTimes, unpacked
from cdn.journal.database import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS node (node_id TEXT PRIMARY KEY, program TEXT NOT NULL, region TEXT NOT NULL,
                                 record_version INTEGER NOT NULL, lease_s REAL NOT NULL) WITHOUT ROWID;
ALTER TABLE node ADD COLUMN weight INTEGER NOT NULL DEFAULT 100;
ALTER TABLE node ADD COLUMN public_addresses TEXT NOT NULL DEFAULT '[]';
CREATE TABLE applied (node_id TEXT PRIMARY KEY, epoch TEXT NOT NULL, times BLOB NOT NULL) WITHOUT ROWID
"""
"""Version 2; the table as version 1 made it comes first, so that a file of that version is brought here."""

_COLUMNS = "node_id, program, region, record_version, lease_s, weight, public_addresses"

_PLACES = """
CREATE TABLE IF NOT EXISTS place (node_id TEXT PRIMARY KEY, location TEXT NOT NULL, bias INTEGER NOT NULL) WITHOUT ROWID
"""
"""Where nodes stand, beside their rows: a release that does not know the table uses the file as before, and a node that
changed meanwhile says where it stands as soon as it connects."""

_log = logging.getLogger(__name__)


class DirectoryUnavailable(Unavailable):
    """The node directory cannot remember a node now, so the node is not let in."""


class NodeMemory:
    """One file. Its methods raise DirectoryUnavailable."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA, schema_version=2, failure=unusable)

    async def aclose(self) -> None:
        """Close the file."""
        await self._database.aclose()

    async def nodes(self) -> tuple[KeptNode, ...]:
        """Every node that is remembered."""

        def read(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            connection.execute(_PLACES)
            return connection.execute(
                f"SELECT {_COLUMNS}, location, bias FROM node LEFT JOIN place USING (node_id)"
            ).fetchall()

        return tuple(map(_node, await self._database.run(read)))

    async def remember(self, nodes: Iterable[KeptNode]) -> None:
        """When this returns they are known after a restart."""
        rows = [
            {
                **msgspec.structs.asdict(node),
                "public_addresses": json.dumps(node.public_addresses),
                "location": json.dumps(node.location),
            }
            for node in nodes
        ]
        values = ", ".join(f":{name}" for name in _COLUMNS.split(", "))

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_PLACES)
            connection.executemany(f"INSERT OR REPLACE INTO node ({_COLUMNS}) VALUES ({values})", rows)
            connection.executemany("INSERT OR REPLACE INTO place VALUES (:node_id, :location, :bias)", rows)

        await self._database.transact(write)

    async def forget(self, node_id: str) -> None:
        """The node is not known after a restart."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_PLACES)
            connection.execute("DELETE FROM node WHERE node_id = ?", (node_id,))
            connection.execute("DELETE FROM place WHERE node_id = ?", (node_id,))
            connection.execute("DELETE FROM applied WHERE node_id = ?", (node_id,))

        await self._database.transact(write)

    async def forget_nodes(self) -> None:
        """No node is known; the times of those that are heard of again are."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_PLACES)
            connection.execute("DELETE FROM node")
            connection.execute("DELETE FROM place")

        await self._database.transact(write)

    async def times(self) -> dict[str, AppliedTimes]:
        """When nodes applied what, by node id, as far as it was kept."""
        rows = await self._database.run(
            lambda connection: connection.execute("SELECT node_id, epoch, times FROM applied").fetchall()
        )
        found: dict[str, AppliedTimes] = {}
        for node_id, epoch, raw in rows:
            times = unpacked(epoch, raw)
            if times is None:
                _log.warning("when node %s applied records is no longer known: what was kept is damaged", node_id)
            else:
                found[node_id] = times
        return found

    async def keep_times(self, times: Mapping[str, tuple[str, bytes]]) -> None:
        """Keep these packed times, by node id with their epoch, in place of earlier ones."""
        rows = [(node_id, epoch, raw) for node_id, (epoch, raw) in times.items()]
        await self._database.transact(
            lambda connection: connection.executemany("INSERT OR REPLACE INTO applied VALUES (?, ?, ?)", rows)
        )


def _node(row: tuple[Any, ...]) -> KeptNode:
    values = dict(zip(_COLUMNS.split(", "), row[:-2], strict=True))
    location, bias = row[-2:]
    values["public_addresses"] = json.loads(values["public_addresses"])
    if location is not None:
        values |= {"location": json.loads(location), "bias": bias}
    return msgspec.convert(values, KeptNode)


async def without_nodes(path: Path) -> None:
    """Leave of a file nothing but times; a file that cannot be used goes altogether, as nothing depends on it."""
    memory = NodeMemory(path)
    try:
        await memory.forget_nodes()
    except DirectoryUnavailable as exc:
        _log.warning("%s; it is begun anew", exc)
        is_usable = False
    else:
        is_usable = True
    finally:
        await memory.aclose()
    if not is_usable:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def unusable(reason: str) -> DirectoryUnavailable:
    """The error for people."""
    return DirectoryUnavailable(
        f"the node directory cannot be used now ({reason}): free its disk; if it is damaged, move the file away and "
        "every node is known again when it connects"
    )
