"""Several replicas of control over real NATS: of two that race for a name one orders."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography import x509

from cdn.control.plane import ControlPlane
from cdn.control.replicas import Replicas
from cdn.control.settings import ControlSettings
from cdn.control.shared_directory import SharedNodeDirectory
from cdn.errors import Unavailable
from cdn.fleet.node import NodeFacts
from cdn.journal.jetstream import JetStreamJournal
from cdn.journal.jetstream_node_feed import JetStreamNodeFeed
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.jetstream_tenure import JetStreamOffices
from cdn.journal.nats_settings import NatsSettings
from cdn.journal.record import RECORD_VERSION, DomainClaimed, SiteCreated
from cdn.origin.directory import DirectoryStore
from cdn.sites.onboarding import Stage
from tests.control.control_room import ZONE, Clock
from tests.control.domain_room import SigningIssuer, TestSight, issuing, ring
from tests.servers.nats import NatsLayout, shared_layout

WWW = "www.example.com"
SITE = "0123456789abcdef"


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsLayout]:
    base = tmp_path_factory.getbasetemp()
    with shared_layout(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base, "single") as layout:
        yield layout


class Replica:
    def __init__(self, plane: ControlPlane, stack: AsyncExitStack) -> None:
        self.plane = plane
        self._stack = stack

    async def close(self) -> None:
        await self._stack.aclose()


class Pair:
    """What replicas share, and the way to start one."""

    def __init__(self, layout: NatsLayout, folder: Path) -> None:
        self.clock = Clock()
        self.issuer = SigningIssuer(self.clock)
        self.sight = TestSight()
        self.rings = {"control_ring": ring("control"), "rings": {"": ring("edge")}}
        self._journal = JetStreamSettings(
            NatsSettings(layout.urls), f"t{secrets.token_hex(4)}", replicas=1, max_bytes=16 * 1024 * 1024
        )
        self._folder = folder
        self._started: list[Replica] = []

    async def start(self) -> Replica:
        name, stack = f"control-{len(self._started)}", AsyncExitStack()
        folder = self._folder / name
        folder.mkdir()
        journal = await JetStreamJournal.open(self._journal, client_name=name)
        stack.push_async_callback(journal.aclose)
        feed = await JetStreamNodeFeed.open(journal.link, self._journal, expires_after_s=60.0)
        directory = await SharedNodeDirectory.over(folder / "nodes.db", feed, patience_s=10.0)
        stack.push_async_callback(directory.aclose)
        offices = await JetStreamOffices.open(journal.link, self._journal, duration_s=10.0)
        store = DirectoryStore(self._folder / "store")
        stack.push_async_callback(store.aclose)
        plane = ControlPlane(
            ControlSettings(zone=ZONE, data_dir=folder / "control"),
            journal,
            store,
            directory,
            replicas=Replicas(),
            issuing=issuing(self.issuer, offices=offices, holder=feed.teller, **self.rings),
            sight=self.sight,
            clock=self.clock,
        )
        await plane.start()
        stack.push_async_callback(plane.aclose)
        self._started.append(Replica(plane, stack))
        return self._started[-1]

    async def close(self) -> None:
        for each in self._started:
            await each.close()


@pytest.fixture
async def pair(nats: NatsLayout, tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(nats, tmp_path)
    yield made
    await made.close()


async def claimed(plane: ControlPlane) -> None:
    site = SiteCreated(SITE, "blog", {})
    await plane.state.append("site/blog", lambda: site, "test")
    change = DomainClaimed(WWW, SITE, "token-1")
    await plane.state.append(f"domain/{WWW}", lambda: change, "test")


async def serving(plane: ControlPlane) -> None:
    """A node that follows this replica, and has everything at once."""
    directory = plane.services.directory
    await directory.connected(
        "edge-1", NodeFacts("test"), plane.state.position, lease_s=30.0, record_version=RECORD_VERSION
    )
    directory.heartbeat_answered("edge-1", {})
    plane.state.watch(lambda position: directory.applied("edge-1", position))


async def test_two_replicas_that_race_make_one_order(pair: Pair) -> None:
    one, two = await pair.start(), await pair.start()
    await serving(one.plane)
    pair.issuer.gate = asyncio.Event()
    await claimed(one.plane)
    await two.plane.state.look()
    assert one.plane.domains is not None
    assert two.plane.domains is not None
    checks = [
        asyncio.create_task(each.plane.domains.desk.check(SITE, WWW, 20)) for each in (one, two) if each.plane.domains
    ]
    async with asyncio.timeout(10):
        while not pair.issuer.requests:
            await asyncio.sleep(0.01)
    pair.issuer.gate.set()
    standings = await asyncio.gather(*checks)
    assert [each.stage for each in standings] == [Stage.LIVE, Stage.LIVE]
    assert len(pair.issuer.requests) == 1
    facts = [each.plane.services.certificates.certificate(WWW) for each in (one, two)]
    assert facts[0] == facts[1] is not None


async def test_a_replica_goes_on_with_what_another_left(pair: Pair) -> None:
    one, two = await pair.start(), await pair.start()
    await serving(two.plane)
    pair.issuer.gate = asyncio.Event()
    await claimed(one.plane)
    async with asyncio.timeout(20):
        while not pair.issuer.requests:
            await asyncio.sleep(0.01)
    await one.close()
    pair.issuer.gate.set()
    async with asyncio.timeout(20):
        while two.plane.services.certificates.certificate(WWW) is None:
            try:
                assert two.plane.domains is not None
                await two.plane.domains.desk.check(SITE, WWW, 0)
            except Unavailable:
                pass  # the office is left a moment later
            await asyncio.sleep(0.05)
    first, second = pair.issuer.requests
    assert first.names == second.names
    keys = [x509.load_der_x509_csr(each.csr).public_key() for each in (first, second)]
    assert keys[0] == keys[1], "whoever goes on with an order has the key that it was made for"
