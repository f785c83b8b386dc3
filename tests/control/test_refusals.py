"""What control refuses, over the real API: told to the other side, counted by reason, shown to the admin (I8)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
import pytest

from cdn.cli.control_metrics import control_metrics
from cdn.control.refusals import LOGGED_PER_MINUTE, MAX_KEPT, Refusal, Refusals
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.journal.wire import (
    FOLLOW_PATH,
    Applied,
    FromControl,
    FromNode,
    Heartbeat,
    HeartbeatAnswered,
    Hello,
    Records,
    Refused,
    Welcome,
    decode_from_control,
    encode_message,
)
from tests.control.control_room import EPOCH_2026, ZONE, Control, ControlMaker

PATIENCE_S = 30.0


@pytest.fixture
async def control(make_control: ControlMaker) -> Control:
    return await make_control()


@dataclass
class Line:
    """A node's end, moved by the test."""

    socket: aiohttp.ClientWebSocketResponse

    async def say(self, message: FromNode) -> None:
        await self.socket.send_str(encode_message(message))

    async def hear(self) -> FromControl:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                frame = await self.socket.receive()
                if frame.type is aiohttp.WSMsgType.TEXT:
                    return decode_from_control(frame.data)
                assert frame.type is aiohttp.WSMsgType.BINARY, frame

    async def until(self, kind: type[FromControl]) -> FromControl:
        while not isinstance(message := await self.hear(), kind):
            assert not isinstance(message, Refused), message
        return message

    async def refusal(self) -> str:
        while not isinstance(message := await self.hear(), Refused):
            pass
        return message.reason


async def dial(control: Control, scope: str = "node") -> Line:
    api = await control.api.token_for(scope)
    headers = {"Authorization": f"Bearer {api.token}"}
    return Line(await control.api.client.ws_connect(FOLLOW_PATH, headers=headers))


def hello(control: Control, node_id: str = "edge-1", position: Position | None = None) -> Hello:
    return Hello(node_id, (1,), position, NodeFacts("test", "eu"), ZONE, control.clock.now)


async def counted(control: Control) -> dict[str, int]:
    """Refusals by reason as status shows them; the metrics say the same."""
    status = (await control.api.get("/v1/status")).document
    (family,) = [each for each in control_metrics(control.plane) if each.name == "cdn_control_refusals_total"]
    assert {labels[0][1]: value for labels, value in family.samples.items()} == status["refusals"]
    assert status["refusals"].keys() == {reason.value for reason in Refusal}
    return {reason: count for reason, count in status["refusals"].items() if count}


async def test_of_two_nodes_with_one_id_the_first_stays(control: Control) -> None:
    first, second = await dial(control), await dial(control)
    await first.say(hello(control))
    await first.until(Welcome)

    async def live() -> None:
        number = 0
        while True:
            number += 1
            await first.say(Heartbeat(number, {}))
            await first.until(HeartbeatAnswered)

    living = asyncio.create_task(live())
    await second.say(hello(control))
    assert "another node that is alive is called edge-1: give this one an id of its own" in await second.refusal()
    assert await counted(control) == {"doubled-node": 1}
    assert control.directory.node("edge-1").is_connected
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)
    (shown,) = (await control.api.get("/v1/status")).document["refused"]
    assert (shown["reason"], shown["node"], shown["peer"], shown["at"]) == (
        *("doubled-node", "edge-1", "127.0.0.1"),
        control.clock.now,
    )


async def test_the_token_of_another_node(control: Control) -> None:
    line = await dial(control, "node:edge-1")
    await line.say(hello(control, "edge-2"))
    assert "not for node edge-2" in await line.refusal()
    assert await counted(control) == {"foreign-token": 1}
    assert control.directory.nodes() == ()


@pytest.mark.parametrize("token", ["", "cdn_nobody_0", None])
async def test_a_token_that_nobody_gave(control: Control, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await control.api.client.ws_connect(FOLLOW_PATH, headers=headers)
    assert await counted(control) == {"unknown-token": 1}


async def test_a_token_for_something_else(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await dial(control, "read:blog")
    assert await counted(control) == {"unknown-token": 1}


async def test_a_node_of_another_zone(control: Control) -> None:
    line = await dial(control)
    await line.say(replace_zone(hello(control), "cdn.other.example"))
    reason = await line.refusal()
    assert reason.startswith("this control's zone is cdn.localhost and node edge-1 was told cdn.other.example")
    assert await counted(control) == {"other-zone": 1}
    assert control.directory.nodes() == ()


def replace_zone(message: Hello, zone: str | None) -> Hello:
    return Hello(message.node_id, message.record_versions, message.position, message.facts, zone, message.wall_at)


@pytest.mark.parametrize("zone", [None, "CDN.localhost.", "cdn.localhost"])
async def test_a_node_of_this_zone_or_one_that_does_not_say(control: Control, zone: str | None) -> None:
    line = await dial(control)
    await line.say(replace_zone(hello(control), zone))
    await line.until(Welcome)
    assert await counted(control) == {}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (NodeFacts("t", "Not A Region"), "cannot name a region"),
        (NodeFacts("t", weight=-1), "is no weight"),
        (NodeFacts("t", weight=10_001), "is no weight"),
        (NodeFacts("t", public_addresses=("127.0.0.1:80",)), "is no IP address"),
        (NodeFacts("t", public_addresses=("0.0.0.0",)), "no address of one machine"),
        (NodeFacts("t" * 300), "at most 255 characters"),
        (NodeFacts("t", addresses=("a",) * 17), "listens on 16 addresses at the most"),
    ],
)
async def test_facts_that_no_node_has(control: Control, facts: NodeFacts, said: str) -> None:
    line = await dial(control)
    await line.say(Hello("edge-1", (1,), None, facts))
    assert said in await line.refusal()
    assert await counted(control) == {"bad-hello": 1}
    assert control.directory.nodes() == ()


@pytest.mark.parametrize(
    ("moved_by", "reason"),
    [((0, 1), "future-ack"), ((0, 10**15), "future-ack"), ((0, -10), "forged-ack"), ((1, 0), "forged-ack")],
)
async def test_acknowledgements_of_what_cannot_be(control: Control, moved_by: tuple[int, int], reason: str) -> None:
    line = await dial(control)
    end = control.plane.state.position
    await line.say(hello(control, position=end))
    await line.until(Welcome)
    epoch = "forged" if moved_by[0] else end.epoch
    await line.say(Applied(Position(epoch, end.sequence + moved_by[1])))
    assert "cannot have been applied" in await line.refusal()
    assert await counted(control) == {reason: 1}
    assert control.directory.node("edge-1").position == end, "nothing of it was believed"


async def test_a_hello_from_the_future_gets_a_snapshot(control: Control) -> None:
    line = await dial(control)
    end = control.plane.state.position
    await line.say(hello(control, position=Position(end.epoch, end.sequence + 1)))
    await line.until(Welcome)
    assert await counted(control) == {"future-position": 1}
    assert control.directory.node("edge-1").position is None


@pytest.mark.parametrize("content", ["{", '{"type":"telepathy"}', '{"type":"applied","position":{"epoch":"e"}}'])
async def test_what_does_not_belong_on_the_line(control: Control, content: str) -> None:
    line = await dial(control)
    await line.say(hello(control))
    await line.until(Welcome)
    await line.socket.send_str(content)
    assert "cannot be read" in await line.refusal()
    assert await counted(control) == {"bad-message": 1}


@pytest.mark.parametrize("scope", ["node:edge-1", "node", "admin"])
async def test_a_revoked_token_ends_its_connection_at_once_and_gets_nothing_more(control: Control, scope: str) -> None:
    made = await control.api.post("/v1/tokens", {"scopes": [scope]})
    headers = {"Authorization": f"Bearer {made.document['token']}"}
    line = Line(await control.api.client.ws_connect(FOLLOW_PATH, headers=headers))
    other = await dial(control, "node:edge-2")
    end = control.plane.state.position
    await line.say(hello(control, position=end))
    await line.until(Welcome)
    await other.say(hello(control, "edge-2", end))
    await other.until(Welcome)
    assert (await control.api.delete(f"/v1/tokens/{made.document['id']}")).status == 200
    await control.api.post("/v1/sites", {"name": "after"})
    # The node says nothing at all: it is not its next heartbeat that ends it.
    said = await line.hear()
    assert isinstance(said, Refused), "what was recorded with or after the revocation does not reach it"
    assert "does not let a node follow" in said.reason
    assert (await line.socket.receive()).type is aiohttp.WSMsgType.CLOSE
    assert await counted(control) == {"revoked-token": 1}
    assert not control.directory.node("edge-1").is_connected
    await other.until(Records)
    assert control.directory.node("edge-2").is_connected


async def test_a_site_that_takes_its_tokens_along_cuts_nobody_off(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    await control.api.token_for("read:blog")
    line = await dial(control)
    await line.say(hello(control))
    await line.until(Welcome)
    await control.api.delete("/v1/sites/blog")
    await line.say(Heartbeat(1, {}))
    await line.until(HeartbeatAnswered)
    assert await counted(control) == {}


@pytest.mark.parametrize("offset_s", [3600.0, -3600.0])
async def test_a_wrong_clock_is_told_and_nothing_counts_on_it(control: Control, offset_s: float) -> None:
    line = await dial(control)
    end = control.plane.state.position
    await line.say(Hello("edge-1", (1,), end, NodeFacts("t"), None, EPOCH_2026 + offset_s))
    await line.until(Welcome)
    for number in (1, 2):
        await line.say(Heartbeat(number, {}, wall_at=EPOCH_2026 + offset_s))
        await line.until(HeartbeatAnswered)
    status = (await control.api.get("/v1/status")).document
    (shown,) = status["nodes"]
    assert (shown["clock_offset_s"], shown["state"]) == (offset_s, "serving")
    assert 0 < shown["lease_left_s"] <= 10.5
    assert abs(shown["answered_at"] - EPOCH_2026) < 60, "control's own time"
    assert await counted(control) == {"wrong-clock": 1}, "once a connection"
    await line.say(Heartbeat(3, {}, wall_at=EPOCH_2026 + 0.5))
    await line.until(HeartbeatAnswered)
    (shown,) = (await control.api.get("/v1/status")).document["nodes"]
    assert shown["clock_offset_s"] == 0.5


async def test_a_node_of_an_earlier_release_says_less_and_goes_on_working(control: Control) -> None:
    line = await dial(control)
    end = control.plane.state.position
    facts = '{"program":"0.1","region":"eu","addresses":["127.0.0.1:8080"]}'
    place = f'{{"epoch":"{end.epoch}","sequence":{end.sequence}}}'
    await line.socket.send_str(
        f'{{"type":"hello","node_id":"old","record_versions":[1],"position":{place},"facts":{facts}}}'
    )
    await line.until(Welcome)
    await line.socket.send_str('{"type":"heartbeat","number":1,"counters":{}}')
    await line.until(HeartbeatAnswered)
    (shown,) = (await control.api.get("/v1/status")).document["nodes"]
    assert (shown["state"], shown["clock_offset_s"]) == ("serving", None)
    assert (shown["facts"]["weight"], shown["facts"]["public_addresses"]) == (100, [])
    assert await counted(control) == {}


async def test_refusals_are_the_admins_to_see(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    reader = await control.api.token_for("read:blog")
    line = await dial(control, "node:edge-1")
    await line.say(hello(control, "edge-2"))
    await line.refusal()
    status = (await reader.get("/v1/status")).document
    assert (status["refusals"], status["refused"], status["counters"]) == ({}, [], {})


def test_what_is_kept_of_refusals_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    for number in range(1000):
        refusals.note(Refusal.BAD_MESSAGE, "n" * 1000, "p" * 1000, f"{number} " + "x" * 1000, 5.0)
    assert refusals[Refusal.BAD_MESSAGE] == 1000
    assert len(refusals.last()) == MAX_KEPT
    assert refusals.last()[0].sentence.startswith("999 ")
    assert max(map(len, (refusals.last()[0].sentence, refusals.last()[0].node_id, refusals.last()[0].peer))) == 300
    assert len(caplog.records) == LOGGED_PER_MINUTE
    refusals.note(Refusal.BAD_MESSAGE, "", "", "a minute later", 66.0)
    assert len(caplog.records) == LOGGED_PER_MINUTE + 1
