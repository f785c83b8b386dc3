"""What an edge answers, in numbers: by protocol, class of status and outcome, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cdn.cli.metrics import Family, Kind, counter, histogram, labelled
from cdn.edge.latency import BOUNDS_S
from cdn.edge.traffic import PROTOCOLS

LOG_HELP: Mapping[str, tuple[str, str]] = {
    "log written": ("cdn_edge_access_log_lines", "Lines that were written to the access log."),
    "log written_bytes": ("cdn_edge_access_log_bytes", "What was written to the access log."),
    "log reopened": ("cdn_edge_access_log_reopened", "Times that the file of the access log was opened anew."),
    "log faults": ("cdn_edge_access_log_faults", "Times that the access log could not be written or opened."),
}
"""Name and meaning of what is counted of the log itself."""

DROPPED = "log dropped_"


def traffic_metrics(numbers: Mapping[str, int]) -> Sequence[Family]:
    """`numbers` as `Traffic.numbers` gives them, of all processes together."""
    requests: dict[tuple[tuple[str, str], ...], float] = {}
    for name, value in numbers.items():
        if name.startswith("requests "):
            _, protocol, status, outcome = name.split(" ")
            shown = f"{status}xx" if status != "0" else "none"
            requests[("protocol", protocol), ("status", shown), ("outcome", outcome)] = value
    sent = {each: float(numbers[name]) for each in PROTOCOLS if (name := f"content_bytes {each}") in numbers}
    dropped = {name.removeprefix(DROPPED): float(value) for name, value in numbers.items() if name.startswith(DROPPED)}
    return (
        Family("cdn_edge_requests_total", Kind.COUNTER, "Answers that were given, by what came of them.", requests),
        labelled("cdn_edge_sent_bytes", Kind.COUNTER, "Content that was sent.", "protocol", sent),
        _latency(numbers, "first_byte", "cdn_edge_head_seconds", "From a request's head to that of its answer."),
        _latency(numbers, "whole", "cdn_edge_answer_seconds", "From a request's head to the end of its answer."),
        *(counter(shown, help_, numbers.get(name, 0)) for name, (shown, help_) in LOG_HELP.items()),
        labelled(
            "cdn_edge_access_log_dropped",
            Kind.COUNTER,
            "Lines of the access log that were not written, by reason.",
            "reason",
            dropped,
        ),
    )


def _latency(numbers: Mapping[str, int], name: str, shown: str, help_: str) -> Family:
    counts = [numbers.get(f"{name} {bucket}", 0) for bucket in range(len(BOUNDS_S) + 1)]
    return histogram(shown, help_, BOUNDS_S, counts, numbers.get(f"{name}_us", 0) / 1_000_000)
