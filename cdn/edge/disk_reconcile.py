"""After a start: bring files and index of the disk tier together again, folder by folder, beside the serving."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cdn.edge.disk_files import ChunkName, ContentFolder, shard_names
from cdn.edge.disk_index import DiskIndex
from cdn.edge.disk_rows import SELECT_SHARD
from cdn.edge.disk_writes import DropChunk

FOLDERS_PER_STEP = 32
"""Folders looked at in one step, some 8,000 chunks in a tier of a million; other work runs between two steps."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a kill or a crash had left behind."""

    orphan_files: int
    lost_rows: int


async def reconcile(index: DiskIndex, files: ContentFolder, opened_at: float, pause_s: float) -> Reconciled:
    """Remove files without a row that are older than `opened_at` (wall time), and rows without a file.

    Raises IndexUnavailable; what was done until then stays done.
    """
    orphan_files = lost_rows = 0
    shards = shard_names()
    while step := tuple(itertools.islice(shards, FOLDERS_PER_STEP)):
        lost, removed = await index.read(_compare(files, step, opened_at))
        for name in lost:
            index.submit(DropChunk(name))
        lost_rows += len(lost)
        orphan_files += removed
        await asyncio.sleep(pause_s)
    return Reconciled(orphan_files, lost_rows)


def _compare(
    files: ContentFolder, shards: Sequence[str], opened_at: float
) -> Callable[[sqlite3.Connection], tuple[list[ChunkName], int]]:
    """A query that finds the rows without files in some folders, and removes the files without rows."""

    def query(connection: sqlite3.Connection) -> tuple[list[ChunkName], int]:
        lost: list[ChunkName] = []
        removed = 0
        for shard in shards:
            # Rows first: a file always lies in its place before its row is written, so one without a file lost it.
            indexed = _indexed(connection, shard)
            names, foreign = files.list_shard(shard)
            lost += indexed.difference(names)
            # Newer files belong to this process, which may not have written their rows yet.
            orphans = (name for name in names if name not in indexed and files.is_older(name, opened_at))
            removed += foreign + sum(files.remove(name) for name in orphans)
        return lost, removed

    return query


def _indexed(connection: sqlite3.Connection, shard: str) -> set[ChunkName]:
    bounds = (bytes.fromhex(shard + "0" * 29), bytes.fromhex(shard + "f" * 29))
    return {ChunkName(*row) for row in connection.execute(SELECT_SHARD, bounds)}
