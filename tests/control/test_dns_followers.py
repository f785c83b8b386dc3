"""DNS processes follow the journal with tokens of their own; no receipt lists them and nothing waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cdn.control.token import DnsScope, parse_scope
from cdn.errors import InvalidInput
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.follower import Follower, FollowerSettings
from cdn.journal.record import Record
from cdn.journal.replica import Replica
from cdn.journal.wire import FollowerRole, Hello, WireFault, decode_from_node
from tests.control.control_room import Control, ControlMaker

PATIENCE_S = 30.0
QUICK = FollowerSettings(first_pause_s=0.02, longest_pause_s=0.05)


class Sink:
    def on_records(self, records: object, position: Position) -> None: ...

    def on_snapshot(self, position: Position, epoch_changed: bool) -> None: ...


@asynccontextmanager
async def following(
    control: Control, token: str, path: Path, role: FollowerRole, node_id: str = "ns-1"
) -> AsyncIterator[Follower]:
    fold = CatalogFold("cdn.localhost")
    replica = await Replica.open(path)
    await replica.load((fold,))
    url = str(control.api.client.make_url("")).rstrip("/")
    follower = Follower(
        url, token, node_id, replica, (fold,), Sink(), facts=NodeFacts("1.0"), settings=QUICK, role=role
    )
    running = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await replica.aclose()


def test_a_scope_names_one_process() -> None:
    scope = parse_scope("dns:ns-1.eu")
    assert scope == DnsScope("ns-1.eu")
    assert (str(scope), parse_scope("dns")) == ("dns:ns-1.eu", "dns")
    with pytest.raises(InvalidInput, match="is not a scope"):
        parse_scope("dns:")


async def test_it_follows_and_nothing_waits_for_it(make_control: ControlMaker, tmp_path: Path) -> None:
    control = await make_control()
    token = (await control.api.token_for("dns:ns-1")).token or ""
    async with following(control, token, tmp_path / "replica.db", FollowerRole.DNS) as follower:
        async with asyncio.timeout(PATIENCE_S):
            await follower.wait_caught_up()
        created = await control.api.post("/v1/sites", {"name": "blog"})
        assert created.status == 201
        removed = await control.api.delete("/v1/sites/blog?wait=30")
        assert (removed.document["receipt"]["complete"], removed.document["receipt"]["nodes"]) == (True, [])
        assert control.plane.services.directory.nodes() == ()
        assert (await control.api.get("/v1/status")).document["nodes"] == []
        end = control.plane.state.position
        async with asyncio.timeout(PATIENCE_S):
            while [each.position for each in control.plane.hub.dns.all()] != [end]:
                await asyncio.sleep(0.01)
        status = (await control.api.get("/v1/status")).document
        assert [(each["name"], each["lag"], each["stopped"]) for each in status["dns"]] == [("ns-1", 0, None)]
        assert follower.has_lease(), "heartbeats are answered"
    async with asyncio.timeout(PATIENCE_S):
        while (await control.api.get("/v1/status")).document["dns"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("scope", "role"),
    [("dns:ns-1", FollowerRole.EDGE), ("node:ns-1", FollowerRole.DNS), ("dns:ns-2", FollowerRole.DNS)],
)
async def test_a_token_is_for_one_name_in_one_role(
    make_control: ControlMaker, tmp_path: Path, scope: str, role: FollowerRole
) -> None:
    control = await make_control()
    token = (await control.api.token_for(scope)).token or ""
    async with following(control, token, tmp_path / "replica.db", role) as follower:
        async with asyncio.timeout(PATIENCE_S):
            while control.plane.hub.refusals.counts()["foreign-token"] == 0:
                await asyncio.sleep(0.01)
        assert follower.position is None
        assert control.plane.hub.dns.all() == ()
        assert control.plane.services.directory.nodes() == ()


async def test_an_edge_and_a_dns_process_of_one_name_are_two(make_control: ControlMaker, tmp_path: Path) -> None:
    control = await make_control()
    of_dns = (await control.api.token_for("dns:one")).token or ""
    of_edge = (await control.api.token_for("node:one")).token or ""
    dns = following(control, of_dns, tmp_path / "dns.db", FollowerRole.DNS, "one")
    edge = following(control, of_edge, tmp_path / "edge.db", FollowerRole.EDGE, "one")
    async with dns as first, edge as second, asyncio.timeout(PATIENCE_S):
        await asyncio.gather(first.wait_caught_up(), second.wait_caught_up())
        assert [node.node_id for node in control.plane.services.directory.nodes()] == ["one"]
        assert [each.dns_id for each in control.plane.hub.dns.all()] == ["one"]


async def test_a_site_that_goes_does_not_take_a_process_of_its_name_along(make_control: ControlMaker) -> None:
    control = await make_control()
    await control.api.post("/v1/sites", {"name": "blog"})
    dns = await control.api.token_for("dns:blog")
    assert (await control.api.delete("/v1/sites/blog")).status == 200
    assert control.plane.services.authenticator.is_dns(dns.token or "", "blog")
    assert not control.plane.services.authenticator.is_node(dns.token or "")
    assert (await dns.post("/v1/tokens", {"scopes": ["dns:blog"]})).status == 403


def test_records_for_dns_are_withheld_from_edges_only() -> None:
    from cdn.journal.record import DNS_AUDIENCES, EDGE_AUDIENCES, Audience, SiteRemoved, Withheld

    record = Record(1, "e", 1, "s", 0.0, "a", Audience.DNS, SiteRemoved("x"))
    assert record.visible_to(DNS_AUDIENCES) is record
    assert record.visible_to(EDGE_AUDIENCES).change == Withheld()


def test_a_hello_of_an_earlier_release_is_an_edges() -> None:
    raw = '{"type":"hello","node_id":"e1","record_versions":[1],"position":null,"facts":{"program":"0.1"}}'
    hello = decode_from_node(raw)
    assert isinstance(hello, Hello)
    assert hello.role is FollowerRole.EDGE
    with pytest.raises(WireFault):
        decode_from_node(raw.replace('"node_id"', '"role":"later","node_id"'))
