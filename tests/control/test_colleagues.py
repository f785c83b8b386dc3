"""What replicas of control ask each other of the nodes that follow only one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from cdn.control import colleagues
from cdn.control.colleagues import Colleagues
from cdn.control.dns_followers import DnsFollowers
from cdn.errors import NotFound, Unavailable
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position


class Wire:
    """Leads from one replica to another in one process; a test can cut it or put other words on it."""

    def __init__(self) -> None:
        self.ends: dict[str, Callable[[bytes], Awaitable[bytes]]] = {}
        self.spoken: bytes | None = None

    def end(self, name: str) -> End:
        return End(self, name)


class End:
    def __init__(self, wire: Wire, own: str) -> None:
        self._wire = wire
        self._own = own

    def start(self, answer: Callable[[bytes], Awaitable[bytes]]) -> None:
        self._wire.ends[self._own] = answer

    async def ask(self, whom: str, question: bytes, *, timeout_s: float) -> bytes:
        if whom not in self._wire.ends:
            raise Unavailable("nobody is there")
        return self._wire.spoken if self._wire.spoken is not None else await self._wire.ends[whom](question)

    async def aclose(self) -> None:
        self._wire.ends.pop(self._own, None)


class Directory:
    """Knows the nodes, and which replica each follows."""

    def __init__(self, own: str, follows: dict[str, str]) -> None:
        self._own = own
        self.follows = follows
        self.counted: dict[str, dict[str, int]] = {}

    def replica_of(self, node_id: str) -> str | None:
        follows = self.follows[node_id]
        return None if follows == self._own else follows

    def counters(self, node_id: str) -> dict[str, int]:
        if node_id not in self.follows:
            raise NotFound("no such node")
        return self.counted.get(node_id, {})


class Hub:
    """Explains what its own nodes would say."""

    def __init__(self, own: str, directory: Directory) -> None:
        self._own = own
        self._directory = directory
        self.dns = DnsFollowers()

    async def explain(self, node_id: str, host: str, target: str, timeout_s: float) -> dict[str, Any]:
        if self._directory.follows[node_id] != self._own:
            raise Unavailable(f"node {node_id} is not connected")
        return {"by": self._own, "host": host, "target": target}


class Replica:
    def __init__(self, wire: Wire | None, own: str, follows: dict[str, str]) -> None:
        self.directory = Directory(own, follows)
        directory: Any = self.directory
        self.hub = Hub(own, self.directory)
        hub: Any = self.hub
        self.colleagues = Colleagues(None if wire is None else wire.end(own), hub, directory)
        self.colleagues.start()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def pair(wire: Wire) -> tuple[Replica, Replica]:
    follows = {"e1": "a", "e2": "b", "e3": "b"}
    first, second = Replica(wire, "a", follows), Replica(wire, "b", follows)
    first.directory.counted = {"e1": {"hits": 1}, "e2": {"hits": 0}}
    second.directory.counted = {"e2": {"hits": 2}, "e3": {"hits": 3}}
    return first, second


async def test_a_node_is_asked_by_the_replica_that_it_follows(pair: tuple[Replica, Replica]) -> None:
    for replica in pair:
        for node_id, follows in replica.directory.follows.items():
            told = await replica.colleagues.explain(node_id, "blog.cdn.localhost", "/a?b", 1.0)
            assert told == {"by": follows, "host": "blog.cdn.localhost", "target": "/a?b"}


async def test_counters_are_those_that_the_followed_replica_heard(pair: tuple[Replica, Replica]) -> None:
    everything = {"e1": {"hits": 1}, "e2": {"hits": 2}, "e3": {"hits": 3}}
    first, second = pair
    assert await first.colleagues.counters(everything) == everything
    assert await second.colleagues.counters(["e3"]) == {"e3": {"hits": 3}}
    assert (await second.colleagues.counters(["e1"]))["e1"] == {"hits": 1}


async def test_why_there_is_no_answer_is_said(pair: tuple[Replica, Replica], wire: Wire) -> None:
    first, second = pair
    second.directory.follows = {**second.directory.follows, "e2": "c"}  # the node has just gone elsewhere
    with pytest.raises(Unavailable, match="e2 follows another control, which cannot be asked: nobody is there"):
        await second.colleagues.explain("e2", "h", "/", 1.0)
    with pytest.raises(Unavailable, match="e2 is not connected"):
        await first.colleagues.explain("e2", "h", "/", 1.0)
    wire.spoken = b'{"ask":"what?"}x'
    with pytest.raises(Unavailable, match="upgrade the older"):
        await first.colleagues.explain("e3", "h", "/", 1.0)
    assert await first.colleagues.counters(["e1", "e3"]) == {"e1": {"hits": 1}}
    await second.colleagues.aclose()
    wire.spoken = None
    assert await first.colleagues.counters(["e1", "e3"]) == {"e1": {"hits": 1}}, "the rest is shown all the same"


async def test_a_question_of_a_newer_program_is_answered_with_a_fault(
    pair: tuple[Replica, Replica], wire: Wire
) -> None:
    answer = msgspec.json.decode(await wire.ends["b"](b'{"ask":"weather"}'))
    assert "does not understand" in answer["fault"]


async def test_one_that_is_alone_asks_its_own_hub(wire: Wire) -> None:
    alone = Replica(None, "a", {"e1": "a"})
    assert (await alone.colleagues.explain("e1", "h", "/", 1.0))["by"] == "a"
    assert await alone.colleagues.counters(["e1"]) == {"e1": {}}
    await alone.colleagues.aclose()


async def test_counters_stay_within_a_message(pair: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colleagues, "MAX_COUNTERS_BYTES", 20)
    first, second = pair
    second.directory.counted["e3"] = {"hits" * 10: 1}
    found = await asyncio.wait_for(first.colleagues.counters(["e2", "e3"]), 10)
    assert found == {"e2": {"hits": 2}}


async def test_name_servers_of_another_replica_that_lag_are_named(wire: Wire, pair: tuple[Replica, Replica]) -> None:
    first, second = pair
    at = Position("epoch", 7)
    for dns_id, position in (("ns1", at), ("ns2", Position("epoch", 6)), ("ns3", Position("other", 9)), ("ns4", None)):
        await second.hub.dns.connected(dns_id, NodeFacts("test"), position, lease_s=10.0, record_version=3)
    assert await first.colleagues.dns_behind(["b"], at, 0.01) == ("ns2", "ns3", "ns4")
    assert await first.colleagues.dns_behind([], at, 0.01) == ()
    waiting = asyncio.create_task(first.colleagues.dns_behind(["b"], at, 5.0))
    while second.hub.dns.behind(at):
        await asyncio.sleep(0)
        second.hub.dns.applied("ns2", Position("epoch", 8))
        second.hub.dns.disconnected("ns3")
        second.hub.dns.left("ns4")
    assert await waiting == ()
    with pytest.raises(Unavailable, match="nobody is there"):
        await first.colleagues.dns_behind(["b", "c"], at, 0.01)
    wire.spoken = msgspec.json.encode({"fault": "it is an older one"})
    with pytest.raises(Unavailable, match="older"):
        await first.colleagues.dns_behind(["b"], at, 0.01)
    assert await Replica(None, "a", {}).colleagues.dns_behind(["b"], at, 0.01) == ()
