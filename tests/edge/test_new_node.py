"""A node that was never anywhere stands in no receipt, so it answers nobody before it knows what receipts say (I8)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cdn.edge.node import EdgeNode
from cdn.edge.settings import EdgeSettings
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import CertificateFold
from cdn.journal.record import RECORD_VERSION, Audience, Record, SiteCreated
from cdn.journal.snapshot import SNAPSHOT_VERSION, Snapshot
from cdn.journal.takedown_fold import TakedownFold
from cdn.origin.directory import DirectoryStore
from cdn.purge.floors import Floors
from tests.edge.engine_responses import Received, read_responses


def older_snapshot() -> Snapshot:
    """A site, as of a moment ago."""
    catalog = CatalogFold("cdn.localhost")
    change = SiteCreated("s1", "blog", {})
    catalog.apply(Record(RECORD_VERSION, "e1", 1, "site", 0.0, "actor", Audience.ALL, change))
    folds = (catalog, CertificateFold(catalog.catalog), Floors(), TakedownFold())
    return Snapshot(SNAPSHOT_VERSION, Position("e1", 1), 0, {each.name: each.dump() for each in folds})


async def visit(node: EdgeNode) -> Received:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: blog.cdn.localhost\r\n\r\n")
    writer.write_eof()
    (response,) = read_responses(await reader.read())
    writer.close()
    await writer.wait_closed()
    return response


async def test_a_new_node_answers_once_it_has_caught_up(tmp_path: Path) -> None:
    settings = EdgeSettings("n1", tmp_path / "edge", "cdn.localhost", "http://127.0.0.1:9", "cdn_0_0", port=0)
    store = DirectoryStore(tmp_path / "store")
    node = await EdgeNode.start(settings, store)
    try:
        assert (await visit(node)).fields["cache-status"] == "cdn; detail=starting"
        await node.follower.take_snapshot(older_snapshot())
        refused = await visit(node)
        assert (refused.status, refused.fields["cache-status"]) == (503, "cdn; detail=starting")
        assert refused.fields["retry-after"] == "1"
        node.follower.caught_up()
        assert (await visit(node)).fields["cache-status"] == "cdn; detail=no-deploy"
    finally:
        await node.stop()

    again = await EdgeNode.start(settings, store)  # with its copy, and control still away
    try:
        assert (await visit(again)).fields["cache-status"] == "cdn; detail=no-deploy"
    finally:
        await again.stop()
        await store.aclose()
