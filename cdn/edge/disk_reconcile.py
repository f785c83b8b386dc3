"""After a start: bring files and index of the disk tier together again, folder by folder, beside the serving."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cdn.edge.disk_files import ChunkName, ContentFolder, shard_names
from cdn.edge.disk_index import DiskIndex
from cdn.edge.disk_rows import shard_files
from cdn.edge.disk_writes import DropChunk, Remove

FOLDERS_PER_STEP = 32
"""Folders looked at in one step, some 8,000 chunks in a tier of a million; other work runs between two steps."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a kill or a crash had left behind."""

    orphan_files: int
    lost_rows: int


async def reconcile(index: DiskIndex, files: ContentFolder, opened_at: float, pause_s: float) -> Reconciled:
    """Remove files without a row that an earlier process left, and rows without a file; a pulled response goes whole.

    `opened_at` is the wall time of this process's start. What it writes itself may have no row yet: it has a number of
    this start, or (a further chunk of an older response) lies there since.

    Raises IndexUnavailable; what was done until then stays done.
    """
    orphan_files = lost_rows = 0
    shards = shard_names()
    while step := tuple(itertools.islice(shards, FOLDERS_PER_STEP)):
        lost, removed = await index.read(_compare(files, step, index.first_incarnation, opened_at))
        index.submit(Remove(tuple({name.incarnation for name, is_pulled in lost if is_pulled})))
        for name, is_pulled in lost:
            if not is_pulled:
                index.submit(DropChunk(name))
        lost_rows += len(lost)
        orphan_files += removed
        await asyncio.sleep(pause_s)
    return Reconciled(orphan_files, lost_rows)


def _compare(
    files: ContentFolder, shards: Sequence[str], first_incarnation: int, opened_at: float
) -> Callable[[sqlite3.Connection], tuple[list[tuple[ChunkName, bool]], int]]:
    """A query that finds the rows without files in some folders, and removes the files without rows."""

    def is_left_over(name: ChunkName) -> bool:
        return name.incarnation < first_incarnation and files.is_older(name, opened_at)

    def query(connection: sqlite3.Connection) -> tuple[list[tuple[ChunkName, bool]], int]:
        lost: list[tuple[ChunkName, bool]] = []
        removed = 0
        for shard in shards:
            # Rows first: a file always lies in its place before its row is written, so one without a file lost it.
            indexed = _indexed(connection, shard)
            names, foreign = files.list_shard(shard)
            lost += [(name, indexed[name]) for name in indexed.keys() - names]
            orphans = (name for name in names if name not in indexed and is_left_over(name))
            removed += foreign + sum(files.remove(name) for name in orphans)
        return lost, removed

    return query


def _indexed(connection: sqlite3.Connection, shard: str) -> dict[ChunkName, bool]:
    """The files the index knows in a folder, and whether each is of a pulled response."""
    return dict(shard_files(connection, bytes.fromhex(shard + "0" * 29), bytes.fromhex(shard + "f" * 29)))
