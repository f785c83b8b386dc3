"""Hits of the edge beside its peers: `python -m bench.edge [PART]... [--rounds N] [--seconds S] [--first]`.

Parts: `h1`, `tls`, `h2`, `visits`, `latency`, `idle`, `stored`; all without a name. With --first the bench goes before
other work of the machine, for machines that are not idle.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.edge_content import MANY, write_content
from bench.edge_h2 import measure_identical, measure_visits
from bench.edge_hits import Plan, load_program, measure_hits, settle, workloads
from bench.edge_latency import measure_latency
from bench.edge_memory import IDLE, STORED, measure_idle, measure_stored
from bench.edge_peers import running_peers
from bench.edge_plot import draw_plot
from bench.table import Outcome, as_table, as_wide_table, save_json, saved

PARTS = ("h1", "tls", "h2", "visits", "latency", "idle", "stored")
RESULTS, PLOT = Path("bench-results.json"), Path("docs/benchmarks.svg")


def run(
    folder: Path,
    parts: Sequence[str] = PARTS,
    plan: Plan = Plan(),  # noqa: B008 - frozen
    *,
    many: int = MANY,
    idle: int = IDLE,
    stored: int = STORED,
) -> list[Outcome]:
    """What the parts found. Raises LoadFailed when a server answers otherwise than it should."""
    results: list[Outcome] = []
    memory = Path("/dev/shm")
    # In memory like the peers' caches: what reading a disk costs is not measured here.
    home = Path(tempfile.mkdtemp(prefix="cdn-bench-edge-", dir=memory if memory.is_dir() else folder.parent))
    try:
        load = load_program(home)
        if set(parts) - {"idle", "stored"}:
            content = write_content(home / "content", many=many if "h1" in parts else 1)
            with running_peers(content, home) as peers:
                settle(peers.cdn)
                chosen = [each for each in workloads(content) if ("tls" if each.is_tls else "h1") in parts]
                results += measure_hits(peers, load, chosen, home, plan)
                if "h2" in parts:
                    results += measure_identical(peers, plan)
                if "visits" in parts:
                    results += measure_visits(peers, load, content, home, plan)
                if "latency" in parts:
                    results += measure_latency(peers, load, home, plan)
        if "idle" in parts:
            results += measure_idle(load, home, idle=idle)
        if "stored" in parts:
            results += measure_stored(load, home, stored=stored)
    finally:
        shutil.rmtree(home)
    return results


def go_first() -> None:
    """This process and all that it starts are given a core before others."""
    Path("/proc/self/autogroup").write_text("-10")


def main() -> int:
    """0 when every promise was met."""
    asked = argparse.ArgumentParser(prog="python -m bench.edge")
    asked.add_argument("parts", nargs="*", choices=[*PARTS, []])
    asked.add_argument("--rounds", type=int, default=Plan().rounds)
    asked.add_argument("--seconds", type=float, default=Plan().round_s)
    asked.add_argument("--many", type=int, default=MANY)
    asked.add_argument("--stored", type=int, default=STORED)
    asked.add_argument("--first", action="store_true")
    asked.add_argument("--save", action="store_true")
    told = asked.parse_args()
    if told.first:
        go_first()
    plan = Plan(told.rounds, told.seconds)
    with tempfile.TemporaryDirectory() as folder:
        results = run(Path(folder), told.parts or PARTS, plan, many=told.many, stored=told.stored)
    print(as_table(results))
    print()
    print(as_wide_table(results))
    if told.save:
        save_json(results, RESULTS)
        PLOT.write_text(draw_plot(saved(RESULTS)))
    return 0 if all(result.is_met for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
