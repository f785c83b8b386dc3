"""How long a new edge takes until it serves: a journal of 100,000 records, trimmed behind a snapshot, and a fresh node.

Control and an edge whose folder is gone start together: control loads its own snapshot and what came after it, the edge
asks for one, loads it and answers. Beside it, the same with a handful of records: what starting costs in any case.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.running_cdn import running_cdn
from bench.table import Fact, Row, as_table
from cdn.journal.record import DeployActivated, DeployPrepared, Draft, Purged, PurgeScope, SiteCreated
from cdn.journal.sqlite import SqliteJournal

RECORDS, FEW = 100_000, 10
SITES_PER_RECORDS = 100
"""One site for so many records; the others are its deploys and purges."""

RUNS = 3
SNAPSHOT_TIMEOUT_S = 60.0
AT_MOST_S = 5.0
"""What the design promises of a million records with a snapshot."""


@dataclass(frozen=True, slots=True)
class Started:
    """Seconds until a node serves everything that the journal held."""

    again_s: float
    """`cdn up` over its own folder: control replays, its edge has its own copy."""
    new_node_s: float
    """The same with an edge that has nothing yet."""


def run(folder: Path, *, records: int = RECORDS, runs: int = RUNS) -> list[Row | Fact]:
    """The row of the table."""
    large = _measure(folder / "large", records, runs)
    small = _measure(folder / "small", FEW, runs)
    new, again = (statistics.median(getattr(one, name) for one in large) for name in ("new_node_s", "again_s"))
    floor = statistics.median(one.new_node_s for one in small)
    _say(f"  {records:,} records: control with a new edge serves after {new:.2f} s, both again after {again:.2f} s")
    _say(f"  {FEW} records: {floor:.2f} s")
    return [Row(f"control and a new edge serve, journal of {records:,} records", "s", new, AT_MOST_S, "promise", 1.0)]


def _measure(folder: Path, records: int, runs: int) -> list[Started]:
    """A control plane with so many records, started over and over; its edge has its folder or has lost it."""
    data = folder / "data"
    with running_cdn(folder) as cdn:
        epoch = cdn.call("GET", "/v1/status")["position"]["epoch"]
    began = time.monotonic()
    asyncio.run(_fill(data / "journal.db", records))
    _say(f"  {records:,} records of epoch {epoch} written in {time.monotonic() - began:.0f} s")
    if records > FEW:
        with running_cdn(folder):
            _wait_snapshot(data / "store" / "objects" / "control" / "snapshots" / epoch)
    measured = []
    for _ in range(runs):
        again_s = _start_s(folder)
        shutil.rmtree(data / "edge")
        measured.append(Started(again_s, _start_s(folder)))
    return measured


async def _fill(path: Path, records: int) -> None:
    """Sites, their deploys and purges, as many as fit."""
    journal = await SqliteJournal.open(path)
    pending: list[asyncio.Task[object]] = []
    for draft in drafts(records):
        pending.append(asyncio.create_task(_append(journal, draft)))
        if len(pending) == 500:
            await asyncio.gather(*pending)
            pending.clear()
    await asyncio.gather(*pending)
    await journal.aclose()


async def _append(journal: SqliteJournal, draft: Draft) -> object:
    return await journal.append(draft, expected_sequence=None)


def drafts(records: int) -> Iterator[Draft]:
    """So many records: sites, each with its deploys and purges."""
    for number in range(records):
        site, step = divmod(number, SITES_PER_RECORDS)
        site_id = f"site{site}"
        if step == 0:
            yield Draft(f"site/s{site}", SiteCreated(site_id, f"s{site}", {}), "bench")
            continue
        match step % 3:
            case 1:
                deploy = DeployPrepared(
                    site_id, f"d{number}", "production", secrets.token_hex(32), 100, 1 << 20, "bench", ""
                )
                yield Draft(f"deploy/d{number}", deploy, "bench")
            case 2:
                yield Draft(
                    f"alias/{site_id}/production", DeployActivated(site_id, "production", f"d{number - 1}"), "bench"
                )
            case _:
                scopes = (PurgeScope("tag", f"t{number}"),)
                yield Draft(f"purge/{site_id}", Purged(site_id, scopes, False), "bench")


def _start_s(folder: Path) -> float:
    """Until `cdn up` says that every role serves what the journal holds."""
    began = time.monotonic()
    with running_cdn(folder):
        return time.monotonic() - began


def _wait_snapshot(folder: Path) -> None:
    """Until the snapshot that is due stands in the store."""
    deadline = time.monotonic() + SNAPSHOT_TIMEOUT_S
    while not (folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())):
        if time.monotonic() > deadline:
            raise RuntimeError(f"there was no snapshot in {folder} within {SNAPSHOT_TIMEOUT_S:g} s")
        time.sleep(0.1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """`python -m bench.new_edge --records 1000000`: a larger one."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdn-bench-") as folder:
        print(as_table(run(Path(folder), records=options.records, runs=options.runs)))


if __name__ == "__main__":
    main()
