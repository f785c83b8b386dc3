"""Roles of a fleet answer https: one key file for control and edges, workers, restarts while control is away."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdn.tls.sealed import make_key_file
from tests.e2e.roles import RoleFleet, RoleProcess
from tests.e2e.secure_visits import asked, connected, trusting, visit
from tests.e2e.test_https_of_up import brought

HOST = "www.harbour.example"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RoleFleet]:
    """Edges `own` (its workers) and `other`, which has another key than control."""
    fleet = RoleFleet(tmp_path, 'url = "store"', {"PYTHONPATH": os.pathsep.join(["", *sys.path]).strip(os.pathsep)})
    for name in ("control.key", "edge.key", "stranger.key"):
        make_key_file(tmp_path / name)
    try:
        fleet.start_control('control_key_file = "control.key"\nedge_key_file = "edge.key"')
        secure = 'https_listen = "127.0.0.1:0"\nedge_key_file = "{}"\n'
        fleet.start_edge("own", secure.format("edge.key") + "workers = 2\n")
        fleet.start_edge("stranger", secure.format("stranger.key"))
        yield fleet
    finally:
        fleet.close()


async def restarted(edge: RoleProcess) -> None:
    assert await asyncio.to_thread(edge.end, signal.SIGTERM) == 0
    await asyncio.to_thread(edge.start)


async def test_nodes_show_what_is_sealed_for_them(fleet: RoleFleet, tmp_path: Path) -> None:
    own, stranger = fleet.edges["own"], fleet.edges["stranger"]
    await own.until_ready()
    await stranger.until_ready()
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", {"index.html": b"a page"})
    fleet.call("POST", "/v1/sites/blog/domains?wait=10", {"domain": HOST, "verified": True})
    files = brought(tmp_path, "brought", HOST)
    content = {"certificate": files.chain.read_text(), "key": files.key.read_text()}
    fleet.call("PUT", f"/v1/sites/blog/domains/{HOST}/certificate", content)
    trust = trusting(files.chain)
    async with asyncio.timeout(30):
        while True:
            try:
                answer = await asyncio.to_thread(visit, own.ready["https_url"], HOST, trust)
                break
            except OSError:
                await asyncio.sleep(0.05)
    assert answer.content == b"a page"
    with pytest.raises(OSError, match=r"(?i)eof|reset|alert|unrecognized"):
        await asyncio.to_thread(visit, stranger.ready["https_url"], HOST, trust)
    assert stranger.metrics()["cdn_edge_tls_unopened_total"] >= 1

    with connected(own.ready["https_url"], HOST, trust) as held:
        assert asked(held, HOST).content == b"a page"
        fleet.control.end(signal.SIGKILL)  # type: ignore[union-attr]
        assert asked(held, HOST).content == b"a page"
    await restarted(own)
    for _ in range(4):  # whichever worker takes the connection
        answer = await asyncio.to_thread(visit, own.ready["https_url"], HOST, trust)
        assert answer.content == b"a page", "from its own disk, while control is away"
