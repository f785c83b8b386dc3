"""A DNS process put together, in this process: what it answers alone, what survives, what ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.rcode
import pytest
from dns.message import Message

from cdn.dns import node as node_module
from cdn.dns.health import HealthChecks
from cdn.dns.node import DnsNode
from cdn.dns.settings import CheckSettings, DnsSettings
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.follower import FollowBroken, Follower
from cdn.journal.record import EVERY_AUDIENCE
from cdn.journal.replica import Replica
from cdn.journal.snapshot import take
from cdn.sites.settings import SiteSettings
from cdn.sites.site import Site

ZONE = "cdn.localhost"
PATIENCE_S = 30.0
NOBODY = "http://127.0.0.1:9"


def settings(path: Path) -> DnsSettings:
    return DnsSettings(
        "ns-1", path, ZONE, NOBODY, "cdn_a_b", ("ns.example.org",), "people@example.net",
        checks=CheckSettings(check_port=9, check_interval_s=600.0),
    )  # fmt: skip


@asynccontextmanager
async def started(path: Path, *hosts: str) -> AsyncIterator[DnsNode]:
    node = await DnsNode.start(settings(path), [(host, 0) for host in hosts or ("127.0.0.1",)])
    try:
        yield node
    finally:
        await node.stop()


async def ask(node: DnsNode, name: str, rdtype: str = "A", *, host: str = "127.0.0.1", is_tcp: bool = False) -> Message:
    exchange = dns.asyncquery.tcp if is_tcp else dns.asyncquery.udp
    port = node.ports[1 if ":" in host else 0]
    return await exchange(dns.message.make_query(name, rdtype), host, PATIENCE_S, port)


async def keep_a_copy(path: Path) -> None:
    """What an earlier process left: a site, and a node for it."""
    path.mkdir()
    fold = CatalogFold(ZONE)
    fold.catalog.create_site(Site("s1", "blog", 0.0, SiteSettings()))
    replica = await Replica.open(path / "replica.db")
    await replica.load((fold,))
    fold.catalog.create_site(Site("s1", "blog", 0.0, SiteSettings()))
    await replica.replace(take((fold,), Position("e1", 41), floor_horizon=0, audiences=EVERY_AUDIENCE))
    await replica.aclose()
    keep_nodes(path, "192.0.2.1")


async def test_one_that_knows_nothing_yet_denies_nothing(tmp_path: Path) -> None:
    async with started(tmp_path / "ns") as node:
        assert (await ask(node, f"blog.{ZONE}")).rcode() == dns.rcode.SERVFAIL
        soa = await ask(node, ZONE, "SOA")
        assert (soa.rcode(), soa.answer[0][0].to_text().split()[2]) == (dns.rcode.NOERROR, "0")
        assert (await ask(node, "example.org")).rcode() == dns.rcode.REFUSED


async def test_one_that_starts_without_control_answers_from_its_copies(tmp_path: Path) -> None:
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "ns", "127.0.0.1", "::1") as node:
        for host in ("127.0.0.1", "::1"):
            for is_tcp in (False, True):
                response = await ask(node, f"blog.{ZONE}", host=host, is_tcp=is_tcp)
                assert [str(record) for record in response.answer[0]] == ["192.0.2.1"]
        assert (await ask(node, f"other.{ZONE}")).rcode() == dns.rcode.NXDOMAIN
        assert (await ask(node, ZONE, "SOA")).answer[0][0].to_text().split()[2] == "41"
        waiting = asyncio.create_task(node.wait_caught_up())
        async with asyncio.timeout(PATIENCE_S):
            while node.feed.fault is None or node.follower.fault is None:
                await asyncio.sleep(0.01)
        assert not waiting.done()
        assert node.fleet.is_frozen
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_an_address_that_is_taken_leaves_nothing_open(tmp_path: Path) -> None:
    async with started(tmp_path / "one") as node:
        with pytest.raises(OSError, match="in use"):
            await DnsNode.start(settings(tmp_path / "two"), [("127.0.0.1", 0), ("127.0.0.1", node.ports[0])])
        async with started(tmp_path / "two"):
            pass


async def test_one_that_could_not_apply_a_record_answers_on_and_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await keep_a_copy(tmp_path / "ns")
    runs = 0

    async def broken(self: Follower) -> None:
        nonlocal runs
        runs += 1
        raise FollowBroken("record 42 could not be applied")

    monkeypatch.setattr(node_module, "RESTART_PAUSE_S", 0.0)
    monkeypatch.setattr(Follower, "run", broken)
    async with started(tmp_path / "ns") as node:
        async with asyncio.timeout(PATIENCE_S):
            while not any("follows no longer" in record.message for record in caplog.records):
                await asyncio.sleep(0.01)
        assert (await ask(node, f"blog.{ZONE}")).answer
        assert runs == 1


async def test_what_fails_beside_the_answers_is_said_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node_module, "RESTART_PAUSE_S", 0.01)
    monkeypatch.setattr(node_module, "LOOK_EVERY_S", 0.01)
    await keep_a_copy(tmp_path / "ns")
    async with started(tmp_path / "ns") as node:
        look: Callable[..., object] = node.fleet.look
        failures = iter([RuntimeError("once"), RuntimeError("twice")])

        def failing(*args: object) -> object:
            for failure in failures:
                raise failure
            return look(*args)

        monkeypatch.setattr(node.fleet, "look", failing)
        async with asyncio.timeout(PATIENCE_S):
            while sum("begins anew" in record.message for record in caplog.records) < 2:
                await asyncio.sleep(0.01)
        assert (await ask(node, f"blog.{ZONE}")).answer


async def test_what_checks_find_is_in_the_answers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No look that comes around every second is needed; and answers are kept the shorter the sooner they may change."""
    monkeypatch.setattr(node_module, "LOOK_EVERY_S", 3600.0)
    dead: set[str] = set()

    async def check(self: HealthChecks, address: str) -> bool:
        return address not in dead

    monkeypatch.setattr(HealthChecks, "_ask", check)
    await keep_a_copy(tmp_path / "ns")
    keep_nodes(tmp_path / "ns", "192.0.2.1", "192.0.2.2")
    told = replace(settings(tmp_path / "ns"), checks=CheckSettings(check_interval_s=600.0), answer_ttl_s=3000)
    node = await DnsNode.start(told, [("127.0.0.1", 0)])
    try:

        async def until(addresses: set[str], ttl_s: int) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    [rrset] = (await ask(node, f"blog.{ZONE}")).answer
                    if ({str(record) for record in rrset}, rrset.ttl) == (addresses, ttl_s):
                        return
                    await asyncio.sleep(0.01)

        await until({"192.0.2.1", "192.0.2.2"}, 3000)
        dead.add("192.0.2.2")
        for _ in range(8):
            await node.checks.look_at("192.0.2.2")
        await until({"192.0.2.1", "192.0.2.2"}, 1200)  # two checks more
        for _ in range(2):
            await node.checks.look_at("192.0.2.2")
        await until({"192.0.2.1"}, 3000)
    finally:
        await node.stop()


def keep_nodes(path: Path, *addresses: str) -> None:
    """The view of the fleet that an earlier process left."""
    nodes = [
        {"node": f"n{number}", "region": "", "addresses": [address], "weight": 1, "state": "serving", "lag_s": 0.0}
        for number, address in enumerate(addresses, start=1)
    ]
    (path / "fleet.json").write_text(json.dumps({"number": 3, "frozen": False, "nodes": nodes}))
