"""What a purge costs where much is stored: everything of a site, until every node has acknowledged it.

Two instances run side by side, one with a million stored responses in its index and one with ten; the purges alternate
between them. The first purge makes all of the million unusable; they stay in the index until the sweep behind it, which
begins 5 s later, has come to them. Measured is before the sweep begins, and again while it runs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.full_index import fill_index
from bench.process_cpu import cpu_s
from bench.running_cdn import RunningCdn, running_cdn
from bench.table import Fact, Row, as_table
from cdn.fleet.position import Position

FULL, FEW = 1_000_000, 10
PURGES_S = 4.0
"""How long purges are sent before the sweep begins."""

SWEPT_S = 10.0
"""How long purges are sent while it runs."""

SWEEP_AFTER_S = 7.0
"""From the first purge until the sweep surely runs."""

SITE = "bench"
AT_MOST = 1.5
IDLE_CPU = 0.1
"""Part of a core below which a node counts as done with what follows its start."""

SETTLE_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Instance:
    """A running `cdn up` and a connection to its API that stays open."""

    stored: int
    cdn: RunningCdn
    connection: http.client.HTTPConnection
    token: str


def run(
    folder: Path,
    *,
    full: int = FULL,
    purges_s: float = PURGES_S,
    swept_s: float = SWEPT_S,
    sweep_after_s: float = SWEEP_AFTER_S,
) -> list[Row | Fact]:
    """The rows of the table, and that the full node held what it was meant to."""
    with ExitStack() as stack:
        many, few = (stack.enter_context(_instance(folder / f"{stored}-stored", stored)) for stored in (full, FEW))
        held = _counters(many)["disk_responses"]
        began = time.monotonic()
        before = _alternating(many, few, purges_s)
        time.sleep(max(0.0, began + sweep_after_s - time.monotonic()))
        during = _alternating(many, few, swept_s)
        left = _counters(many)["disk_responses"]
    _say(f"  of {held:,} stored responses the sweep had left {left:,} at the end")
    return [
        _row(f"purge everything until acknowledged, {full:,} stored responses", before),
        _row("the same while the sweep behind it runs", during),
        Fact("stored responses in the index when the purges begin", held, full),
    ]


@contextmanager
def _instance(folder: Path, stored: int) -> Iterator[Instance]:
    """A node with so many stored responses of one site, done with what follows its start."""
    with running_cdn(folder) as cdn:
        site = cdn.run("site", "create", SITE)
        position = cdn.call("GET", "/v1/status")["position"]
    began = time.monotonic()
    admitted = Position(position["epoch"], position["sequence"])
    fill_index(folder / "data" / "edge" / "content", site["id"], admitted, stored, time.time())
    _say(f"  {stored:,} stored responses made in {time.monotonic() - began:.0f} s")
    token = (folder / "data" / "admin-token").read_text().strip()
    with running_cdn(folder) as cdn:
        _wait_idle(cdn.pid)
        with closing(http.client.HTTPConnection(urlsplit(cdn.control_url).netloc, timeout=60)) as connection:
            yield Instance(stored, cdn, connection, token)


def _wait_idle(pid: int) -> None:
    """Until the comparison of files and index is over, which follows every start."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        before = cpu_s(pid)
        time.sleep(1)
        if cpu_s(pid) - before < IDLE_CPU:
            return
    raise RuntimeError(f"the node was not idle {SETTLE_TIMEOUT_S:g} s after its start")


def _alternating(many: Instance, few: Instance, duration_s: float) -> tuple[list[float], list[float]]:
    """Seconds of purges of either instance, sent in turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    until = time.monotonic() + duration_s
    while time.monotonic() < until:
        seconds[0].append(_purge_s(many))
        seconds[1].append(_purge_s(few))
    return seconds


def _purge_s(instance: Instance) -> float:
    """One purge of everything, from the request to the complete receipt."""
    started = time.monotonic()
    receipt = _call(instance, "POST", f"/v1/sites/{SITE}/purges?wait=10", {"everything": True})
    took_s = time.monotonic() - started
    if not receipt["complete"]:
        raise RuntimeError(f"the receipt is not complete: {receipt}")
    return took_s


def _counters(instance: Instance) -> dict[str, int]:
    (node,) = _call(instance, "GET", "/v1/status", None)["nodes"]
    counters: dict[str, int] = node["counters"]
    return counters


def _call(instance: Instance, method: str, path: str, content: Any) -> Any:
    fields = {"Authorization": f"Bearer {instance.token}", "Content-Type": "application/json"}
    instance.connection.request(method, path, None if content is None else json.dumps(content), fields)
    answer = instance.connection.getresponse()
    raw = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{method} {path} answered {answer.status}: {raw[:500]!r}")
    return json.loads(raw)


def _row(name: str, seconds: tuple[list[float], list[float]]) -> Row:
    for values in seconds:
        tenths = statistics.quantiles(values, n=10)
        _say(f"  {name}: {len(values)} purges, ms: {', '.join(f'{value * 1000:.1f}' for value in tenths)}")
    many, few = (statistics.median(values) * 1000 for values in seconds)
    return Row(name, "ms", many, few, f"{FEW} stored responses", AT_MOST)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """`python -m bench.purge --stored 10000`: a smaller one."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stored", type=int, default=FULL)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdn-bench-") as folder:
        print(as_table(run(Path(folder), full=options.stored)))


if __name__ == "__main__":
    main()
