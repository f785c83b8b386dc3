"""Roles of a fleet answer https: one key file for control and edges, workers, restarts while control is away."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdn.tls.sealed import make_key_file
from tests.e2e.roles import RoleFleet, RoleProcess
from tests.e2e.secure_visits import asked, connected, trusting, visit, visit_once_there
from tests.e2e.service_manager import ServiceManager
from tests.e2e.test_https_of_up import brought
from tests.servers.ports import free_ports

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


async def with_certificate(fleet: RoleFleet, folder: Path, edge: RoleProcess) -> ssl.SSLContext:
    """A site whose domain `edge` answers by https with a certificate of ours; who trusts it."""
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", {"index.html": b"a page"})
    fleet.call("POST", "/v1/sites/blog/domains?wait=10", {"domain": HOST, "verified": True})
    files = brought(folder, "brought", HOST)
    content = {"certificate": files.chain.read_text(), "key": files.key.read_text()}
    fleet.call("PUT", f"/v1/sites/blog/domains/{HOST}/certificate", content)
    trust = trusting(files.chain)
    answer = await asyncio.to_thread(visit_once_there, edge.ready["https_url"], HOST, trust)
    assert answer.content == b"a page"
    return trust


async def test_a_restart_drops_no_visitor_of_https(fleet: RoleFleet, tmp_path: Path) -> None:
    """Under load, with a manager that keeps the sockets: visitors who connect in between wait, and are answered."""
    (port,) = free_ports(1)
    more = f'https_listen = "127.0.0.1:{port}"\nedge_key_file = "edge.key"\nworkers = 2\nwithdraw_s = 0.2\n'
    edge = fleet.configured_edge("kept", more)
    manager = ServiceManager(["edge", "--config", str(edge.config), "--json"], edge.environ, edge.log)
    is_over = threading.Event()
    answered: list[bytes] = []
    try:
        await asyncio.to_thread(manager.start)
        assert len(manager.kept) == 5, "one for each worker, by http and by https, and the keys of session tickets"
        edge.ready = manager.announced
        await edge.until_ready()
        trust = await with_certificate(fleet, tmp_path, edge)

        def visitors() -> None:
            while not is_over.is_set():
                answered.append(visit(edge.ready["https_url"], HOST, trust).content)

        async def until_more() -> None:
            seen = len(answered)
            async with asyncio.timeout(60):
                while len(answered) < seen + 10 and not any(task.done() for task in visiting):
                    await asyncio.sleep(0.01)

        visiting = [asyncio.create_task(asyncio.to_thread(visitors)) for _ in range(2)]
        await until_more()
        assert await asyncio.to_thread(manager.end, signal.SIGTERM) == 0
        await asyncio.to_thread(manager.start)
        assert manager.announced["https_url"] == edge.ready["https_url"]
        await until_more()
        is_over.set()
        await asyncio.gather(*visiting)
        assert set(answered) == {b"a page"}
        assert await asyncio.to_thread(manager.end, signal.SIGTERM) == 0
    finally:
        is_over.set()
        manager.close()


async def test_nodes_show_what_is_sealed_for_them(fleet: RoleFleet, tmp_path: Path) -> None:
    own, stranger = fleet.edges["own"], fleet.edges["stranger"]
    await own.until_ready()
    await stranger.until_ready()
    trust = await with_certificate(fleet, tmp_path, own)
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
