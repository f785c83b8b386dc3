"""`cdn status` and `cdn receipt` for people: leases, weights, DNS, clocks and refusals; large fleets in short."""

from __future__ import annotations

from typing import Any

import pytest

from cdn.control.refusals import Refusal
from cdn.fleet.node import NodeFacts
from tests.cli.conftest import Cdn
from tests.control.control_room import Control

LEASE_S = 3600.0
"""Nobody beats for these nodes."""


async def many(cdn: Cdn, count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Control, list[str]]:
    """More nodes, which do not follow by themselves."""
    control = cdn.control
    assert control is not None

    async def not_now(*arguments: Any) -> None:
        """Synced writes are not what is asked about here."""

    monkeypatch.setattr(control.directory._memory, "remember", not_now)
    ids = [f"n{number:04d}" for number in range(count)]
    for node_id in ids:
        facts = NodeFacts("test", "eu", weight=50)
        position = control.plane.state.position
        await control.directory.connected(node_id, facts, position, lease_s=LEASE_S, record_version=1)
        control.directory.heartbeat_answered(node_id, {})
    return control, ids


def cells(out: str, node_id: str) -> list[str]:
    """The row of a node."""
    (row,) = [line for line in out.splitlines() if line.startswith(f"{node_id} ")]
    return row.split()


async def test_a_node_is_shown_with_lease_weight_and_its_part_of_dns(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    await many(cdn, 2, monkeypatch)
    out = (await cdn("status")).out
    head = next(line for line in out.splitlines() if line.startswith("node "))
    assert head.split() == [
        *("node", "region", "state", "sequence", "lag", "lease", "weight", "load", "dns", "last", "heard", "program")
    ]
    row = cells(out, "n0001")
    assert (row[1], row[2], row[4], *row[6:10]) == ("eu", "serving", "0", "s", "50", "0%", "50%")
    assert cells(out, "edge-1")[7:10] == ["100", "0%", "100%"]


async def test_wrong_clocks_and_refusals_are_said(cdn: Cdn) -> None:
    control = cdn.control
    assert control is not None
    control.directory.heard_clock("edge-1", -3600.0)
    for number in range(7):
        sentence = f"number {number} \x1b[31m"
        control.plane.hub.refusals.note(Refusal.FOREIGN_TOKEN, "edge-9", "192.0.2.7", sentence, control.clock.now)
    out = (await cdn("status")).out
    assert "the clock of edge-1 is 3600 s behind control's" in out
    assert "refused since control started: 7 foreign-token" in out
    assert "node edge-9 at 192.0.2.7: foreign-token: number 6" in out
    assert "number 1 " not in out, "the last five"
    assert "\x1b" not in out


async def test_what_detached_nodes_do_is_said_when_there_are_some(cdn: Cdn) -> None:
    control = cdn.control
    assert control is not None
    await cdn("site", "create", "blog")
    assert "detached nodes" not in (await cdn("status")).out
    control.directory.disconnected("edge-1")
    later = control.directory._clock() + 1000
    control.directory._conditions._clock = lambda: later
    out = (await cdn("status")).out
    assert "detached nodes answer 1 site from what they know, and 0 sites only with what they validate" in out


async def test_of_a_large_fleet_only_what_is_unusual_is_shown(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    control, ids = await many(cdn, 1_100, monkeypatch)
    control.directory.left(ids[7])
    short = (await cdn("status")).out
    assert cells(short, ids[7])[2:4] == ["gone", "(left)"]
    assert f"{len(ids)} nodes of {len(ids) + 1} serve as usual (cdn status --all)" in short
    assert ids[8] not in short
    whole = (await cdn("status", "--all")).out
    assert all(f"\n{node_id} " in whole for node_id in ids), "every page of it"
    assert len((await cdn("status", "--json")).document["nodes"]) == len(ids) + 1


async def test_the_receipt_of_a_large_fleet(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    control, ids = await many(cdn, 1_100, monkeypatch)
    await cdn("site", "create", "blog")
    purged = await cdn("purge", "--site", "blog", "--all", "--wait", "0s")
    assert purged.status == 3
    sequence = control.plane.state.position.sequence
    assert f"1 applied, 1100 pending; listed are 100, all of them: cdn receipt {sequence} --all" in purged.out
    assert "NOT complete: 1100 of 1101 nodes have not applied it yet" in purged.out
    for node_id in ids:
        control.directory.applied(node_id, control.plane.state.position)
    done = await cdn("receipt", str(sequence))
    assert done.status == 0
    assert f"recorded as {sequence}; complete on 1101 of 1101 nodes" in done.out
    whole = await cdn("receipt", str(sequence), "--all")
    assert all(f"\n{node_id} " in whole.out for node_id in ids)
    assert "listed are" not in whole.out


async def test_why_a_node_has_not_applied_is_said(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    control, ids = await many(cdn, 1, monkeypatch)
    await cdn("site", "create", "blog")
    control.directory.left(ids[0])
    out = (await cdn("purge", "--site", "blog", "--all", "--wait", "1s")).out
    row = next(line for line in out.splitlines() if line.startswith(ids[0]))
    assert row.split()[:6] == [ids[0], "excused", "-", "gone", "(left)", "since"]
