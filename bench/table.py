"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


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


def as_table(results: list[Row | Fact]) -> str:
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
    return "\n".join(lines)


def save_json(results: list[Row | Fact], path: Path) -> None:
    """All results with their ratios."""
    documents = []
    for result in results:
        document = asdict(result) | {"met": result.is_met}
        if isinstance(result, Row):
            document["ratio"] = result.ratio
        documents.append(document)
    path.write_text(json.dumps(documents, indent=2) + "\n")
