"""After a start: bring files and index of the disk tier together again, folder by folder, beside the serving."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cdn.edge.disk_files import ChunkName, ContentFolder, shard_names
from cdn.edge.disk_index import DiskIndex
from cdn.edge.disk_rows import SELECT_SHARD
from cdn.edge.disk_writes import DropChunk


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a kill or a crash had left behind."""

    orphan_files: int
    lost_rows: int


async def reconcile(
    index: DiskIndex, files: ContentFolder, pool: ThreadPoolExecutor, opened_at: float, pause_s: float
) -> Reconciled:
    """Remove files without a row that are older than `opened_at` (wall time), and rows without a file.

    Raises IndexUnavailable; what was done until then stays done.
    """
    loop = asyncio.get_running_loop()
    orphan_files = lost_rows = 0
    for shard in shard_names():
        # Rows first: a file always lies in its place before its row is written, so a row without a file has lost it.
        indexed = await index.read(_shard_query(shard))
        names, foreign = await loop.run_in_executor(pool, files.list_shard, shard)
        for name in indexed.difference(names):
            lost_rows += 1
            index.submit(DropChunk(name))
        orphans = set(names) - indexed
        if orphans:
            orphan_files += await loop.run_in_executor(pool, _remove_old, files, orphans, opened_at)
        orphan_files += foreign
        await asyncio.sleep(pause_s)
    return Reconciled(orphan_files, lost_rows)


def _remove_old(files: ContentFolder, names: set[ChunkName], opened_at: float) -> int:
    """Newer files belong to this process, which may not have written their rows yet."""
    return sum(files.remove(name) for name in names if files.is_older(name, opened_at))


def _shard_query(shard: str) -> Callable[[sqlite3.Connection], set[ChunkName]]:
    first = bytes.fromhex(shard + "0" * 29)
    last = bytes.fromhex(shard + "f" * 29)

    def query(connection: sqlite3.Connection) -> set[ChunkName]:
        return {ChunkName(*row) for row in connection.execute(SELECT_SHARD, (first, last))}

    return query
