"""Metrics as Prometheus reads them: its text format, version 0.0.4 (docs/decisions/013)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Kind(Enum):
    """A counter only rises while the process lives; a gauge goes both ways; a histogram counts in buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: a value for each combination of labels, written as pairs of name and value.

    Names of counters end in `_total`, other names in their unit. Those of a histogram are its buckets, under the label
    `le`, summed up; `sum` is the sum of what it observed.
    """

    name: str
    kind: Kind
    help: str
    samples: Mapping[tuple[tuple[str, str], ...], float]
    sum: float = 0.0


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


def histogram(name: str, help_: str, bounds: Sequence[float], counts: Sequence[int], sum_: float) -> Family:
    """A histogram without other labels. `counts` are of each bucket alone, one more than there are bounds."""
    samples: dict[tuple[tuple[str, str], ...], float] = {
        (("le", _number(bound)),): float(count)
        for bound, count in zip((*bounds, math.inf), accumulate(counts), strict=True)
    }
    return Family(name, Kind.HISTOGRAM, help_, samples, sum_)


def metrics_text(families: Iterable[Family]) -> str:
    """The families as one text; one without samples is left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind.value}")
        is_histogram = family.kind is Kind.HISTOGRAM
        name_shown = f"{family.name}_bucket" if is_histogram else family.name
        for labels, value in family.samples.items():
            shown = ",".join(f'{name}="{_escaped_value(text)}"' for name, text in labels)
            lines.append(f"{name_shown}{{{shown}}} {_number(value)}" if shown else f"{name_shown} {_number(value)}")
        if is_histogram:
            lines.append(f"{family.name}_sum {_number(family.sum)}")
            lines.append(f"{family.name}_count {_number(max(family.samples.values()))}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escaped_value(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    return str(int(value)) if value == int(value) else repr(value)
