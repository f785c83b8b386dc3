"""Metrics as Prometheus reads them: its text format, version 0.0.4 (docs/decisions/013)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Kind(Enum):
    """A counter only rises while the process lives; a gauge goes both ways."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: a value for each combination of labels, written as pairs of name and value.

    Names of counters end in `_total`, other names in their unit.
    """

    name: str
    kind: Kind
    help: str
    samples: Mapping[tuple[tuple[str, str], ...], float]


def gauge(name: str, help_: str, value: float) -> Family:
    """A gauge without labels."""
    return Family(name, Kind.GAUGE, help_, {(): value})


def counter(name: str, help_: str, value: float) -> Family:
    """A counter without labels; `_total` is added to `name`."""
    return Family(f"{name}_total", Kind.COUNTER, help_, {(): value})


def labelled(name: str, kind: Kind, help_: str, label: str, values: Mapping[str, float]) -> Family:
    """A metric with one label; `_total` is added to the name of a counter."""
    suffix = "_total" if kind is Kind.COUNTER else ""
    return Family(f"{name}{suffix}", kind, help_, {((label, key),): value for key, value in values.items()})


def metrics_text(families: Iterable[Family]) -> str:
    """The families as one text; one without samples is left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind.value}")
        for labels, value in family.samples.items():
            shown = ",".join(f'{name}="{_escaped_value(text)}"' for name, text in labels)
            lines.append(f"{family.name}{{{shown}}} {_number(value)}" if shown else f"{family.name} {_number(value)}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escaped_value(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    return str(int(value)) if value == int(value) else repr(value)
