"""`cdn status`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.result import Document, Result
from cdn.cli.run import JsonOption, run
from cdn.cli.text import columns, counted, in_time, safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient


ARCHIVE_LATE_S = 2.0
"""Records are archived within a second; more than two are worth a line."""

CLOCK_OFF_S = 2.0
"""A node's clock that is further off is worth a line."""

SHOWN_NODES = 50
"""Of a larger fleet only the nodes are shown of which something is to be said."""

UPLOAD = "upload"
"""Where a certificate is from that its owner brought: nobody renews it here."""

SHOWN_REFUSALS = 5
"""Of the last refusals."""


def status(
    is_all: Annotated[bool, typer.Option("--all", help="Show every node, however many there are.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Show the nodes, the sequences they serve at, their lag and lease, and what DNS would send them."""

    async def work(client: ControlClient) -> Result:
        answer = await _whole(client)
        position = answer["position"]
        head = (
            f"control {safe(answer['program'])} at {safe(client.endpoint.url)}: {counted(answer['sites'], 'site')}, "
            f"sequence {position['sequence']} of epoch {safe(position['epoch'])}"
        )
        archive = answer.get("archive")
        behind = () if archive is None else _behind(archive)
        if not answer["nodes"]:
            return Result(
                answer,
                (
                    head,
                    *behind,
                    *_certificates(answer),
                    "no node has been seen yet",
                    *_name_servers(answer),
                    *_refusals(answer),
                ),
            )
        nodes = answer["nodes"]
        lines = (*_table(nodes, is_all=is_all), *_name_servers(answer), *_detached(answer), *_clocks(nodes))
        return Result(answer, (head, *behind, *_certificates(answer), *lines, *_refusals(answer)))

    run(work, is_json=is_json)


async def _whole(client: ControlClient) -> Document:
    """The status with the nodes of all its pages."""
    answer = await client.status()
    nodes, after = list(answer["nodes"]), answer.get("more_after")
    while after is not None:
        page = await client.status(after)
        nodes, after = [*nodes, *page["nodes"]], page["more_after"]
    return {**answer, "nodes": nodes, "more_after": None}


def _behind(archive: Document) -> tuple[str, ...]:
    """A line when records wait longer for the object store than they should."""
    if archive["lag_s"] <= ARCHIVE_LATE_S:
        return ()
    why = "" if archive["failure"] is None else f": {safe(archive['failure'])}"
    waiting = counted(archive["lag"], "record")
    return (f"archive {waiting} behind for {archive['lag_s']:.0f} s: a loss of control's disk would lose them{why}",)


def _certificates(answer: Document) -> tuple[str, ...]:
    """A line for each certificate that should have been renewed by now."""
    told = answer.get("certificates")
    if told is None or not told["ending"]:
        return ()
    lines = tuple(map(_alarm, told["ending"]))
    left = told["ending_count"] - len(told["ending"])
    return (*lines, f"and {left} more: cdn domain certificate list") if left else lines


def _alarm(certificate: Document) -> str:
    name = safe(certificate["name"])
    command = "certificate set" if certificate["issuer"] == UPLOAD else "show"
    until = in_time(certificate["not_after"])
    return f"certificate of {name} ends {until} and is not renewed: cdn domain {command} '{name}'"


def _table(nodes: Sequence[Document], *, is_all: bool) -> tuple[str, ...]:
    """The nodes as a table; of many, those that do not simply serve, and how many do."""
    shown = list(nodes)
    if len(nodes) > SHOWN_NODES and not is_all:
        shown = [node for node in nodes if not _is_usual(node)]
    rows = [_row(node) for node in shown]
    head = ("node", "region", "state", "sequence", "lag", "lease", "weight", "load", "dns", "last heard", "program")
    table = columns(head, rows) if rows else ()
    if len(shown) == len(nodes):
        return table
    return (*table, f"{counted(len(nodes) - len(shown), 'node')} of {len(nodes)} serve as usual (cdn status --all)")


def _is_usual(node: Document) -> bool:
    return bool(node["state"] == "serving" and not node["lag_s"] and node["stopped"] is None)


def _row(node: Document) -> tuple[str, ...]:
    position, lag, lease_left_s = node["position"], node["lag"], node.get("lease_left_s")
    return (
        node["node"],
        node["facts"]["region"] or "-",
        _state(node),
        "-" if position is None else str(position["sequence"]),
        "-" if lag is None else str(lag) if not lag else f"{lag} ({node['lag_s']:.0f} s)",
        "-" if not lease_left_s else f"{lease_left_s:.0f} s",
        str(node["facts"].get("weight", "-")),
        "-" if "load" not in node else f"{100 * node['load']:.0f}%",
        _dns(node),
        in_time(node["answered_at"]),
        node["program"],
    )


def _state(node: Document) -> str:
    """The state, and why when that is not the usual: `serving`, `lagging (stopped)`."""
    is_usual = node["reason"] in {"current", "behind", "asked", "new"}
    return node["state"] if is_usual else f"{node['state']} ({node['reason']})"


def _dns(node: Document) -> str:
    """What of its region's visitors DNS would send it, and why it is less than its weight says: `33% (withdrawn)`."""
    if "region_part" not in node:
        return "-"
    part, reason = f"{100 * node['region_part']:.0f}%", node["share_reason"]
    return part if reason == "full" else f"{part} ({reason})"


def _name_servers(answer: Document) -> tuple[str, ...]:
    """A line for each name server that follows this control."""
    return tuple(
        f"name server {safe(each['name'])} follows, {_behind_by(each['lag'])}"
        + ("" if each["stopped"] is None else f", and stopped: {safe(each['stopped'])}")
        for each in answer.get("dns", ())
    )


def _behind_by(lag: int | None) -> str:
    return "and has no copy yet" if lag is None else "current" if not lag else f"{counted(lag, 'record')} behind"


def _detached(answer: Document) -> tuple[str, ...]:
    """What nodes that have lost control do with how many sites."""
    on_detach = answer.get("on_detach")
    if on_detach is None or all(node["state"] != "detached" for node in answer["nodes"]):
        return ()
    return (
        f"detached nodes answer {counted(on_detach['serve'], 'site')} from what they know, and "
        f"{counted(on_detach['validate'], 'site')} only with what they validate",
    )


def _clocks(nodes: Sequence[Document]) -> tuple[str, ...]:
    """A line for each node whose clock is wrong; nothing counts on it, but its log and its dates are."""
    offsets = {node["node"]: node.get("clock_offset_s") or 0.0 for node in nodes}
    return tuple(
        f"the clock of {safe(node_id)} is {abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} control's"
        for node_id, offset_s in offsets.items()
        if abs(offset_s) > CLOCK_OFF_S
    )


def _refusals(answer: Document) -> tuple[str, ...]:
    """What control refused since it started, and the last of it."""
    counts = [f"{count} {safe(reason)}" for reason, count in answer.get("refusals", {}).items() if count]
    if not counts:
        return ()
    last = answer["refused"][:SHOWN_REFUSALS]
    lines = (f"  {in_time(each['at'])}  {_who(each)}: {safe(each['reason'])}: {safe(each['detail'])}" for each in last)
    return (f"refused since control started: {', '.join(counts)}", *lines)


def _who(refused: Document) -> str:
    named = f"node {safe(refused['node'])}" if refused["node"] else "somebody"
    return f"{named} at {safe(refused['peer'])}" if refused["peer"] else named
