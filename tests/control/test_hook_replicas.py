"""Hooks at several replicas of control over real NATS: one works on a message, one sends, another goes on."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from cdn.control.plane import ControlPlane
from cdn.control.replicas import Replicas
from cdn.control.settings import ControlSettings
from cdn.control.shared_directory import SharedNodeDirectory
from cdn.journal.jetstream import JetStreamJournal
from cdn.journal.jetstream_node_feed import JetStreamNodeFeed
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.jetstream_tenure import JetStreamOffices
from cdn.journal.nats_settings import NatsSettings
from cdn.journal.record import Purged
from cdn.origin.directory import DirectoryStore
from tests.control.control_room import ZONE, Api
from tests.control.domain_room import ring
from tests.control.hook_senders import github_fields, post_hook, push
from tests.control.webhook_receiver import Receiver
from tests.servers.nats import NatsLayout, shared_layout

KEYS = ring("control")


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsLayout]:
    base = tmp_path_factory.getbasetemp()
    with shared_layout(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base, "single") as layout:
        yield layout


class Replica:
    def __init__(self, plane: ControlPlane, api: Api, stack: AsyncExitStack) -> None:
        self.plane = plane
        self.api = api
        self._stack = stack

    async def close(self) -> None:
        await self._stack.aclose()


async def start(layout: NatsLayout, name: str, stream: str, folder: Path) -> Replica:
    settings = JetStreamSettings(NatsSettings(layout.urls), stream, replicas=1, max_bytes=16 * 1024 * 1024)
    stack, own = AsyncExitStack(), folder / name
    own.mkdir()
    journal = await JetStreamJournal.open(settings, client_name=name)
    stack.push_async_callback(journal.aclose)
    feed = await JetStreamNodeFeed.open(journal.link, settings, expires_after_s=60.0)
    directory = await SharedNodeDirectory.over(own / "nodes.db", feed, patience_s=10.0)
    stack.push_async_callback(directory.aclose)
    store = DirectoryStore(folder / "store")
    stack.push_async_callback(store.aclose)
    plane = ControlPlane(
        ControlSettings(zone=ZONE, data_dir=own / "control", allows_private_webhooks=True),
        journal,
        store,
        directory,
        replicas=Replicas(),
        control_keys=KEYS,
        offices=await JetStreamOffices.open(journal.link, settings, duration_s=10.0),
        holder=feed.teller,
    )
    await plane.start()
    stack.push_async_callback(plane.aclose)
    client: TestClient[Any, Any] = TestClient(TestServer(plane.application()))
    await client.start_server()
    stack.push_async_callback(client.close)
    return Replica(plane, Api(client, await plane.create_token(("admin",), note=name)), stack)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await Receiver().start()
    yield receiver
    await receiver.stop()


async def test_replicas_share_hooks_and_nothing_is_done_or_told_twice(
    nats: NatsLayout, tmp_path: Path, receiver: Receiver
) -> None:
    stream = f"t{secrets.token_hex(4)}"
    one = await start(nats, "one", stream, tmp_path)
    two = await start(nats, "two", stream, tmp_path)
    try:
        assert (await one.api.post("/v1/sites", {"name": "blog"})).status == 201
        action = {"do": "purge", "everything": True}
        made = await one.api.post("/v1/sites/blog/hooks", {"inbound": {"scheme": "github", "action": action}})
        path, secret = made.document["hook"]["path"], made.document["secret"]
        await two.api.post("/v1/sites/blog/hooks", {"outbound": {"url": receiver.url}})

        content = push()
        answers = await asyncio.gather(
            *(post_hook(each.api, path, content, github_fields(secret, content)) for each in (one, two) * 3)
        )
        assert {answer.status for answer in answers} == {200}
        assert len({answer.document["delivery"] for answer in answers}) == 1
        assert len({answer.document["receipt"]["position"]["sequence"] for answer in answers}) == 1
        records = await one.plane.state.journal.read(0, limit=1000)
        assert isinstance(records, tuple)
        assert sum(isinstance(each.change, Purged) for each in records) == 1

        (told,) = await receiver.wait(1)
        senders = [each for each in (one, two) if each.plane.webhooks.is_sending]
        assert len(senders) == 1
        (other,) = [each for each in (one, two) if each not in senders]
        await senders[0].close()
        async with asyncio.timeout(20):
            await other.api.post("/v1/sites/blog/purges", {"everything": True})
            taken = await receiver.wait(2, 20)
        sequences = [each.document["data"]["sequence"] for each in taken]
        assert sequences == sorted(set(sequences)), "each once, in order"
        assert told.fields["webhook-id"] != taken[1].fields["webhook-id"]
    finally:
        await one.close()
        await two.close()
