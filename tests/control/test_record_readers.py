"""A record of a newer version is written only when everyone who reads the journal understands it (DESIGN I14)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdn.control import replica_roll
from cdn.control.dns_followers import DnsFollowers
from cdn.control.record_readers import Reader
from cdn.control.replica_roll import ReplicaRoll
from cdn.errors import Conflict, Unavailable
from cdn.fleet.node import NodeFacts
from cdn.journal import record
from cdn.journal.jetstream_tenure import JetStreamNodeTable
from cdn.journal.nats_link import NatsLink
from cdn.journal.nats_settings import NatsSettings
from cdn.journal.record import Purged, SiteCreated, version_of
from cdn.journal.tenure import MemoryNodeTable
from tests.control.control_room import Clock, Control
from tests.servers.nats import NatsLayout, start_single, stop_layout


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Purges need version 2, which this program knows."""
    monkeypatch.setattr(record, "RECORD_VERSION", 2)
    monkeypatch.setitem(record.SINCE, Purged, 2)


async def connect(control: Control, node_id: str, version: int) -> None:
    await control.directory.connected(
        node_id, NodeFacts("0.9"), control.plane.state.position, lease_s=10.0, record_version=version
    )
    control.directory.heartbeat_answered(node_id, {})
    control.directory.applied(node_id, control.plane.state.position)


async def versions(control: Control) -> list[int]:
    return [each.version for each in await control.journal.read(0, limit=1000)]


async def purge(control: Control) -> Any:
    return await control.api.post("/v1/sites/blog/purges", {"everything": True})


def test_every_kind_says_since_when_it_is_known() -> None:
    assert version_of(SiteCreated("s", "blog", {})) == 1
    assert all(1 < since <= record.RECORD_VERSION for since in record.SINCE.values())


@pytest.mark.usefixtures("tomorrow")
async def test_it_waits_for_the_last_node_and_what_old_ones_know_is_written_as_before(control: Control) -> None:
    await connect(control, "e1", 2)
    await connect(control, "e2", 1)
    assert (await control.api.post("/v1/sites", {"name": "blog"})).status == 201
    refused = await purge(control)
    assert refused.status == 409
    assert "records of version 2" in refused.document["detail"]
    assert "node e2 (program 0.9, up to 1)" in refused.document["detail"]
    assert "e1" not in refused.document["detail"]
    assert "cdn node rm" in refused.document["detail"]
    await connect(control, "e2", 2)  # upgraded
    assert (await purge(control)).status in {200, 202}
    written = await versions(control)
    assert (written[-1], set(written[:-1])) == (2, {1})


@pytest.mark.usefixtures("tomorrow")
async def test_a_node_that_is_away_counts_until_it_is_forgotten(control: Control) -> None:
    await connect(control, "e1", 1)
    await control.api.post("/v1/sites", {"name": "blog"})
    control.directory.disconnected("e1")
    assert (await purge(control)).status == 409, "it comes back and follows the journal again"
    node = control.directory._nodes["e1"]
    node.view = replace(node.view, answered_at=None)
    assert control.directory.condition("e1").state.value == "detached"
    assert (await purge(control)).status == 409
    await control.directory.forget("e1")
    assert (await purge(control)).status in {200, 202}


@pytest.mark.usefixtures("tomorrow")
async def test_one_that_has_left_for_good_does_not_count(control: Control) -> None:
    await connect(control, "e1", 1)
    await control.api.post("/v1/sites", {"name": "blog"})
    control.directory.left("e1")
    state = control.directory.condition("e1").state.value
    assert (await purge(control)).status in ({200, 202} if state == "gone" else {409})


@pytest.mark.usefixtures("tomorrow")
async def test_dns_processes_count_while_they_follow(control: Control) -> None:
    dns = control.plane.hub.dns
    await control.api.post("/v1/sites", {"name": "blog"})
    await dns.connected("ns1", NodeFacts("0.9"), None, lease_s=10.0, record_version=1)
    refused = await purge(control)
    assert (refused.status, "dns ns1" in refused.document["detail"]) == (409, True)
    dns.disconnected("ns1")
    assert (await purge(control)).status in {200, 202}


@pytest.mark.usefixtures("tomorrow")
async def test_many_are_not_all_named(control: Control) -> None:
    await control.api.post("/v1/sites", {"name": "blog"})
    for number in range(8):
        await connect(control, f"e{number}", 0)
    refused = await purge(control)
    assert "and 3 more" in refused.document["detail"]


@pytest.fixture(params=["memory", "nats"])
async def tables(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Any, Any]]:
    if request.param == "memory":
        table = MemoryNodeTable(replica_roll.EXPIRES_AFTER_S, Clock())
        yield table, table
        return
    layout: NatsLayout = start_single(tmp_path / "nats")
    from cdn.journal.jetstream_settings import JetStreamSettings

    settings = JetStreamSettings(NatsSettings(layout.urls), f"t{secrets.token_hex(4)}", replicas=1)
    links = [await NatsLink.open(settings.nats, name=f"control-{number}") for number in range(2)]
    opened = [
        await JetStreamNodeTable.open(link, settings, expires_after_s=15.0, bucket_name="replicas") for link in links
    ]
    yield opened[0], opened[1]
    for link in links:
        await link.aclose()
    stop_layout(layout)


async def test_replicas_know_of_each_other_while_they_run(tables: tuple[Any, Any]) -> None:
    first, second = (ReplicaRoll(table, name) for table, name in zip(tables, ("a", "b"), strict=True))
    second.dns = DnsFollowers()
    await second.dns.connected("ns1", NodeFacts("0.9"), None, lease_s=10.0, record_version=0)
    await first.enter()
    assert list(await first.others()) == []
    await second.enter()
    async with asyncio.timeout(30):
        while not (others := list(await first.others())):
            await asyncio.sleep(0.02)
    assert {(each.name, each.version) for each in others} == {
        ("control b", record.RECORD_VERSION),
        ("a DNS process of control b", 0),
    }
    await second.aclose()
    async with asyncio.timeout(30):
        while list(await first.others()):
            await asyncio.sleep(0.02)
    await first.aclose()


async def test_an_entry_that_is_not_understood_stops_what_is_new_and_nothing_else(
    control: Control, tomorrow: None
) -> None:
    table = MemoryNodeTable(15.0, Clock())
    roll = ReplicaRoll(table, "a")
    await table.put("b", b"{}")
    with pytest.raises(Unavailable, match="replica b"):
        await roll.others()
    control.plane.state.readers._replicas = roll
    assert (await control.api.post("/v1/sites", {"name": "blog"})).status == 201
    assert (await purge(control)).status == 503
    await table.put("b", msgspec.json.encode(replica_roll._Entry("0.9", 1, 1)))
    assert "upgrade the other replica" in (await purge(control)).document["detail"].lower()


async def test_an_append_without_comparing_is_held_to_it_too(control: Control, tomorrow: None) -> None:
    class Nobody:
        async def require(self, version: int) -> None:
            raise Conflict(f"nobody reads version {version}")

    control.plane.state.readers = Nobody()
    with pytest.raises(Conflict, match="nobody reads version 2"):
        await control.plane.state.append_always("purge/s", Purged("s", (), False), "ann")
    assert Reader("x", "", 1, "").version == 1
