"""What a command has to say, for people and for programs, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from cdn.cli.text import columns, in_time

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
    """The receipt as a small table: each node that is listed, what it did, how long after the record, or why not."""
    sequence, recorded_at = receipt["position"]["sequence"], receipt["recorded_at"]
    listed, counts = receipt["nodes"], _counts(receipt)
    total = sum(counts.values())
    if not total:
        return (f"recorded as {sequence}; no node serves yet",)
    rows = [(node["node"], node["outcome"], _after(node, recorded_at), _why(node)) for node in listed]
    has_reasons = any(row[3] for row in rows)
    head = ("node", "outcome", "applied after", "why") if has_reasons else ("node", "outcome", "applied after")
    table = columns(head, [row[: len(head)] for row in rows]) if rows else ()
    omitted: tuple[str, ...] = ()
    if len(listed) < total:
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        omitted = (f"{said}; listed are {len(listed)}, all of them: cdn receipt {sequence} --all",)
    pending = counts["pending"]
    if receipt["complete"]:
        return (*table, *omitted, f"recorded as {sequence}; complete on {_of_which(counts, total)}")
    if pending:
        sentence = f"recorded as {sequence}; NOT complete: {pending} of {total} nodes have not applied it yet"
    else:
        sentence = f"recorded as {sequence}; NOT complete: what nodes told other replicas of control is not known now"
    way_out = f"wait for them: cdn receipt {sequence} --wait 1m; their state: cdn status"
    return (*table, *omitted, sentence, way_out)


def _of_which(counts: dict[str, int], total: int) -> str:
    """`3 of 3 nodes`, and of those that are cut off what they do: none of them has the record."""
    excused, fenced = counts.get("excused", 0), counts.get("fenced", 0)
    said = f"{total - excused} of {total} nodes"
    if fenced:
        said += f", of which {fenced} cut off and asking the store first"
    if excused:
        said += f"; {excused} cut off, and may still serve what was there before"
    return said


def _counts(receipt: Document) -> dict[str, int]:
    """How many nodes there are of each outcome; a control of an earlier release lists them all instead."""
    if "counts" in receipt:
        return dict(receipt["counts"])
    found = [node["outcome"] for node in receipt["nodes"]]
    return {outcome: found.count(outcome) for outcome in ("applied", "pending", "fenced", "excused")}


def _why(node: Document) -> str:
    """Why a node has not applied it, and since when: `detached (disconnected) since ...`."""
    state = node.get("state")
    return "" if state is None else f"{state} ({node['reason']}) since {in_time(node['since'])}"


def _after(node: Document, recorded_at: float) -> str:
    if node["applied_at"] is not None:
        return f"{max(0.0, node['applied_at'] - recorded_at) * 1000:.1f} ms"
    if node.get("applied_by") is not None:
        return f"by {in_time(node['applied_by'])}"
    return "-"
