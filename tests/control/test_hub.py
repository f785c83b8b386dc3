"""The hub against nodes that lie, hang, double or break the rules; heartbeats, reports and explanations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from cdn.control.refusals import Refusal
from cdn.errors import NotFound, Unavailable
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.fleet.receipt import NodeOutcome
from cdn.journal.wire import (
    Applied,
    Explain,
    FromControl,
    FromNode,
    Heartbeat,
    HeartbeatAnswered,
    Hello,
    Leaving,
    Records,
    Refused,
    SnapshotComing,
    Stopped,
    Welcome,
    decode_from_control,
    encode_message,
)
from tests.journal.ledger import purge
from tests.journal.plane import PATIENCE_S, TOKEN_OF_EDGE_1, Plane, dial, node, plane

Socket = aiohttp.ClientWebSocketResponse


async def _say(socket: Socket, message: FromNode) -> None:
    await socket.send_str(encode_message(message))


async def _hear(socket: Socket) -> FromControl:
    while True:
        frame = await socket.receive(timeout=PATIENCE_S)
        assert frame.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}, frame
        if frame.type is aiohttp.WSMsgType.TEXT:
            return decode_from_control(frame.data)


async def _refusal(socket: Socket) -> tuple[str, int]:
    """Why control closes, and with which code; whatever it says before does not matter."""
    while not isinstance(message := await _hear(socket), Refused):
        pass
    frame = await socket.receive(timeout=PATIENCE_S)
    assert frame.type is aiohttp.WSMsgType.CLOSE
    return message.reason, frame.data


def _hello(position: Position | None, *, node_id: str = "edge-1") -> Hello:
    return Hello(node_id, (1,), position, NodeFacts("0.1", "eu", ("192.0.2.1",)))


async def _enter(socket: Socket, control: Plane, position: Position | None = None, *, node_id: str = "edge-1") -> None:
    await _say(socket, _hello(position, node_id=node_id))
    welcome = await _hear(socket)
    assert isinstance(welcome, Welcome)
    assert welcome.position == await control.journal.position()


async def _until_disconnected(control: Plane, node_id: str = "edge-1") -> None:
    async with asyncio.timeout(PATIENCE_S):
        while control.directory.node(node_id).is_connected:
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer ", "Basic cdn_node_token"])
async def test_without_a_nodes_token_nobody_follows(tmp_path: Path, authorization: str | None) -> None:
    async with plane(tmp_path) as control, aiohttp.ClientSession() as client:
        headers = {} if authorization is None else {"Authorization": authorization}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(control.url + "/v1/follow", headers=headers)
        assert refused.value.status == 401
        assert control.directory.nodes() == ()


async def test_a_follower_with_a_wrong_token_goes_on_trying_and_says_why(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, node(tmp_path, control.url, token="wrong") as edge:
        async with asyncio.timeout(PATIENCE_S):
            while edge.follower.fault is None:
                await asyncio.sleep(0.002)
        assert "401" in edge.follower.fault
        assert not edge.running.done()


@pytest.mark.parametrize("forged", ["ahead of what was sent", "other epoch", "backwards", "before the beginning"])
async def test_acknowledgements_that_cannot_be_true_are_refused_and_counted(tmp_path: Path, forged: str) -> None:
    async with plane(tmp_path) as control, dial(control.url) as socket:
        await control.append(purge("/1"), purge("/2"), purge("/3"))
        epoch = control.journal.epoch
        await _enter(socket, control, Position(epoch, 1))
        records = await _hear(socket)
        assert isinstance(records, Records)
        await _say(socket, Applied(Position(epoch, 2)))
        claim, reason_of = {
            "ahead of what was sent": (Position(epoch, 4), Refusal.FUTURE_ACK),
            "other epoch": (Position("forged", 3), Refusal.FORGED_ACK),
            "backwards": (Position(epoch, 1), Refusal.FORGED_ACK),
            "before the beginning": (Position(epoch, -5), Refusal.FORGED_ACK),
        }[forged]
        await _say(socket, Applied(claim))
        reason, code = await _refusal(socket)
        assert "cannot have been applied" in reason
        assert code == aiohttp.WSCloseCode.POLICY_VIOLATION
        assert control.hub.refusals[reason_of] == 1
        assert sum(control.hub.refusals.counts().values()) == 1
        assert control.directory.node("edge-1").position == Position(epoch, 2)


async def test_before_its_snapshot_was_sent_a_node_has_applied_nothing(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, dial(control.url) as socket:
        await control.append(purge("/1"))
        await _say(socket, _hello(Position("another epoch", 7)))
        await _say(socket, Applied(Position("another epoch", 7)))
        reason, _ = await _refusal(socket)
        assert "cannot have been applied" in reason
        assert control.directory.node("edge-1").position is None


async def test_a_position_ahead_of_the_journal_is_not_believed_but_answered_with_a_snapshot(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, dial(control.url) as socket:
        await control.append(purge("/1"))
        await _enter(socket, control, Position(control.journal.epoch, 99))
        assert isinstance(await _hear(socket), SnapshotComing)
        assert control.hub.refusals[Refusal.FUTURE_POSITION] == 1
        assert control.directory.node("edge-1").position is None
        await _say(socket, Applied(Position(control.journal.epoch, 1)))
        assert (await control.complete()).nodes[0].outcome is NodeOutcome.APPLIED


async def test_messages_that_do_not_belong_close_the_connection_with_the_reason(tmp_path: Path) -> None:
    async with plane(tmp_path) as control:
        for content, said in (
            ("{", "cannot be read"),
            ('{"type": "telepathy"}', "cannot be read"),
            ('{"type": "heartbeat", "number": "one", "counters": {}}', "cannot be read"),
            (encode_message(_hello(None)), "second hello"),
            (b"\x00", "text frames only"),
        ):
            async with dial(control.url) as socket:
                await _enter(socket, control)
                await (socket.send_bytes(content) if isinstance(content, bytes) else socket.send_str(content))
                reason, code = await _refusal(socket)
                assert said in reason
                assert code == aiohttp.WSCloseCode.POLICY_VIOLATION
        assert control.hub.refusals[Refusal.BAD_MESSAGE] == 5
        async with dial(control.url) as socket:
            await _say(socket, Heartbeat(1, {}))
            assert "must be a hello" in (await _refusal(socket))[0]
        async with dial(control.url) as socket:
            await _say(socket, _hello(None, node_id="Not a name!"))
            assert "cannot name a node" in (await _refusal(socket))[0]
        assert [each.node_id for each in control.directory.nodes()] == ["edge-1"]


async def test_a_message_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, dial(control.url) as socket:
        await _enter(socket, control)
        await socket.send_str(encode_message(Stopped("x" * 300_000)))
        await _until_disconnected(control)
        assert control.directory.node("edge-1").stopped is None


async def test_heartbeats_are_answered_counted_and_start_the_lease(tmp_path: Path) -> None:
    async with (
        plane(tmp_path, heartbeat_s=0.01) as control,
        node(tmp_path, control.url, counters=lambda: {"hits": 7}) as edge,
    ):
        await control.complete(edge)
        async with asyncio.timeout(PATIENCE_S):
            while not edge.follower.has_lease():
                await asyncio.sleep(0.002)
        assert control.directory.counters("edge-1") == {"hits": 7}
        view = control.directory.node("edge-1")
        assert view.answered_at is not None
        assert edge.follower.lease.sent_at is not None
        assert edge.follower.lease.lease_s == control.hub.lease_s


async def test_a_silent_node_is_disconnected_after_a_lease_and_excused_soon_after(tmp_path: Path) -> None:
    async with plane(tmp_path, lease_s=0.1) as control, dial(control.url) as socket:
        await _enter(socket, control)
        await _say(socket, Heartbeat(1, {}))
        while not isinstance(await _hear(socket), HeartbeatAnswered):
            pass
        await control.append(purge("/1"))
        early = control.directory.receipt(await control.journal.position(), 0.0)
        assert early.nodes[0].outcome is NodeOutcome.PENDING
        receipt = await control.complete()
        assert receipt.nodes[0].outcome is NodeOutcome.EXCUSED
        assert not control.directory.node("edge-1").is_connected


async def test_a_node_that_takes_nothing_is_cut_off_and_no_queue_grows(tmp_path: Path) -> None:
    async with plane(tmp_path, lease_s=0.2) as control, dial(control.url) as socket:
        await _enter(socket, control)

        async def chatter() -> None:
            number = 0
            while True:
                number += 1
                await _say(socket, Heartbeat(number, {}))
                await asyncio.sleep(0.02)

        talking = asyncio.create_task(chatter())
        for _ in range(30):
            await control.append(purge("x" * 900_000))
        await _until_disconnected(control)
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        assert control.hub.refusals[Refusal.SLOW_NODE] >= 1


async def test_a_node_whose_token_is_revoked_follows_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with plane(tmp_path) as control, dial(control.url) as socket:
        await _enter(socket, control)
        monkeypatch.setattr(control.hub, "_verify_node_token", lambda token, node_id: False)
        await _say(socket, Heartbeat(1, {"n": 1}))
        reason, _ = await _refusal(socket)
        assert "does not let a node follow" in reason
        await _until_disconnected(control)
        assert control.directory.counters("edge-1") == {}


async def test_a_second_connection_of_a_node_takes_the_place_of_the_first(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, dial(control.url) as first, dial(control.url) as second:
        await _enter(first, control)
        await _enter(second, control)
        assert "another connection" in (await _refusal(first))[0]
        await _say(second, Heartbeat(1, {"n": 1}))
        while not isinstance(await _hear(second), HeartbeatAnswered):
            pass
        view = control.directory.node("edge-1")
        assert view.is_connected
        assert control.directory.counters("edge-1") == {"n": 1}


async def test_two_nodes_with_one_id_are_not_one_the_later_is_refused_and_counted(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, node(tmp_path, control.url) as first, dial(control.url) as second:
        async with asyncio.timeout(PATIENCE_S):
            await first.follower.wait_caught_up()
        await _say(second, _hello(None))
        assert "another node that is alive is called edge-1" in (await _refusal(second))[0]
        assert control.hub.refusals[Refusal.DOUBLED_NODE] == 1
        await control.append(purge("/1"))
        assert (await control.complete(first)).is_complete
        assert control.directory.node("edge-1").is_connected


async def test_of_two_that_wait_for_the_place_of_a_silent_one_each_is_heard(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, dial(control.url) as silent:
        await _enter(silent, control)
        async with node(tmp_path / "a", control.url) as first, node(tmp_path / "b", control.url) as second:
            async with asyncio.timeout(PATIENCE_S):
                done, waiting = await asyncio.wait(
                    [asyncio.create_task(each.follower.wait_caught_up()) for each in (first, second)],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                while not control.hub.refusals[Refusal.DOUBLED_NODE]:
                    await asyncio.sleep(0.002)
            assert len(done) == 1
            for task in waiting:
                task.cancel()


async def test_the_token_of_another_node_is_refused_and_counted(tmp_path: Path) -> None:
    async with plane(tmp_path) as control:
        async with dial(control.url, token=TOKEN_OF_EDGE_1) as socket:
            await _say(socket, _hello(None, node_id="edge-2"))
            assert "this token is not for node edge-2" in (await _refusal(socket))[0]
        assert control.hub.refusals[Refusal.FOREIGN_TOKEN] == 1
        assert control.directory.nodes() == ()
        async with dial(control.url, token=TOKEN_OF_EDGE_1) as socket:
            await _enter(socket, control)


async def test_a_node_that_leaves_gives_its_lease_back_at_once(tmp_path: Path) -> None:
    async with plane(tmp_path, lease_s=60.0) as control, dial(control.url) as socket:
        await _enter(socket, control)
        await _say(socket, Heartbeat(1, {}))
        while not isinstance(await _hear(socket), HeartbeatAnswered):
            pass
        await control.append(purge("/1"))
        waiting = asyncio.create_task(control.complete())
        await _say(socket, Leaving())
        assert (await waiting).nodes[0].outcome is NodeOutcome.EXCUSED


async def test_a_follower_that_leaves_ends_and_holds_no_lease(tmp_path: Path) -> None:
    async with plane(tmp_path, lease_s=60.0) as control, node(tmp_path, control.url) as edge:
        await control.complete(edge)
        await edge.follower.leave()
        await edge.running
        assert not edge.follower.has_lease()
        await control.append(purge("/1"))
        assert (await control.complete()).nodes[0].outcome is NodeOutcome.EXCUSED


async def test_preparations_are_reported_and_told_again_after_a_reconnect(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, node(tmp_path, control.url) as edge:
        await control.complete(edge)
        edge.follower.report_prepared("s1", "d1")
        edge.follower.report_prepared("s1", "d2", "the manifest is damaged")
        first = await control.directory.wait_prepared("s1", "d1", PATIENCE_S)
        second = await control.directory.wait_prepared("s1", "d2", PATIENCE_S)
        assert (first.prepared, first.failed, first.late) == (("edge-1",), {}, ())
        assert (second.prepared, second.failed) == ((), {"edge-1": "the manifest is damaged"})
        edge.follower.report_prepared("s1", "d2")
        async with asyncio.timeout(PATIENCE_S):
            while (await control.directory.wait_prepared("s1", "d2", 0.0)).failed:
                await asyncio.sleep(0.002)
    async with plane(tmp_path / "again") as control, node(tmp_path / "again", control.url) as edge:
        edge.follower.report_prepared("s1", "d3")
        report = await control.directory.wait_prepared("s1", "d3", 0.0)
        await control.complete(edge)
        report = await control.directory.wait_prepared("s1", "d3", PATIENCE_S)
        assert report.prepared == ("edge-1",)


async def test_an_explanation_makes_the_round_and_every_way_it_can_fail_is_told(tmp_path: Path) -> None:
    async def explain(host: str, target: str) -> Mapping[str, Any]:
        if target == "/breaks":
            raise ValueError("out of words")
        if target == "/long":
            return {"x": "y" * 300_000}
        if target == "/hangs":
            await asyncio.Event().wait()
        return {"host": host, "target": target, "decision": "serve"}

    async with plane(tmp_path) as control, node(tmp_path, control.url, explain=explain) as edge:
        await control.complete(edge)
        ask = control.hub.explain
        answer = await ask("edge-1", "blog.example", "/a", PATIENCE_S)
        assert answer == {"host": "blog.example", "target": "/a", "decision": "serve"}
        with pytest.raises(Unavailable, match="out of words"):
            await ask("edge-1", "blog.example", "/breaks", PATIENCE_S)
        with pytest.raises(Unavailable, match="longer than"):
            await ask("edge-1", "blog.example", "/long", PATIENCE_S)
        with pytest.raises(Unavailable, match="did not answer within"):
            await ask("edge-1", "blog.example", "/hangs", 0.05)
        with pytest.raises(NotFound, match="edge-9"):
            await ask("edge-9", "blog.example", "/a", PATIENCE_S)
        edge.running.cancel()
        await _until_disconnected(control)
        with pytest.raises(Unavailable, match="not connected"):
            await ask("edge-1", "blog.example", "/a", PATIENCE_S)


async def test_who_waits_for_an_explanation_learns_that_the_node_went_away(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, dial(control.url) as socket:
        await _enter(socket, control)
        asking = asyncio.create_task(control.hub.explain("edge-1", "h", "/", PATIENCE_S))
        while not isinstance(await _hear(socket), Explain):
            pass
        await socket.close()
        with pytest.raises(Unavailable):
            await asking


async def test_one_snapshot_serves_many_nodes_until_it_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0
    async with plane(tmp_path) as control:
        take = control.hub._take_snapshot

        def counted(audiences: Any) -> Any:
            nonlocal taken
            taken += 1
            return take(audiences)

        monkeypatch.setattr(control.hub, "_take_snapshot", counted)
        monkeypatch.setattr("cdn.control.hub.MAX_SNAPSHOT_LAG", 5)
        await control.append(*(purge(f"/{n}") for n in range(3)))
        for n, expected in ((1, 1), (2, 1), (3, 1)):
            async with node(tmp_path, control.url, node_id=f"edge-{n}") as edge:
                await edge.sink.wait(await control.journal.position())
                assert edge.ledger.entries == control.ledger.entries
                assert taken == expected
            await control.append(purge("/more"))
        await control.append(*(purge("/more") for _ in range(5)))
        async with node(tmp_path, control.url, node_id="edge-4") as edge:
            await edge.sink.wait(await control.journal.position())
            assert taken == 2
        await control.journal.trim(control.ledger.last)
        await control.append(purge("/more"))
        await control.journal.trim(control.ledger.last)
        async with node(tmp_path, control.url, node_id="edge-5") as edge:
            await edge.sink.wait(await control.journal.position())
            assert taken == 3, "a snapshot from before what the journal keeps is of no use"
            assert edge.ledger.entries == control.ledger.entries


async def test_a_control_that_lags_behind_its_journal_sends_no_snapshot(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, dial(control.url) as socket:
        await control.append(*(purge(f"/{n}") for n in range(5)))
        await control.journal.trim(5)
        control.ledger.entries = control.ledger.entries[:2]
        await _enter(socket, control)
        reason, code = await _refusal(socket)
        assert "not caught up" in reason
        assert code == aiohttp.WSCloseCode.TRY_AGAIN_LATER


async def test_closing_sends_everyone_away_and_lets_nobody_in(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, dial(control.url) as socket:
        await _enter(socket, control)
        await control.hub.aclose()
        assert "going away" in (await _refusal(socket))[0]
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with dial(control.url):
                pass


async def test_a_newer_node_may_say_more(tmp_path: Path) -> None:
    async with plane(tmp_path) as control, dial(control.url) as socket:
        said = msgspec.json.decode(encode_message(_hello(None))) | {"mood": "fine", "record_versions": [1, 2]}
        await socket.send_str(msgspec.json.encode(said).decode())
        assert isinstance(await _hear(socket), Welcome)
        assert control.directory.record_version() == 2
