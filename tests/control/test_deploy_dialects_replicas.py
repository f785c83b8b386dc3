"""Deploys by other vendors' calls, each of which may reach another replica of control; over real NATS."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from cdn.control.pages_digest import extension_of, pages_digest
from tests.control.deploy_clients import FILES, NetlifyClient, PagesClient, asset, sha1_of
from tests.control.test_hook_replicas import start
from tests.servers.nats import NatsLayout, shared_layout


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsLayout]:
    base = tmp_path_factory.getbasetemp()
    with shared_layout(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base, "single") as layout:
        yield layout


async def test_any_replica_goes_on_with_a_deploy(nats: NatsLayout, tmp_path: Path) -> None:
    stream = f"t{secrets.token_hex(4)}"
    replicas = [await start(nats, name, stream, tmp_path) for name in ("one", "two")]
    one, two = replicas
    try:
        token = one.api.token or ""
        assert (await one.api.post("/v1/sites", {"name": "blog"})).status == 201
        turn = cycle([NetlifyClient(each.api.as_(token)) for each in replicas])

        deploy_id = (await next(turn).begin())["id"]
        announced = await next(turn).announce(deploy_id, FILES)
        assert sorted(announced.document["required"]) == sorted(map(sha1_of, FILES.values()))
        for path, content in FILES.items():
            assert (await next(turn).send(deploy_id, path, content)).status == 200
        ended = await asyncio.gather(*(next(turn).wait(deploy_id) for _ in range(4)))
        assert {each["state"] for each in ended} == {"ready"}

        uploader, deployer = PagesClient(one.api), PagesClient(two.api.as_(token))
        upload_token = await uploader.upload_token()
        content = b"only by Pages"
        assert (await deployer.upload(upload_token, [asset("new.txt", content)])).status == 200
        manifest = {"/new.txt": pages_digest(content, extension_of("/new.txt"))}
        missing = await uploader.check_missing(upload_token, list(manifest.values()))
        assert missing.document["result"] == []
        assert (await uploader.deployment(manifest)).status == 200

        deploys = (await two.api.get("/v1/sites/blog/deploys")).document["deploys"]
        assert [each["file_count"] for each in deploys] == [1, len(FILES)]
    finally:
        for replica in replicas:
            await replica.close()
