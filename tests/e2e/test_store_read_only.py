"""Nodes with credentials that only read: bundles reach everyone through the shield, and nothing was to be written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.e2e.roles import RoleFleet
from tests.e2e.shield_fleet import ShieldFleet
from tests.servers.seaweed import READER_ACCESS_KEY, READER_SECRET_KEY, S3Server

FILES = {"/index.html": b"<p>home</p>", "/big.bin": random.Random(1).randbytes(2_500_000)}
CHUNKS = 1 + 3


@pytest.fixture
async def fleet(tmp_path: Path, s3_server: S3Server) -> AsyncIterator[ShieldFleet]:
    bucket = s3_server.new_bucket()
    store = f'url = "s3://{bucket}/cdn"\nendpoint_url = "{s3_server.endpoint_url}"'
    roles = RoleFleet(tmp_path, store, s3_server.environment())
    fleet = ShieldFleet.over(tmp_path, roles, nodes_environ=s3_server.reader_environment())
    yield fleet
    await asyncio.to_thread(roles.close)


def fetched(fleet: ShieldFleet, node_id: str) -> int:
    """How often a node asked the store for content."""
    return int(fleet.edges[node_id].metrics()["cdn_edge_fetch_upstream_requests_total"])


async def test_nodes_that_may_only_read_serve_everything_and_the_store_is_asked_once(
    fleet: ShieldFleet, s3_server: S3Server
) -> None:
    await fleet.start("e1", "e2")
    await asyncio.to_thread(fleet.call, "POST", "/v1/sites", {"name": "blog"})
    await asyncio.to_thread(fleet.deploy, "blog", FILES)
    for node_id in ("e1", "e2", "shield"):
        for path, content in FILES.items():
            assert (await fleet.visiting(node_id, "blog", path.replace("index.html", ""))).content == content
    assert [fetched(fleet, node_id) for node_id in ("e1", "e2", "shield")] == [0, 0, CHUNKS]
    await asyncio.to_thread(fleet.purge, "blog")
    await asyncio.to_thread(fleet.deploy, "blog", {**FILES, "/index.html": b"<p>new</p>"})
    assert (await fleet.visiting("e1", "blog")).content == b"<p>new</p>"
    for node in fleet.edges.values():
        log = node.log.read_text()
        assert "AccessDenied" not in log
        assert "Traceback" not in log


def test_the_identity_of_nodes_can_write_nothing(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    session = boto3.Session(READER_ACCESS_KEY, READER_SECRET_KEY, region_name=s3_server.region)
    client = session.client("s3", endpoint_url=s3_server.endpoint_url, config=Config(s3={"addressing_style": "path"}))
    try:
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket=bucket, Key="sites/x", Body=b"x")
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(Bucket=bucket, Key="sites/x")
    finally:
        client.close()
