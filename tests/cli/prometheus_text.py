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
    ends: list[str] = field(default_factory=list)

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
    whole = (each for each in found.values() if each.kind == "histogram")
    _require(all(each.ends == ["_sum", "_count"] for each in whole), "a histogram without its sum or count")
    return found


def _take(metric: Metric, line: str) -> None:
    match = _SAMPLE.fullmatch(line)
    _require(match is not None, "this is no sample")
    assert match is not None
    suffix = match["name"].removeprefix(metric.name) if metric.kind == "histogram" else ""
    _require(match["name"] == f"{metric.name}{suffix}", f"a sample among those of {metric.name}")
    pairs: list[tuple[str, str]] = []
    rest = match["labels"] or ""
    _require(match["labels"] is None or bool(rest), "empty braces")
    while rest:
        pair = _PAIR.match(rest)
        _require(pair is not None, "labels that cannot be read")
        assert pair is not None
        _require(_LABEL.fullmatch(pair["name"]) is not None and not pair["name"].startswith("__"), "a label's name")
        is_bucket = suffix == "_bucket" and pair["name"] == "le"
        _require(is_bucket or pair["name"] not in _RESERVED, f"the label {pair['name']} is Prometheus's own")
        pairs.append((pair["name"], pair["value"]))
        rest = rest[pair.end() :]
        _require(not rest or rest.startswith(","), "labels without a comma between them")
        _require(rest != ",", "a comma at the end")
        rest = rest.removeprefix(",")
    _require(len({name for name, _ in pairs}) == len(pairs), "a label that stands twice")
    _require(_NUMBER.fullmatch(match["value"]) is not None, "this is no number")
    labels, value = tuple(pairs), float(match["value"])
    if metric.kind == "histogram":
        _take_of_histogram(metric, suffix, labels, value)
        return
    _require(labels not in metric.samples, "a sample that stands twice")
    names = {tuple(name for name, _ in each) for each in (*metric.samples, labels)}
    _require(len(names) == 1, "samples of one metric with other labels")
    _require(metric.kind != "counter" or value >= 0, "a counter below 0")
    metric.samples[labels] = value


def _take_of_histogram(metric: Metric, suffix: str, labels: tuple[tuple[str, str], ...], value: float) -> None:
    """Buckets that rise, the last without a bound, then the sum, then the count: that of the last bucket."""
    match suffix:
        case "_bucket":
            _require(len(labels) == 1 and labels[0][0] == "le", "a bucket with one label, le")
            before = list(metric.samples.items())
            bound = float(labels[0][1])
            _require(not before or bound > float(before[-1][0][0][1]), "buckets in the order of their bounds")
            _require(not before or value >= before[-1][1], "buckets are summed up")
            metric.samples[labels] = value
        case "_sum" | "_count":
            _require(not labels and bool(metric.samples), "sum and count have no labels, and follow the buckets")
            last, count = list(metric.samples.items())[-1]
            _require(last == (("le", "+Inf"),), "the last bucket is that without a bound")
            _require(suffix == "_sum" or value == count, "the count is that of the last bucket")
            metric.ends.append(suffix)
            _require(metric.ends == ["_sum", "_count"][: len(metric.ends)], "one sum, then one count")
        case _:
            _require(False, f"a sample among those of {metric.name}")


def _judged(metric: Metric) -> Metric:
    """Names and help as Prometheus's conventions have them."""
    words = metric.name.split("_")
    _require(_NAME.fullmatch(metric.name) is not None, "a name of lower-case letters, digits and underscores")
    _require(metric.kind in {"counter", "gauge", "histogram"}, f"{metric.kind} is no kind that is used here")
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
