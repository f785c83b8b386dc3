"""A fleet of real processes: control and two edges started from settings files, over S3 and over a folder."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.roles import ZONE, RoleFleet, RoleProcess, outcomes
from tests.servers.seaweed import S3Server

FILES = {"/index.html": b"<p>home</p>", "/a.txt": b"a" * 5000, "/big.bin": b"b" * 3_000_000}


@pytest.fixture
def folder_fleet(tmp_path: Path) -> Iterator[RoleFleet]:
    fleet = RoleFleet(tmp_path, 'url = "store"', {})
    yield fleet
    fleet.close()


@pytest.fixture
def s3_fleet(tmp_path: Path, s3_server: S3Server) -> Iterator[RoleFleet]:
    store = f'url = "s3://{s3_server.new_bucket()}/cdn"\nendpoint_url = "{s3_server.endpoint_url}"'
    fleet = RoleFleet(tmp_path, store, s3_server.environment())
    yield fleet
    fleet.close()


async def two_edges(fleet: RoleFleet) -> tuple[RoleProcess, RoleProcess, RoleProcess]:
    """Control and two edges that are ready, with a site on them."""
    control = fleet.start_control()
    await control.until_ready()
    edges = fleet.start_edge("e1"), fleet.start_edge("e2")
    for edge in edges:
        await edge.until_ready()
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    deployed = fleet.deploy("blog", FILES)
    assert outcomes(deployed["receipt"]) == {"e1": "applied", "e2": "applied"}
    return control, *edges


async def deploy_purge_and_kill(fleet: RoleFleet) -> None:
    control, first, second = await two_edges(fleet)
    for node_id in ("e1", "e2"):
        for target, content in FILES.items():
            assert fleet.visit(node_id, "blog", target.replace("index.html", "")).content == content
        assert "; hit" in fleet.visit(node_id, "blog", "/a.txt").fields["cache-status"]
    receipt = fleet.call("POST", "/v1/sites/blog/purges?wait=20", {"everything": True})
    assert receipt["complete"]
    assert outcomes(receipt) == {"e1": "applied", "e2": "applied"}
    for node_id in ("e1", "e2"):
        assert "; hit" not in fleet.visit(node_id, "blog", "/a.txt").fields["cache-status"]
    assert control.metrics()["cdn_control_nodes"] == 2
    assert control.metrics()['cdn_control_node_connected{node="e2"}'] == 1
    assert first.metrics()["cdn_edge_attached"] == 1
    assert first.metrics()["cdn_edge_applied_sequence"] == receipt["position"]["sequence"]

    second.end(signal.SIGKILL)
    receipt = fleet.call("POST", "/v1/sites/blog/purges?wait=30", {"everything": True})
    assert outcomes(receipt) == {"e1": "applied", "e2": "excused"}
    assert fleet.visit("e1", "blog", "/a.txt").content == FILES["/a.txt"]
    second.start()
    await second.until_ready()
    again = fleet.call("GET", f"/v1/receipts/{receipt['position']['sequence']}?wait=20")
    assert outcomes(again) == {"e1": "applied", "e2": "applied"}
    assert "; hit" not in fleet.visit("e2", "blog", "/a.txt").fields["cache-status"]
    assert [process.end(signal.SIGTERM) for process in (first, second, control)] == [0, 0, 0]


async def test_a_fleet_over_a_folder(folder_fleet: RoleFleet) -> None:
    await deploy_purge_and_kill(folder_fleet)


async def test_a_fleet_over_s3(s3_fleet: RoleFleet) -> None:
    await deploy_purge_and_kill(s3_fleet)


async def test_sigterm_under_load_loses_no_request(folder_fleet: RoleFleet) -> None:
    """Every request on a connection that stands is answered whole; the last answer of each says that it closes."""
    _, edge, _ = await two_edges(folder_fleet)
    url = edge.ready["http_url"]
    is_stopping = False

    async def visitor(target: str) -> tuple[int, bool]:
        """Requests one after the other on one connection, until the edge says that it closes; how many."""
        content = FILES[target]
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        answered = 0
        try:
            while True:
                writer.write(b"GET %s HTTP/1.1\r\nHost: blog.%s\r\n\r\n" % (target.encode(), ZONE.encode()))
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                assert head.startswith(b"http/1.1 200"), head
                assert await reader.readexactly(len(content)) == content
                answered += 1
                if b"connection: close" in head:
                    assert is_stopping
                    assert await reader.read() == b""
                    return answered, True
        finally:
            writer.close()

    visitors = [asyncio.create_task(visitor(target)) for target in ("/a.txt", "/a.txt", "/a.txt", "/big.bin")]
    idle = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    async with asyncio.timeout(20):
        while (await asyncio.to_thread(edge.metrics))["cdn_edge_hits_total"] < 200:
            assert not any(task.done() for task in visitors)
            await asyncio.sleep(0.01)
    is_stopping = True
    edge.send(signal.SIGTERM)
    readiness = await asyncio.to_thread(edge.ask, "/readyz")
    while readiness.status == 200:
        readiness = await asyncio.to_thread(edge.ask, "/readyz")
    assert (readiness.status, readiness.content) == (503, b'{"status": "draining", "role": "edge"}')
    assert (await asyncio.to_thread(edge.ask, "/healthz")).status == 200
    async with asyncio.timeout(20):
        answered = await asyncio.gather(*visitors)
    assert all(count > 0 and is_closed for count, is_closed in answered)
    assert await idle[0].read() == b""
    idle[1].close()
    assert await asyncio.to_thread(edge.wait) == 0
    assert "Traceback" not in edge.log.read_text()
    # It gave its lease back; where that was not heard, because the line was just being renewed, the lease runs out.
    receipt = folder_fleet.call("POST", "/v1/sites/blog/purges?wait=30", {"everything": True})
    assert outcomes(receipt)["e1"] == "excused"


async def test_control_says_that_it_goes_and_answers_what_it_was_asked(folder_fleet: RoleFleet) -> None:
    control, edge, _ = await two_edges(folder_fleet)
    headers = {"Authorization": f"Bearer {folder_fleet.token('admin')}"}
    async with aiohttp.ClientSession(headers=headers) as client:
        async with client.get(f"{folder_fleet.url}/v1/status") as before:
            assert "Connection" not in before.headers
        control.send(signal.SIGTERM)
        while (await asyncio.to_thread(control.ask, "/readyz")).status == 200:
            pass
        async with client.get(f"{folder_fleet.url}/v1/status") as after:
            assert (after.status, after.headers["Connection"]) == (200, "close")
    assert await asyncio.to_thread(control.wait) == 0
    assert edge.ask("/readyz").status == 200, "an edge that has caught up stays ready without control"
    assert folder_fleet.visit("e1", "blog", "/a.txt").content == FILES["/a.txt"]


async def test_an_edge_that_starts_without_control_serves_but_is_not_ready(folder_fleet: RoleFleet) -> None:
    control, edge, _ = await two_edges(folder_fleet)
    assert folder_fleet.visit("e1", "blog", "/a.txt").status == 200
    control.end(signal.SIGKILL)
    edge.end(signal.SIGKILL)
    edge.start()
    assert edge.ask("/readyz").status == 503
    answer = folder_fleet.visit("e1", "blog", "/a.txt")
    assert answer.content == FILES["/a.txt"]
    assert "detached" in answer.fields["cache-status"]


async def test_two_processes_do_not_share_a_folder_and_a_second_node_of_one_id_gets_nothing(
    folder_fleet: RoleFleet,
) -> None:
    control, edge, _ = await two_edges(folder_fleet)
    twice = RoleProcess("edge", edge.config, edge.environ)
    with pytest.raises(AssertionError, match=r"another cdn uses .*give this one another data_dir in \[edge\]"):
        twice.start()
    assert twice.wait() == 1
    copied = folder_fleet.root / "copied.toml"
    copied.write_text(edge.config.read_text().replace('data_dir = "e1"', 'data_dir = "copied"'))
    impostor = RoleProcess("edge", copied, edge.environ)
    impostor.start()
    try:
        async with asyncio.timeout(20):
            while not control.metrics()['cdn_control_refusals_total{reason="doubled-node"}']:
                await asyncio.sleep(0.05)
        assert impostor.ask("/readyz").status == 503
        assert control.metrics()['cdn_control_node_connected{node="e1"}'] == 1
    finally:
        impostor.end(signal.SIGKILL)


async def test_a_node_with_the_token_of_another_gets_nothing(folder_fleet: RoleFleet) -> None:
    control = folder_fleet.start_control()
    edge = folder_fleet.start_edge("e1", token=folder_fleet.token("node:e2"))
    async with asyncio.timeout(20):
        while not control.metrics()['cdn_control_refusals_total{reason="foreign-token"}']:
            await asyncio.sleep(0.05)
    assert edge.ask("/readyz").status == 503
    assert folder_fleet.call("GET", "/v1/status")["nodes"] == []


async def test_systemd_hears_when_it_serves_that_it_lives_and_that_it_stops(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)

        def hear(wanted: bytes) -> list[bytes]:
            """Everything up to `wanted`."""
            heard = [manager.recv(100)]
            while heard[-1] != wanted:
                heard.append(manager.recv(100))
            return heard

        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        fleet = RoleFleet(tmp_path, 'url = "store"', environ)
        try:
            control = fleet.start_control()
            assert set(hear(b"READY=1")) <= {b"READY=1", b"WATCHDOG=1"}
            assert control.ask("/readyz").status == 200
            hear(b"WATCHDOG=1")
            hear(b"WATCHDOG=1")
            control.send(signal.SIGSTOP)
            manager.settimeout(0.5)
            with pytest.raises(TimeoutError):
                hear(b"nothing more")
            control.send(signal.SIGCONT)
            manager.settimeout(20)
            hear(b"WATCHDOG=1")
            control.send(signal.SIGTERM)
            assert set(hear(b"STOPPING=1")) <= {b"STOPPING=1", b"WATCHDOG=1"}
            assert control.wait() == 0
        finally:
            fleet.close()
