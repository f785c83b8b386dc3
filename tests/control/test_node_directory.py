"""The node directory: receipts, waiting without polling, and what a restart of control remembers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cdn.control import kept_times, node_directory, preparations, receipt_waits
from cdn.control.node_directory import NodeDirectory
from cdn.control.node_memory import DirectoryUnavailable
from cdn.errors import Conflict, InvalidInput, NotFound, Unavailable
from cdn.fleet.lease import LEASE_MARGIN_S
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeOutcome

_Result = TypeVar("_Result")
LEASE_S = 10.0


class Clock:
    """Monotonic and wall time under the test's hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + 1_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def directory(tmp_path: Path, clock: Clock) -> AsyncIterator[NodeDirectory]:
    opened = await _open(tmp_path, clock)
    yield opened
    await opened.aclose()


async def _open(folder: Path, clock: Clock) -> NodeDirectory:
    return await NodeDirectory.open(folder / "nodes.db", clock=clock.monotonic, wall=clock.wall)


async def _connect(
    directory: NodeDirectory, node_id: str, sequence: int | None = 0, *, lease_s: float = LEASE_S, version: int = 1
) -> None:
    position = None if sequence is None else at(sequence)
    await directory.connected(node_id, NodeFacts("0.1", "eu"), position, lease_s=lease_s, record_version=version)


def at(sequence: int, epoch: str = "e") -> Position:
    return Position(epoch, sequence)


def outcomes(directory: NodeDirectory, sequence: int) -> dict[str, str]:
    return {line.node_id: line.outcome.value for line in directory.receipt(at(sequence), 0.0).nodes}


async def _begun(waiting: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
    task = asyncio.create_task(waiting)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_receipt_names_every_node_and_when_it_applied(directory: NodeDirectory, clock: Clock) -> None:
    for node_id in ("b", "a"):
        await _connect(directory, node_id)
    directory.applied("a", at(3))
    clock.now += 5
    directory.applied("a", at(7))
    receipt = directory.receipt(at(3), 55.0)
    assert receipt.recorded_at == 55.0
    assert [(line.node_id, line.outcome, line.applied_at) for line in receipt.nodes] == [
        ("a", NodeOutcome.APPLIED, 1_001_000.0),
        ("b", NodeOutcome.PENDING, None),
    ]
    assert not receipt.is_complete
    assert directory.receipt(at(4), 0.0).nodes[0].applied_at == 1_001_005.0
    assert directory.receipt(at(8), 0.0).nodes[0].outcome is NodeOutcome.PENDING
    assert directory.receipt(at(1, "other"), 0.0).nodes[0].outcome is NodeOutcome.PENDING


async def test_without_nodes_a_receipt_is_complete(directory: NodeDirectory) -> None:
    assert (await directory.wait_complete(at(1), 0.0, 10.0)).is_complete


async def test_waiting_ends_with_the_last_acknowledgement_and_not_before(directory: NodeDirectory) -> None:
    for node_id in ("a", "b"):
        await _connect(directory, node_id)
    waiting = await _begun(directory.wait_complete(at(5), 0.0, 60.0))
    directory.applied("a", at(9))
    directory.applied("b", at(4))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    directory.applied("b", at(5))
    assert (await waiting).is_complete


async def test_waiting_is_not_polling(directory: NodeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    await _connect(directory, "a")
    looked = 0
    receipt = directory.receipt

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal looked
        looked += 1
        return receipt(*args, **kwargs)

    monkeypatch.setattr(directory, "receipt", counted)
    waiting = await _begun(directory.wait_complete(at(500), 0.0, 60.0))
    for sequence in range(1, 500):
        directory.applied("a", at(sequence))
        await asyncio.sleep(0)
    assert looked == 0
    directory.applied("a", at(500))
    assert (await waiting).is_complete
    assert looked == 1


async def test_a_wait_that_is_over_shows_who_is_late(directory: NodeDirectory, clock: Clock) -> None:
    await _connect(directory, "a")
    assert outcomes(directory, 1) == {"a": "pending"}
    receipt = await directory.wait_complete(at(1), 0.0, 0.0)
    assert not receipt.is_complete


async def test_a_node_that_connects_while_one_waits_is_waited_for_too(directory: NodeDirectory) -> None:
    await _connect(directory, "a")
    waiting = await _begun(directory.wait_complete(at(5), 0.0, 60.0))
    await _connect(directory, "b", 2)
    directory.applied("a", at(5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    directory.applied("b", at(5))
    assert (await waiting).is_complete


async def test_a_node_is_pending_while_its_lease_may_run_and_then_excused(
    directory: NodeDirectory, clock: Clock
) -> None:
    await _connect(directory, "a")
    directory.heartbeat_answered("a", {})
    clock.now += 4
    directory.heartbeat_answered("a", {"hits": 3})
    directory.disconnected("a")
    clock.now += LEASE_S + LEASE_MARGIN_S - 0.01
    assert outcomes(directory, 1) == {"a": "pending"}
    clock.now += 0.01
    assert outcomes(directory, 1) == {"a": "excused"}
    fenced = directory.receipt(at(1), 0.0, validates_from=at(0))
    assert fenced.nodes[0].outcome is NodeOutcome.FENCED
    assert fenced.is_complete
    assert directory.counters("a") == {"hits": 3}


async def test_waiting_ends_by_itself_when_the_last_lease_is_over(tmp_path: Path) -> None:
    directory = await NodeDirectory.open(tmp_path / "nodes.db")
    await _connect(directory, "a", lease_s=0.05)
    directory.heartbeat_answered("a", {})
    waiting = await _begun(directory.wait_complete(at(1), 0.0, 60.0))
    directory.disconnected("a")
    async with asyncio.timeout(10):
        receipt = await waiting
    assert receipt.nodes[0].outcome is NodeOutcome.EXCUSED
    await directory.aclose()


async def test_a_lease_given_back_ends_waiting_at_once(directory: NodeDirectory) -> None:
    await _connect(directory, "a")
    directory.heartbeat_answered("a", {})
    waiting = await _begun(directory.wait_complete(at(1), 0.0, 60.0))
    directory.left("a")
    assert (await waiting).nodes[0].outcome is NodeOutcome.EXCUSED


async def test_a_restarted_control_waits_for_the_nodes_it_knew(tmp_path: Path, clock: Clock) -> None:
    before = await _open(tmp_path, clock)
    await _connect(before, "a", lease_s=30.0)
    before.applied("a", at(5))
    await before.aclose()
    after = await _open(tmp_path, clock)
    assert outcomes(after, 5) == {"a": "pending"}, "its lease from before may still run"
    assert after.nodes()[0].facts == NodeFacts("0.1", "eu")
    clock.now += 30.0 + LEASE_MARGIN_S
    assert outcomes(after, 5) == {"a": "excused"}
    await _connect(after, "a", 5)
    line = after.receipt(at(5), 0.0).nodes[0]
    assert (line.outcome, line.applied_at) == (NodeOutcome.APPLIED, 1_001_000.0), "times outlive control"
    await after.aclose()


async def test_an_earlier_longer_lease_counts_until_a_heartbeat_is_answered(tmp_path: Path, clock: Clock) -> None:
    before = await _open(tmp_path, clock)
    await _connect(before, "a", lease_s=60.0)
    await before.aclose()
    after = await _open(tmp_path, clock)
    await _connect(after, "a", lease_s=5.0)
    after.disconnected("a")
    clock.now += 59
    assert outcomes(after, 1) == {"a": "pending"}
    await _connect(after, "a", lease_s=5.0)
    after.heartbeat_answered("a", {})
    after.disconnected("a")
    clock.now += 5 + LEASE_MARGIN_S
    assert outcomes(after, 1) == {"a": "excused"}
    await after.aclose()


async def test_where_a_node_says_it_stands_is_taken_even_backwards(directory: NodeDirectory, clock: Clock) -> None:
    await _connect(directory, "a")
    directory.applied("a", at(3))
    clock.now += 1
    directory.applied("a", at(6))
    await _connect(directory, "a", 4)
    assert outcomes(directory, 5) == {"a": "pending"}, "it lost what it had acknowledged"
    assert directory.receipt(at(3), 0.0).nodes[0].applied_at == 1_001_000.0
    clock.now += 1
    await _connect(directory, "a", 8)
    assert directory.receipt(at(7), 0.0).nodes[0].applied_at == 1_001_002.0, "an acknowledgement that was lost"
    await _connect(directory, "a", None)
    assert outcomes(directory, 1) == {"a": "pending"}
    directory.applied("a", at(9))
    directory.applied("a", at(2))
    assert directory.node("a").position == at(9)
    directory.applied("a", at(1, "new epoch"))
    assert directory.node("a").position == at(1, "new epoch")


async def test_acknowledgements_are_remembered_within_a_bound(
    directory: NodeDirectory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _connect(directory, "a")
    first = clock.wall()
    for sequence in range(1, kept_times.TIMES_KEPT_PER_NODE + 101):
        directory.applied("a", at(sequence))
        clock.now += 1
    lines = {n: directory.receipt(at(n), 0.0).nodes[0] for n in (100, 101, 4000)}
    assert all(line.outcome is NodeOutcome.APPLIED for line in lines.values())
    assert [line.applied_at for line in lines.values()] == [None, first + 100, first + 3999]


async def test_preparing_waits_for_every_serving_node(directory: NodeDirectory, clock: Clock) -> None:
    for node_id in ("a", "b", "c", "gone"):
        await _connect(directory, node_id)
    directory.left("gone")
    waiting = await _begun(directory.wait_prepared("s1", "d1", 60.0))
    directory.prepared("a", "s1", "d1")
    directory.prepared("b", "s1", "d1", "no such manifest")
    directory.prepared("c", "s1", "another deploy")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    late = await directory.wait_prepared("s1", "d1", 0.0)
    assert (late.prepared, late.failed, late.late) == (("a",), {"b": "no such manifest"}, ("c",))
    directory.prepared("c", "s1", "d1")
    report = await waiting
    assert (report.prepared, report.failed, report.late) == (("a", "c"), {"b": "no such manifest"}, ())


async def test_preparations_are_remembered_within_a_bound(
    directory: NodeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparations, "MAX_DEPLOYS_TRACKED", 3)
    await _connect(directory, "a")
    for deploy_id in ("d1", "d2", "d3", "d1", "d4"):
        directory.prepared("a", "s1", deploy_id, "x" * 5000)
    remembered = {d: (await directory.wait_prepared("s1", d, 0.0)).failed for d in ("d1", "d2", "d3", "d4")}
    assert [d for d, failed in remembered.items() if failed] == ["d1", "d3", "d4"]
    assert len(remembered["d1"]["a"]) == preparations.MAX_REASON_CHARS


async def test_a_node_is_forgotten_only_when_it_surely_does_not_serve(tmp_path: Path, clock: Clock) -> None:
    directory = await _open(tmp_path, clock)
    await _connect(directory, "a")
    directory.heartbeat_answered("a", {})
    with pytest.raises(Conflict, match="may still be serving"):
        await directory.forget("a")
    directory.disconnected("a")
    with pytest.raises(Conflict, match="may still be serving"):
        await directory.forget("a")
    waiting = await _begun(directory.wait_complete(at(1), 0.0, 60.0))
    clock.now += LEASE_S + LEASE_MARGIN_S
    await directory.forget("a")
    assert (await waiting).nodes == ()
    with pytest.raises(NotFound):
        await directory.forget("a")
    await directory.aclose()
    again = await _open(tmp_path, clock)
    assert again.nodes() == ()
    await again.aclose()


async def test_the_record_version_is_what_every_known_node_understands(directory: NodeDirectory) -> None:
    assert directory.record_version() is None
    await _connect(directory, "a", version=3)
    await _connect(directory, "b", version=2)
    directory.disconnected("b")
    assert directory.record_version() == 2


async def test_nodes_waits_and_names_are_bounded(directory: NodeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_directory, "MAX_NODES", 2)
    monkeypatch.setattr(receipt_waits, "MAX_WAITS", 1)
    for node_id in ("", "UPPER", "a" * 64, "a/b", "-a", "a\n"):
        with pytest.raises(InvalidInput):
            await _connect(directory, node_id)
    await _connect(directory, "a")
    await _connect(directory, "b")
    with pytest.raises(DirectoryUnavailable, match="2 nodes"):
        await _connect(directory, "c")
    await _connect(directory, "a")
    waiting = await _begun(directory.wait_complete(at(1), 0.0, 60.0))
    with pytest.raises(Unavailable, match="wait for nodes already"):
        await directory.wait_complete(at(1), 0.0, 60.0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    again = await _begun(directory.wait_complete(at(1), 0.0, 60.0))
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    directory.heartbeat_answered("a", {f"c{n}": n for n in range(1000)})
    assert len(directory.counters("a")) == node_directory.MAX_COUNTERS


async def test_a_node_that_cannot_be_remembered_is_not_let_in(directory: NodeDirectory, tmp_path: Path) -> None:
    broken = sqlite3.connect(tmp_path / "nodes.db")
    broken.execute("DROP TABLE node")
    broken.commit()
    broken.close()
    with pytest.raises(DirectoryUnavailable):
        await _connect(directory, "a")
    assert directory.nodes() == ()


async def test_the_reason_a_node_stopped_is_kept_until_it_returns(directory: NodeDirectory) -> None:
    await _connect(directory, "a")
    directory.stopped("a", "x" * 5000)
    assert len(str(directory.node("a").stopped)) == preparations.MAX_REASON_CHARS
    await _connect(directory, "a")
    assert directory.node("a").stopped is None
    with pytest.raises(NotFound):
        directory.node("b")
