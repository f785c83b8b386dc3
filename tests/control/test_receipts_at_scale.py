"""Receipts of fleets of thousands: counts and who is missing, pages of the rest, and what an acknowledgement costs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from cdn.control.node_directory import LISTED_NODES, NodeDirectory
from cdn.control.receipt_waits import MAX_WAITS
from cdn.errors import Unavailable
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.fleet.receipt import Listed, NodeOutcome, ReceiptPage
from tests.control.control_room import Api, Control, ControlMaker

LEASE_S = 3600.0
"""Nobody beats for these nodes, on a machine that may be slow."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def at(sequence: int, epoch: str = "e") -> Position:
    return Position(epoch, sequence)


async def met(directory: NodeDirectory, count: int, position: Position) -> list[str]:
    """So many nodes, all connected and at a position."""
    ids = [f"n{number:05d}" for number in range(count)]
    for node_id in ids:
        await directory.connected(node_id, NodeFacts("0.1"), position, lease_s=LEASE_S, record_version=1)
        directory.heartbeat_answered(node_id, {})
    return ids


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def directory(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[NodeDirectory]:
    async def not_now(*arguments: Any) -> None:
        """Thousands of synced writes are not what is asked about here."""

    opened = await NodeDirectory.open(tmp_path / "nodes.db", clock=clock)
    monkeypatch.setattr(opened._memory, "remember", not_now)
    opened.journal_reached(at(10))
    yield opened
    await opened.aclose()


def calls_of(work: Callable[[], object]) -> int:
    """How many Python functions are called, and lines of code run, in doing it."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event in {"call", "line"}
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


async def waiting_for(directory: NodeDirectory, positions: list[Position]) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(directory.wait_complete(position, 0.0, 600.0)) for position in positions]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def ended(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_acknowledgement_costs_the_same_however_many_wait_for_receipts(directory: NodeDirectory) -> None:
    ids = await met(directory, 20, at(10))
    before = calls_of(lambda: directory.applied(ids[0], at(11)))
    tasks = await waiting_for(directory, [at(20 + number % 500) for number in range(MAX_WAITS)])
    after = calls_of(lambda: directory.applied(ids[0], at(12)))
    assert after <= before + 10, "whatever is open, only the first in line is compared"
    await ended(tasks)


async def test_an_acknowledgement_costs_hardly_more_in_a_larger_fleet(directory: NodeDirectory) -> None:
    ids = await met(directory, 10, at(10))
    small = calls_of(lambda: directory.applied(ids[0], at(11)))
    ids = await met(directory, 3_000, at(10))
    large = calls_of(lambda: directory.applied(ids[1_234], at(11)))
    assert large <= small + 10, "no node but the one that speaks is looked at"


async def test_a_receipt_costs_what_is_missing(directory: NodeDirectory) -> None:
    ids = await met(directory, 2_000, at(10))
    for node_id in ids[3:]:
        directory.applied(node_id, at(11))
    few = calls_of(lambda: directory.tally(at(11)))
    many = calls_of(lambda: directory.tally(at(12)))
    assert few < 200 < many


async def test_all_who_wait_are_woken_and_in_any_order(directory: NodeDirectory) -> None:
    ids = await met(directory, 30, at(10))
    tasks = await waiting_for(directory, [at(11 + (number * 7) % 40) for number in range(200)])
    for sequence in range(11, 51):
        for node_id in reversed(ids):
            directory.applied(node_id, at(sequence))
        for _ in range(3):
            await asyncio.sleep(0)
        done = [task.result().position.sequence for task in tasks if task.done()]
        assert max(done) == sequence
        assert len(done) == sum(11 + (number * 7) % 40 <= sequence for number in range(200))
    assert all(task.result().is_complete for task in tasks)


async def test_those_who_give_up_are_forgotten(directory: NodeDirectory) -> None:
    await met(directory, 2, at(10))
    waits = directory._waits
    for _ in range(3):
        tasks = await waiting_for(directory, [at(20 + number) for number in range(MAX_WAITS)])
        with pytest.raises(Unavailable, match="wait for nodes already"):
            await directory.wait_complete(at(99), 0.0, 1.0)
        await ended(tasks)
        assert waits._lines == {}
    assert not (await directory.wait_complete(at(99), 0.0, 0.01)).is_complete


async def test_a_lease_that_runs_out_wakes_those_who_wait_for_that_node(tmp_path: Path) -> None:
    directory = await NodeDirectory.open(tmp_path / "own.db")
    for node_id in ("a", "b"):
        await directory.connected(node_id, NodeFacts("0.1"), at(1), lease_s=0.05, record_version=1)
        directory.heartbeat_answered(node_id, {})
    tasks = await waiting_for(directory, [at(2), at(3)])
    directory.disconnected("a")
    directory.disconnected("b")
    async with asyncio.timeout(30):
        receipts = await asyncio.gather(*tasks)
    assert [[line.outcome for line in each.nodes] for each in receipts] == [[NodeOutcome.EXCUSED] * 2] * 2
    await directory.aclose()


async def test_a_node_that_returns_after_its_lease_is_waited_for_again(directory: NodeDirectory, clock: Clock) -> None:
    await met(directory, 2, at(10))
    directory.disconnected("n00000")
    directory.applied("n00001", at(11))
    clock.now += LEASE_S + 1
    assert (await directory.wait_complete(at(11), 0.0, 0.0)).is_complete
    await directory.connected("n00000", NodeFacts("0.1"), at(10), lease_s=LEASE_S, record_version=1)
    tasks = await waiting_for(directory, [at(11)])
    assert [task.done() for task in tasks] == [False]
    directory.applied("n00000", at(11))
    assert (await tasks[0]).tally.applied == 2


async def test_a_large_fleet_lists_those_that_have_not_applied_it(directory: NodeDirectory) -> None:
    ids = await met(directory, LISTED_NODES + 50, at(10))
    for node_id in ids[5:]:
        directory.applied(node_id, at(11))
    receipt = directory.receipt(at(11), 0.0)
    assert [line.node_id for line in receipt.nodes] == ids[:5]
    assert (receipt.tally.applied, receipt.more_after) == (len(ids) - 5, None)
    none_yet = directory.receipt(at(12), 0.0)
    assert [line.node_id for line in none_yet.nodes] == ids[:LISTED_NODES]
    assert none_yet.more_after == ids[LISTED_NODES - 1]
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = directory.receipt(at(11), 0.0, page=ReceiptPage(Listed.ALL, after, 40))
        assert len(page.nodes) <= 40
        seen += [line.node_id for line in page.nodes]
        after = page.more_after
    assert seen == ids


# Over the API.


@pytest.fixture
async def control(make_control: ControlMaker) -> Control:
    return await make_control()


async def a_large_fleet(control: Control, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Api]:
    async def not_now(*arguments: Any) -> None:
        """As above."""

    monkeypatch.setattr(control.directory._memory, "remember", not_now)
    await control.api.post("/v1/sites", {"name": "blog"})
    return await met(control.directory, 1_200, control.plane.state.position), await control.api.token_for("purge:blog")


async def test_a_purge_of_a_large_fleet_answers_with_counts_and_who_is_missing(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, _ = await a_large_fleet(control, monkeypatch)
    purged = (await control.api.post("/v1/sites/blog/purges", {"everything": True})).document
    assert purged["counts"] == {"applied": 0, "pending": 1200, "fenced": 0, "excused": 0}
    assert (len(purged["nodes"]), purged["more_after"]) == (100, ids[99])
    for node_id in ids[2:]:
        control.directory.applied(node_id, control.plane.state.position)
    path = f"/v1/receipts/{purged['position']['sequence']}"
    receipt = (await control.api.get(path)).document
    assert receipt["counts"] == {"applied": 1198, "pending": 2, "fenced": 0, "excused": 0}
    assert [line["node"] for line in receipt["nodes"]] == ids[:2]
    assert (receipt["complete"], receipt["more_after"]) == (False, None)
    listed: list[str] = []
    after: str | None = ""
    while after is not None:
        page = (await control.api.get(f"{path}?list=all&after={after}&limit=500")).document
        assert len(page["nodes"]) <= 500
        listed += [line["node"] for line in page["nodes"]]
        after = page["more_after"]
    assert listed == ids
    one = (await control.api.get(f"{path}?after={ids[0]}")).document
    assert [line["node"] for line in one["nodes"]] == [ids[1]], "the unapplied are gone through"


@pytest.mark.parametrize("query", ["list=some", "limit=0", "limit=1001", "limit=x", "list=all&limit=-1", "limit="])
async def test_pages_that_cannot_be_asked_for(control: Control, query: str) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    sequence = control.plane.state.position.sequence
    assert (await control.api.get(f"/v1/receipts/{sequence}?{query}")).status == 400
    if "list" not in query:
        assert (await control.api.get(f"/v1/status?{query}")).status == 400


async def test_status_comes_in_pages(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, _ = await a_large_fleet(control, monkeypatch)
    first = (await control.api.get("/v1/status")).document
    assert (len(first["nodes"]), first["node_count"], first["more_after"]) == (1000, 1200, ids[999])
    assert first["states"] == {"serving": 1200}
    second = (await control.api.get(f"/v1/status?after={first['more_after']}")).document
    assert [node["node"] for node in second["nodes"]] == ids[1000:]
    assert second["more_after"] is None
    some = (await control.api.get(f"/v1/status?after={ids[1190]}&limit=3")).document
    assert [node["node"] for node in some["nodes"]] == ids[1191:1194]
