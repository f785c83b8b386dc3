"""What a command has to say, for people and for programs, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from cdn.cli.text import columns

Document = dict[str, Any]


class ExitStatus(IntEnum):
    """0 only when everything that was asked for is done."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_COMPLETE = 3  # recorded, but some node had not applied it when the wait was over
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Result:
    """`document` is printed with --json, `lines` (already safe for a terminal) otherwise."""

    document: Document
    lines: tuple[str, ...]
    status: ExitStatus = ExitStatus.DONE


def result_with_receipt(document: Document, lines: tuple[str, ...], receipt: Document) -> Result:
    """A result that is done only when `receipt` is complete; the receipt follows the lines."""
    status = ExitStatus.DONE if receipt["complete"] else ExitStatus.NOT_COMPLETE
    return Result(document, (*lines, *receipt_lines(receipt)), status)


def receipt_lines(receipt: Document) -> tuple[str, ...]:
    """The receipt as a small table: each node, what it did, and how long after the record."""
    sequence, recorded_at = receipt["position"]["sequence"], receipt["recorded_at"]
    nodes = receipt["nodes"]
    if not nodes:
        return (f"recorded as {sequence}; no node serves yet",)
    rows = [(node["node"], node["outcome"], _after(node["applied_at"], recorded_at)) for node in nodes]
    pending = sum(node["outcome"] == "pending" for node in nodes)
    done = len(nodes) - pending
    way_out: tuple[str, ...] = ()
    if receipt["complete"]:
        sentence = f"recorded as {sequence}; complete on {done} of {len(nodes)} nodes"
    else:
        sentence = f"recorded as {sequence}; NOT complete: {pending} of {len(nodes)} nodes have not applied it yet"
        way_out = (f"wait for them: cdn receipt {sequence} --wait 1m; their state: cdn status",)
    return (*columns(("node", "outcome", "applied after"), rows), sentence, *way_out)


def _after(applied_at: float | None, recorded_at: float) -> str:
    if applied_at is None:
        return "-"
    return f"{max(0.0, applied_at - recorded_at) * 1000:.1f} ms"
