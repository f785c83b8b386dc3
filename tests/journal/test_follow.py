"""Following over a real server: same state, each record once and in order, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from pathlib import Path

import pytest

from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.journal import sqlite as sqlite_journal
from cdn.journal import wire
from cdn.journal.follower import FollowBroken
from cdn.journal.record import Record
from cdn.journal.record_tail import RecordTail
from cdn.journal.replica import TAIL_SUFFIX
from tests.journal.ledger import Ledger, purge, secret
from tests.journal.plane import PATIENCE_S, SeveringProxy, node, plane


async def test_a_new_node_gets_a_snapshot_and_then_every_record_once(tmp_path: Path) -> None:
    async with plane(tmp_path) as control:
        await control.append(*(purge(f"/{n}") for n in range(50)))
        async with node(tmp_path, control.url) as edge:
            await control.complete(edge)
            assert edge.sink.snapshots == [(Position(control.journal.epoch, 50), True)]
            last = await control.append(*(purge(f"/more/{n}") for n in range(700)))
            receipt = await control.complete(edge)
            assert receipt.position == last.position == edge.follower.position
            assert edge.sink.sequences == list(range(51, 751))
            assert edge.ledger.entries == control.ledger.entries


@pytest.mark.parametrize("seed", range(6))
async def test_cut_at_any_byte_it_ends_with_controls_state(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    cuts_snapshots = seed % 2 == 1
    async with plane(tmp_path) as control, SeveringProxy(control.url, chance, 12).run() as proxy:
        await control.append(*(purge(f"/before/{n}") for n in range(200)))
        if cuts_snapshots:
            proxy.begin()
        async with node(tmp_path, proxy.url, compact_after=40) as edge:
            if not cuts_snapshots:
                await control.complete(edge)
                proxy.begin()
            for n in range(40):
                values = [f"/{n}/{m}" for m in range(chance.randrange(1, 8))]
                await control.append(*(secret(value) if chance.random() < 0.2 else purge(value) for value in values))
                await asyncio.sleep(chance.random() * 0.01)
            await control.complete(edge)
            assert edge.ledger.entries == control.ledger.entries
            started_at = edge.sink.snapshots[-1][0].sequence
            assert edge.sink.sequences == list(range(started_at + 1, control.ledger.last + 1)), "each once, in order"
            assert cuts_snapshots or len(edge.sink.snapshots) == 1, "it resumes where it stood"
            assert not any(control.hub.refusals.counts().values())


@pytest.mark.parametrize("seed", range(3))
async def test_nodes_and_control_that_restart_end_with_the_same_state(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for run in range(4):
        async with plane(tmp_path) as control:
            await control.append(*(purge(f"/{run}/{n}") for n in range(chance.randrange(1, 30))))
            async with node(tmp_path, control.url, compact_after=15) as edge:
                await control.append(*(purge(f"/{run}/more/{n}") for n in range(chance.randrange(1, 30))))
                if run == 0 or chance.random() < 0.7:
                    await control.complete(edge)
                    assert edge.ledger.entries == control.ledger.entries
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await control.complete(edge)
        assert edge.ledger.entries == control.ledger.entries
        assert edge.sink.snapshots == []


async def test_a_node_that_restarts_resumes_and_says_at_once_where_it_stands(tmp_path: Path) -> None:
    async with plane(tmp_path) as control:
        async with node(tmp_path, control.url) as edge:
            await control.append(purge("/1"), purge("/2"))
            await control.complete(edge)
        await control.append(purge("/3"))
        async with node(tmp_path, control.url) as edge:
            assert edge.ledger.last == 2, "warm before it reaches control"
            await control.complete(edge)
            assert edge.sink.sequences == [3]
            assert edge.sink.snapshots == []
        assert control.hub.counters["snapshots_sent"] == 1


async def test_records_of_other_audiences_arrive_empty(tmp_path: Path) -> None:
    async with plane(tmp_path) as control:
        await control.append(secret("before"))
        async with node(tmp_path, control.url) as edge:
            await control.complete(edge)
            await control.append(secret("after"), purge("/a"))
            await control.complete(edge)
            assert edge.ledger.entries == [(1, "Withheld"), (2, "Withheld"), (3, "purged /a")]
            assert [text for _, text in control.secrets.entries] == ["revoked before", "revoked after", "purged /a"]
        kept = b"".join(part.read_bytes() for part in tmp_path.glob("edge-1.db*"))
        assert b"after" not in kept


async def test_what_was_trimmed_comes_as_a_snapshot_with_its_horizon(tmp_path: Path) -> None:
    async with plane(tmp_path) as control:
        async with node(tmp_path, control.url) as edge:
            await control.append(purge("/1"))
            await control.complete(edge)
        await control.append(*(purge(f"/{n}") for n in range(2, 20)))
        await control.journal.trim(10)
        control.floor_horizon = 9
        async with node(tmp_path, control.url) as edge:
            await control.complete(edge)
            assert edge.sink.snapshots == [(Position(control.journal.epoch, 19), False)]
            assert edge.ledger.horizon == 9
            assert edge.ledger.entries == control.ledger.entries


async def test_a_snapshot_of_many_frames_arrives_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdn.control.follow_connection.SNAPSHOT_FRAME_BYTES", 100)
    async with plane(tmp_path) as control:
        await control.append(*(purge(f"/{random.Random(n).random()}") for n in range(500)))
        async with node(tmp_path, control.url) as edge:
            await control.complete(edge)
            assert edge.ledger.entries == control.ledger.entries


async def test_another_epoch_replaces_everything_and_is_told(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await control.append(*(purge(f"/{n}") for n in range(5)))
        await control.complete(edge)
        old_epoch = control.journal.epoch
    async with plane(tmp_path, name="restored") as control, node(tmp_path, control.url) as edge:
        assert edge.replica.position == Position(old_epoch, 5)
        await control.append(purge("/new"))
        await control.complete(edge)
        assert edge.sink.snapshots[0][1] is True
        assert edge.follower.position == Position(control.journal.epoch, 1)
        assert edge.ledger.entries == [(1, "purged /new")]


async def test_an_unknown_record_stops_it_there_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await control.append(purge("/1"))
        await control.complete(edge)
        monkeypatch.setattr(sqlite_journal, "version_of", lambda change: 99)
        for value in ("/2", "/3"):
            await control.journal.append(purge(value), expected_sequence=None)
        monkeypatch.undo()
        async with asyncio.timeout(PATIENCE_S):
            while control.directory.nodes()[0].stopped is None:
                await asyncio.sleep(0.005)
        assert "version 99" in str(edge.follower.stopped)
        assert edge.follower.position == Position(control.journal.epoch, 1)
        assert edge.ledger.entries == [(1, "purged /1")]
        assert control.directory.nodes()[0].position == Position(control.journal.epoch, 1)


async def test_what_is_not_durable_is_not_acknowledged_and_heals_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await control.append(purge("/1"))
        await control.complete(edge)

        def full(descriptor: int, content: bytes, offset: int) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "pwrite", full)
        await control.append(purge("/2"))
        async with asyncio.timeout(PATIENCE_S):
            while "No space left" not in str(edge.follower.fault):
                await asyncio.sleep(0.005)
        assert control.directory.nodes()[0].position == Position(control.journal.epoch, 1)
        assert edge.ledger.last == 1
        monkeypatch.undo()
        await control.complete(edge)
        assert edge.ledger.entries == control.ledger.entries


async def test_it_acknowledges_after_commit_folds_and_sink_in_that_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await control.complete(edge)
        commit, fold, tell, acknowledge = (
            edge.replica.apply,
            edge.ledger.apply,
            edge.sink.on_records,
            control.directory.applied,
        )

        async def committed(records: list[Record]) -> None:
            await commit(records)
            other = RecordTail(tmp_path / f"edge-1.db{TAIL_SUFFIX}", Unavailable)
            assert [sequence for sequence, _ in await other.read(10)] == [1]
            await other.aclose()
            steps.append("commit")

        def folded(record: Record) -> None:
            fold(record)
            steps.append("fold")

        def sunk(records: list[Record], position: Position) -> None:
            tell(records, position)
            steps.append("sink")

        def acknowledged(node_id: str, position: Position) -> None:
            acknowledge(node_id, position)
            steps.append("acknowledge")

        monkeypatch.setattr(edge.replica, "apply", committed)
        monkeypatch.setattr(edge.ledger, "apply", folded)
        monkeypatch.setattr(edge.sink, "on_records", sunk)
        monkeypatch.setattr(control.directory, "applied", acknowledged)
        await control.append(purge("/1"))
        await control.complete(edge)
    assert steps == ["commit", "fold", "sink", "acknowledge"]


async def test_a_fold_that_fails_ends_following_loudly_and_is_not_acknowledged(tmp_path: Path) -> None:
    class Broken(Ledger):
        def apply(self, record: Record) -> None:
            raise ValueError("no idea what to do")

    async with plane(tmp_path) as control, node(tmp_path, control.url, ledger=Broken()) as edge:
        await edge.follower.wait_caught_up()
        await control.append(purge("/1"))
        with pytest.raises(FollowBroken, match="no idea what to do"):
            await edge.running
        assert control.directory.nodes()[0].position == Position(control.journal.epoch, 0)


async def test_records_larger_than_one_message_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_RECORDS_BYTES", 1000)
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await edge.follower.wait_caught_up()
        await control.append(*(purge("x" * 900_000) for _ in range(6)))
        await control.complete(edge)
        assert edge.ledger.last == 6


async def test_many_nodes_follow_side_by_side(tmp_path: Path) -> None:
    async with plane(tmp_path) as control:
        nodes = [node(tmp_path, control.url, node_id=f"edge-{n}") for n in range(8)]
        running = [await each.__aenter__() for each in nodes]
        await asyncio.gather(*(each.follower.wait_caught_up() for each in running))
        for n in range(30):
            await control.append(purge(f"/{n}"))
        receipt = await control.complete(*running)
        assert [line.node_id for line in receipt.nodes] == [f"edge-{n}" for n in range(8)]
        for each in running:
            assert each.ledger.entries == control.ledger.entries
        for context in nodes:
            await context.__aexit__(None, None, None)
