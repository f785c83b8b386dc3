"""The table of nodes as replicas read it, on real NATS servers: all of it, in order, and known to be all of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from cdn.journal.jetstream_node_feed import JetStreamNodeFeed, Told
from cdn.journal.nats_link import NatsLink
from tests.journal.conftest import delete_streams, settings_for
from tests.servers.nats import NatsLayout

Heard = list[tuple[str, bytes]]


@pytest.fixture(params=["nats_single", "nats_cluster"])
async def feeds(request: pytest.FixtureRequest) -> AsyncIterator[tuple[JetStreamNodeFeed, JetStreamNodeFeed]]:
    """Of two processes."""
    layout: NatsLayout = request.getfixturevalue(request.param)
    settings = settings_for(layout, f"t{secrets.token_hex(4)}")
    links = [await NatsLink.open(settings.nats, name=f"control-{n}") for n in range(2)]
    first, second = [await JetStreamNodeFeed.open(link, settings, expires_after_s=60.0) for link in links]
    yield first, second
    for feed in (first, second):
        await feed.aclose()
    for link in links:
        await link.aclose()
    await delete_streams(layout, settings.name)


def listening(feed: JetStreamNodeFeed) -> Heard:
    heard: Heard = []

    def take(told: Told, revision: int) -> None:
        heard.append((told.name, told.facts))

    feed.start(take)
    return heard


async def test_after_a_barrier_everything_put_before_has_arrived(
    feeds: tuple[JetStreamNodeFeed, JetStreamNodeFeed],
) -> None:
    first, second = feeds
    assert await first.put("n1", b"before", expected_revision=0)
    heard = listening(second)
    await second.barrier()
    assert heard == [("n1", b"before")]
    revision = 0
    for number in range(20):
        stored = await first.put("n2", b"%d" % number, expected_revision=revision)
        assert stored is not None
        revision = stored
        await second.barrier()
        assert heard[-1] == ("n2", b"%d" % number)
    await first.put("n2", b"", expected_revision=revision)
    await asyncio.gather(*(second.barrier() for _ in range(30)))
    assert heard[-1] == ("n2", b"")


async def test_the_slower_of_two_is_told(feeds: tuple[JetStreamNodeFeed, JetStreamNodeFeed]) -> None:
    first, second = feeds
    revision = await first.put("n1", b"a", expected_revision=0)
    assert await second.put("n1", b"b", expected_revision=0) is None
    told, found = await second.get("n1")
    assert told is not None
    assert (told.teller, told.facts, found) == (first.teller, b"a", revision)
    assert await second.get("n2") == (None, 0)


async def test_many_barriers_share_their_questions(feeds: tuple[JetStreamNodeFeed, JetStreamNodeFeed]) -> None:
    _, second = feeds
    listening(second)
    await second.barrier()
    before = (await second.get(f"={second.teller}"))[1]
    await asyncio.gather(*(second.barrier() for _ in range(100)))
    assert (await second.get(f"={second.teller}"))[1] - before <= 2
