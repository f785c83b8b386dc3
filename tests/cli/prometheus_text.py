"""A strict reader of Prometheus's text format 0.0.4: what promtool complains of is an error here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LABEL = re.compile(r"[a-z][a-z0-9_]*")
_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_PAIR = re.compile(r'(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)="(?P<value>(?:[^"\\\n]|\\\\|\\"|\\n)*)"')
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|[+-]Inf")
_RESERVED = frozenset({"le", "quantile", "job", "instance"})
_OTHER_UNITS = frozenset(
    {
        "ms",
        "milliseconds",
        "s",
        "sec",
        "minutes",
        "hours",
        "days",
        "kb",
        "mb",
        "kib",
        "mib",
        "kilobytes",
        "percent",
        "byte",
    }
)
_BASE_UNITS = frozenset({"seconds", "bytes"})


class NotPrometheus(AssertionError):
    """The text breaks a rule; the message names the line."""


@dataclass(slots=True)
class Metric:
    """One family as it was read."""

    name: str
    help: str
    kind: str
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(name for labels in self.samples for name, _ in labels)


def read(text: str) -> dict[str, Metric]:
    """The metrics by name. Raises NotPrometheus."""
    if text and not text.endswith("\n"):
        raise NotPrometheus("the last line does not end")
    found: dict[str, Metric] = {}
    helped: tuple[str, str] | None = None
    current: Metric | None = None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.startswith("# HELP "):
                name, _, help_ = line.removeprefix("# HELP ").partition(" ")
                _require(helped is None, "two HELP lines without a TYPE between them")
                _require(current is None or bool(current.samples), f"{current and current.name} has no samples")
                helped = name, help_
            elif line.startswith("# TYPE "):
                name, _, kind = line.removeprefix("# TYPE ").partition(" ")
                _require(helped is not None and helped[0] == name, "a TYPE line follows the HELP line of the same name")
                _require(name not in found, f"{name} stands twice")
                current = found[name] = _judged(Metric(name, helped[1] if helped else "", kind))
                helped = None
            else:
                _require(helped is None and current is not None, "a sample before its TYPE line")
                assert current is not None
                _take(current, line)
        except NotPrometheus as exc:
            raise NotPrometheus(f"line {number}: {exc}: {line}") from None
    _require(helped is None, "the text ends with a HELP line")
    _require(current is None or bool(current.samples), "the text ends with a family without samples")
    return found


def _take(metric: Metric, line: str) -> None:
    match = _SAMPLE.fullmatch(line)
    _require(match is not None, "this is no sample")
    assert match is not None
    _require(match["name"] == metric.name, f"a sample among those of {metric.name}")
    pairs: list[tuple[str, str]] = []
    rest = match["labels"] or ""
    _require(match["labels"] is None or bool(rest), "empty braces")
    while rest:
        pair = _PAIR.match(rest)
        _require(pair is not None, "labels that cannot be read")
        assert pair is not None
        _require(_LABEL.fullmatch(pair["name"]) is not None and not pair["name"].startswith("__"), "a label's name")
        _require(pair["name"] not in _RESERVED, f"the label {pair['name']} is Prometheus's own")
        pairs.append((pair["name"], pair["value"]))
        rest = rest[pair.end() :]
        _require(not rest or rest.startswith(","), "labels without a comma between them")
        _require(rest != ",", "a comma at the end")
        rest = rest.removeprefix(",")
    _require(len({name for name, _ in pairs}) == len(pairs), "a label that stands twice")
    _require(_NUMBER.fullmatch(match["value"]) is not None, "this is no number")
    labels, value = tuple(pairs), float(match["value"])
    _require(labels not in metric.samples, "a sample that stands twice")
    names = {tuple(name for name, _ in each) for each in (*metric.samples, labels)}
    _require(len(names) == 1, "samples of one metric with other labels")
    _require(metric.kind != "counter" or value >= 0, "a counter below 0")
    metric.samples[labels] = value


def _judged(metric: Metric) -> Metric:
    """Names and help as Prometheus's conventions have them."""
    words = metric.name.split("_")
    _require(_NAME.fullmatch(metric.name) is not None, "a name of lower-case letters, digits and underscores")
    _require(metric.kind in {"counter", "gauge"}, f"{metric.kind} is no kind that is used here")
    _require((words[-1] == "total") == (metric.kind == "counter"), "counters, and nothing else, end in _total")
    _require(not _OTHER_UNITS & set(words), "units are seconds and bytes")
    unit = [word for word in words if word in _BASE_UNITS]
    is_last = not unit or (words[:-1] if words[-1] == "total" else words)[-1] == unit[-1]
    _require(is_last, "the unit comes last, before _total")
    _require(len(metric.help) > 10 and metric.help.endswith("."), "the help is a sentence")
    return metric


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise NotPrometheus(sentence)
