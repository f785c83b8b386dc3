"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One measured ratio. `ours` and `peer` are medians in `unit`; `at_most` is what was promised."""

    name: str
    unit: str
    ours: float
    peer: float
    peer_name: str
    at_most: float

    @property
    def ratio(self) -> float:
        return self.ours / self.peer if self.peer else float("inf")

    @property
    def is_met(self) -> bool:
        return self.ratio <= self.at_most


@dataclass(frozen=True, slots=True)
class Fact:
    """A count that is right or wrong."""

    name: str
    found: int
    expected: int

    @property
    def is_met(self) -> bool:
        return self.found == self.expected


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians of one server. `busy` is the share of a core it used: near 1 the load was no bottleneck."""

    cpu_us: float
    requests_per_s: float
    busy: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same requests to several servers, the first of which is ours; one of them is `nginx`, one may be `floor`.

    `at_most` is what was promised for the ratio of CPU per request to nginx; None where nothing was.
    """

    name: str
    at_most: float | None
    servers: Mapping[str, Measured]

    @property
    def ours(self) -> Measured:
        return next(iter(self.servers.values()))

    @property
    def ratio(self) -> float:
        return self.ours.cpu_us / self.servers["nginx"].cpu_us

    @property
    def floor_ratio(self) -> float | None:
        """To the bare loop, where there is one."""
        return self.ours.cpu_us / self.servers["floor"].cpu_us if "floor" in self.servers else None

    @property
    def is_met(self) -> bool:
        return self.at_most is None or self.ratio <= self.at_most


Outcome = Row | Fact | Comparison


def as_table(results: Sequence[Outcome]) -> str:
    """A Markdown table."""
    lines = ["| what | ours | peer | ratio | at most | |", "|---|---|---|---|---|---|"]
    for result in results:
        verdict = "met" if result.is_met else "**missed**"
        match result:
            case Row():
                lines.append(
                    f"| {result.name} | {result.ours:.4g} {result.unit} | {result.peer:.4g} {result.unit} "
                    f"({result.peer_name}) | {result.ratio:.2f} | {result.at_most:.2f} | {verdict} |"
                )
            case Fact():
                lines.append(f"| {result.name} | {result.found} | | | exactly {result.expected} | {verdict} |")
            case Comparison():
                promise = "" if result.at_most is None else f"{result.at_most:.2f}"
                lines.append(
                    f"| {result.name} | {result.ours.cpu_us:.4g} us CPU | {result.servers['nginx'].cpu_us:.4g} us CPU "
                    f"(nginx) | {result.ratio:.2f} | {promise} | {verdict if promise else ''} |"
                )
    return "\n".join(lines)


def as_wide_table(results: Sequence[Outcome]) -> str:
    """What every server took and did in each comparison; empty without one. A Markdown table."""
    comparisons = [result for result in results if isinstance(result, Comparison)]
    if not comparisons:
        return ""
    peers = ("nginx", "varnish", "aiohttp", "floor")
    lines = [f"| us CPU per request; requests per second | ours | {' | '.join(peers)} | of the floor |"]
    lines.append("|---" * (len(peers) + 3) + "|")
    for result in comparisons:
        cells = [_cell(result.ours), *(_cell(result.servers.get(name)) for name in peers)]
        above = "" if result.floor_ratio is None else f"{result.floor_ratio:.2f}"
        lines.append(f"| {result.name} | {' | '.join(cells)} | {above} |")
    return "\n".join(lines)


def _cell(measured: Measured | None) -> str:
    return "" if measured is None else f"{measured.cpu_us:.1f}; {measured.requests_per_s:,.0f}"


def save_json(results: Sequence[Outcome], path: Path) -> None:
    """All results with their ratios, in place of what the file holds of the same names; what else it holds stays."""
    documents = []
    for result in results:
        document = asdict(result) | {"met": result.is_met}
        if not isinstance(result, Fact):
            document["ratio"] = result.ratio
        if isinstance(result, Comparison):
            document["floor_ratio"] = result.floor_ratio
        documents.append(document)
    kept = [one for one in saved(path) if _label(one) not in set(map(_label, documents))]
    path.write_text(json.dumps(kept + documents, indent=2) + "\n")


def saved(path: Path) -> list[dict[str, Any]]:
    """What was saved before; nothing without the file."""
    return list(json.loads(path.read_text())) if path.exists() else []


def _label(document: Mapping[str, Any]) -> tuple[str, str]:
    return document["name"], document.get("peer_name", "")
