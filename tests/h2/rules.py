"""Which sentence of which standard a test holds the server to: the source of the table in docs/http2-conformance.md.

`python -m tests.h2.rules` writes the table anew.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from _pytest.mark import ParameterSet

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parents[1] / "docs" / "http2-conformance.md"
START, END = "<!-- made by python -m tests.h2.rules -->", "<!-- end -->"

Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """A sentence in short. Sections of other standards than RFC 9113 carry its number before them."""

    section: str
    sentence: str


def rule(section: str, sentence: str) -> Callable[[Test], Test]:
    """The test below holds the server to this; a test may have several."""

    def mark(test: Test) -> Test:
        test.__dict__.setdefault("rules", []).insert(0, Rule(section, sentence))
        return test

    return mark


def case(section: str, sentence: str, *values: object, id: str) -> ParameterSet:  # noqa: A002
    """The same for one parameter set: its first parameter is the rule."""
    return pytest.param(Rule(section, sentence), *values, id=id)


def conformance() -> list[tuple[Rule, str]]:
    """Every rule and the test that holds the server to it, in the standards' order."""
    found: list[tuple[Rule, str]] = []
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(f"tests.h2.{path.stem}")
        for name, test in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("test_") and test.__module__ == module.__name__:
                found += [(one, f"tests/h2/{path.name}::{test_id}") for one, test_id in _rules_of(name, test)]
    return sorted(found, key=lambda row: (_order(row[0].section), row[1]))


def without_rule() -> list[str]:
    """Tests of the modules that walk the standard, with no rule at all."""
    ruled = {test_id.partition("[")[0] for _, test_id in conformance()}
    walked = {test_id.partition("::")[0] for test_id in ruled}
    missing = []
    for path in sorted(HERE.glob("test_*.py")):
        if f"tests/h2/{path.name}" in walked:
            module = importlib.import_module(f"tests.h2.{path.stem}")
            names = (name for name in vars(module) if name.startswith("test_"))
            missing += [f"{path.name}::{name}" for name in names if f"tests/h2/{path.name}::{name}" not in ruled]
    return missing


def table() -> str:
    """The rows as Markdown."""
    lines = ["| section | what a server does | test |", "|---|---|---|"]
    lines += [f"| {one.section} | {one.sentence} | `{test_id}` |" for one, test_id in conformance()]
    return "\n".join(lines)


def _rules_of(name: str, test: Any) -> Iterator[tuple[Rule, str]]:
    for one in getattr(test, "rules", ()):
        yield one, name
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize":
            for chosen in mark.args[1]:
                if isinstance(chosen, ParameterSet) and chosen.values and isinstance(chosen.values[0], Rule):
                    yield chosen.values[0], f"{name}[{chosen.id}]"


def _order(section: str) -> tuple[int, ...]:
    """RFC 9113 first, then the others by number."""
    standard, _, number = section.rpartition(" ")
    first = int(standard.removeprefix("RFC ")) if standard else 0
    return (first, *(int(part) for part in number.split(".")))


def main() -> None:
    """Write the table into the document."""
    text = DOCUMENT.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{START}\n\n{table()}\n\n{END}{after}")


if __name__ == "__main__":  # run by its own name it would be a second module, with rules that no test has
    importlib.import_module("tests.h2.rules").main()
