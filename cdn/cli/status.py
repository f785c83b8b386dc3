"""`cdn status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdn.cli.result import Document, Result
from cdn.cli.run import JsonOption, run
from cdn.cli.text import columns, counted, in_time, safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient


ARCHIVE_LATE_S = 2.0
"""Records are archived within a second; more than two are worth a line."""


def status(is_json: JsonOption = False) -> None:
    """Show the nodes, the sequences they serve at, and their lag."""

    async def work(client: ControlClient) -> Result:
        answer = await client.status()
        position = answer["position"]
        head = (
            f"control {safe(answer['program'])} at {safe(client.endpoint.url)}: {counted(answer['sites'], 'site')}, "
            f"sequence {position['sequence']} of epoch {safe(position['epoch'])}"
        )
        archive = answer.get("archive")
        behind = () if archive is None else _behind(archive)
        if not answer["nodes"]:
            return Result(answer, (head, *behind, "no node has been seen yet"))
        rows = [_row(node) for node in answer["nodes"]]
        table = columns(("node", "region", "state", "sequence", "lag", "last heard", "program"), rows)
        return Result(answer, (head, *behind, *table))

    run(work, is_json=is_json)


def _behind(archive: Document) -> tuple[str, ...]:
    """A line when records wait longer for the object store than they should."""
    if archive["lag_s"] <= ARCHIVE_LATE_S:
        return ()
    why = "" if archive["failure"] is None else f": {safe(archive['failure'])}"
    waiting = counted(archive["lag"], "record")
    return (f"archive {waiting} behind for {archive['lag_s']:.0f} s: a loss of control's disk would lose them{why}",)


def _row(node: Document) -> tuple[str, ...]:
    position, lag = node["position"], node["lag"]
    return (
        node["node"],
        node["facts"]["region"] or "-",
        _state(node),
        "-" if position is None else str(position["sequence"]),
        "-" if lag is None else str(lag),
        in_time(node["answered_at"]),
        node["program"],
    )


def _state(node: Document) -> str:
    """The state, and why when that is not the usual: `serving`, `lagging (stopped)`."""
    is_usual = node["reason"] in {"current", "behind", "asked", "new"}
    return node["state"] if is_usual else f"{node['state']} ({node['reason']})"
