"""The fleet: purges until acknowledged, activations, nodes that return, nodes that are new, and what it all weighs.

`python -m bench fleet` runs every part at full length, about eight minutes; `python -m bench.fleet --short [PART]...`
runs short forms, whose numbers say less.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import fleet_convergence, fleet_hits, fleet_new_edge, fleet_purges, fleet_weights
from bench.table import Fact, Row, as_table


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long each part takes."""

    followers: int
    rounds: int
    round_s: float
    activations_s: float
    missed_purges: int
    missed_runs: int
    journal_records: int
    new_edges: int
    sites: int
    responses: int


FULL = Lengths(50, 5, 5.0, 60.0, 10_000, 3, 1_000_000, 3, 10_000, 300_000)
SHORT = Lengths(10, 1, 2.0, 3.0, 2_000, 1, 20_000, 1, 2_000, 20_000)

Part = Callable[[Path, Lengths], list[Row | Fact]]


def _jetstream(folder: Path, lengths: Lengths) -> list[Row | Fact]:
    return fleet_purges.run_jetstream(
        folder, rounds=lengths.rounds, round_s=lengths.round_s, followers=lengths.followers
    )


def _sqlite(folder: Path, lengths: Lengths) -> list[Row | Fact]:
    return fleet_purges.run_sqlite(folder, rounds=lengths.rounds, round_s=lengths.round_s, followers=lengths.followers)


def _activations(folder: Path, lengths: Lengths) -> list[Row | Fact]:
    return fleet_convergence.run_activations(folder, duration_s=lengths.activations_s, followers=lengths.followers)


def _missed(folder: Path, lengths: Lengths) -> list[Row | Fact]:
    return fleet_convergence.run_missed(folder, purges=lengths.missed_purges, runs=lengths.missed_runs)


def _new_edge(folder: Path, lengths: Lengths) -> list[Row | Fact]:
    return fleet_new_edge.run(folder, records=lengths.journal_records, runs=lengths.new_edges)


def _workers(folder: Path, lengths: Lengths) -> list[Row | Fact]:
    return fleet_hits.run(folder, rounds=lengths.rounds, duration_s=3)


def _weights(folder: Path, lengths: Lengths) -> list[Row | Fact]:
    fleet_weights.run(
        folder,
        sites=lengths.sites,
        responses=lengths.responses,
        followers=lengths.followers,
        round_s=lengths.round_s,
    )
    return []


PARTS: dict[str, Part] = {
    "jetstream": _jetstream,
    "sqlite": _sqlite,
    "activations": _activations,
    "missed": _missed,
    "new_edge": _new_edge,
    "workers": _workers,
    "weights": _weights,
}


def run(folder: Path, *, lengths: Lengths = FULL, parts: tuple[str, ...] = tuple(PARTS)) -> list[Row | Fact]:
    """The rows of the table; the weights are only said."""
    results: list[Row | Fact] = []
    for name in parts:
        print(f"  {name}", file=sys.stderr, flush=True)
        results += PARTS[name](folder / name, lengths)
    return results


def main() -> None:
    """Some or all parts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--short", action="store_true", help="quick, and the numbers say less")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="cdn-bench-") as folder:
        print(
            as_table(run(Path(folder), lengths=SHORT if options.short else FULL, parts=tuple(options.parts or PARTS)))
        )


if __name__ == "__main__":
    main()
