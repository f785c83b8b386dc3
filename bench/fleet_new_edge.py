"""How long a new edge takes until it serves, where control has a journal of a million records behind a snapshot.

Control runs already. Measured is from the start of the edge's process, with an empty folder, until it says that it is
ready: it has the snapshot and everything after it. Beside it stands the same over a journal of ten records: what the
start of a process costs in any case.
"""

from __future__ import annotations

import shutil
import sqlite3
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path

from bench.fleet_roles import RunningControl, running_control, running_edge
from bench.new_edge import drafts
from bench.process_cpu import cpu_s
from bench.table import Fact, Row
from cdn.journal.record import RECORD_VERSION, Record, encode_record

FEW = 10
SERVING_WITHIN_S = 5.0
FIRST_SNAPSHOT_TIMEOUT_S = 300.0
ROWS_PER_COMMIT = 50_000


def run(folder: Path, *, records: int, runs: int) -> list[Row | Fact]:
    """The row of the table."""
    large = _measure(folder / "large", records, runs)
    small = _measure(folder / "small", FEW, runs)
    _say(f"  {FEW} records: {statistics.median(small):.2f} s")
    name = f"a new edge serves, journal of {records:,} records behind a snapshot"
    return [Row(name, "s", statistics.median(large), SERVING_WITHIN_S, "promise", 1.0)]


def _measure(folder: Path, records: int, runs: int) -> list[float]:
    """Seconds of each edge; the first one is there to have control make the snapshot that nodes get."""
    with running_control(folder) as control:
        epoch = control.call("GET", "/v1/status")["position"]["epoch"]
    began = time.monotonic()
    _fill(control, epoch, records)
    _say(f"  {records:,} records written in {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    taken: list[float] = []
    with running_control(folder) as control:
        _say(f"  control over them answers after {time.monotonic() - began:.1f} s")
        if records > FEW:
            _wait_snapshot(folder / "store" / "objects" / "control" / "snapshots" / epoch)
        for number in range(runs + 1):
            began = time.monotonic()
            with running_edge(control, f"edge-{number}") as edge:
                edge.wait_ready()
                took_s, used_s = time.monotonic() - began, cpu_s(edge.pid)
            shutil.rmtree(folder / f"edge-{number}")
            _say(f"  {records:,} records: a new edge serves after {took_s:.2f} s, {used_s:.2f} s of CPU of its own")
            taken.append(took_s)
    return taken[1:]


def _fill(control: RunningControl, epoch: str, records: int) -> None:
    """Append to the journal of a control that has ended, through SQLite: a million appends would take minutes."""
    path = control.folder / "control" / "journal.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as journal:
        (last,) = journal.execute("SELECT max(sequence) FROM record").fetchone()
        journal.execute("BEGIN")
        for sequence, draft in enumerate(drafts(records), start=last + 1):
            record = Record(
                RECORD_VERSION, epoch, sequence, draft.subject, time.time(), draft.actor, draft.audience, draft.change
            )
            journal.execute("INSERT INTO record VALUES (?, ?)", (sequence, encode_record(record)))
            journal.execute("INSERT OR REPLACE INTO subject VALUES (?, ?)", (draft.subject, sequence))
            if sequence % ROWS_PER_COMMIT == 0:
                journal.execute("COMMIT")
                journal.execute("BEGIN")
        journal.execute("COMMIT")


def _wait_snapshot(folder: Path) -> None:
    """Until the snapshot that is due stands in the store."""
    deadline = time.monotonic() + FIRST_SNAPSHOT_TIMEOUT_S
    while not (folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())):
        if time.monotonic() > deadline:
            raise RuntimeError(f"there was no snapshot in {folder} within {FIRST_SNAPSHOT_TIMEOUT_S:g} s")
        time.sleep(0.1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
