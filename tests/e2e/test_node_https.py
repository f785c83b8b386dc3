"""A node answers https: in one process and by workers, through records, restarts and losses of its disk."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cdn.cli.worker_process import worker_command
from cdn.edge.certificate_shelf import ShelfReader
from cdn.edge.node import EdgeNode
from cdn.edge.settings import EdgeSettings
from cdn.edge.workers import Workers
from cdn.errors import InvalidInput
from cdn.journal.record import AnswerSet, Change, DomainVerified
from cdn.origin.directory import DirectoryStore
from cdn.tls.sealed import KeyRing
from tests.e2e.fleet import ZONE, Fleet
from tests.edge.certificate_stage import certificate_set, new_ring, put_object
from tests.edge.tls_material import certificate_for, root_pem
from tests.servers.ports import free_ports

HOST = "www.example.com"


@dataclass(slots=True)
class Stage:
    """One site with one domain, and one node."""

    fleet: Fleet
    ring: KeyRing
    site_id: str

    @property
    def edge(self) -> EdgeNode:
        return self.fleet.nodes["n1"].edge

    async def record(self, subject: str, change: Change) -> int:
        """Its sequence, once every node has acknowledged it."""
        recorded = await self.fleet.plane.state.append(subject, lambda: change, "test")
        sequence: int = recorded.sequence
        async with asyncio.timeout(20):
            while True:
                receipt = await self.fleet.call("GET", f"/v1/receipts/{sequence}?wait=5")
                if receipt["complete"]:
                    return sequence

    async def certify(self, serial: int = 0) -> str:
        """A certificate for the domain, as control records one; its id."""
        change = certificate_set(HOST, self.site_id, {"": self.ring}, serial=serial)
        await put_object(self.fleet.store, change)
        await self.record(f"certificate/{HOST}", change)
        return change.certificate_id

    async def shown(self, host: str = HOST) -> bytes:
        """The certificate of a handshake. Raises OSError."""
        _, writer = await self.connect(host)
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return certificate

    async def connect(self, host: str = HOST) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cadata=root_pem().decode())
        return await asyncio.open_connection("127.0.0.1", self.edge.https_port, ssl=context, server_hostname=host)

    async def visit(self, target: str, host: str = HOST) -> bytes:
        """What comes over https."""
        reader, writer = await self.connect(host)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def stage_at(path: Path, workers: int, **settings: Any) -> AsyncIterator[Stage]:
    ring = new_ring(path)
    fleet = await Fleet(path).start()
    try:
        site = await fleet.create_site("blog", **settings)
        stage = Stage(fleet, ring, site["id"])
        await fleet.add("n1", https_port=0, edge_key_file=path / "edge-key", workers=workers)
        await stage.record(f"domain/{HOST}", DomainVerified(HOST, site["id"]))
        await fleet.deploy("blog", {"index.html": b"hello\n", "a.txt": b"a\n"})
        yield stage
    finally:
        await fleet.aclose()


@pytest.fixture(autouse=True)
def _workers_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    start = EdgeNode.start

    async def started(*given: Any, **more: Any) -> EdgeNode:
        return await start(*given, worker_command=worker_command(), **more)

    monkeypatch.setattr(EdgeNode, "start", started)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_certificate_counts_once_it_is_acknowledged(tmp_path: Path, workers: int) -> None:
    async with stage_at(tmp_path, workers, hsts_s=60) as stage:
        with pytest.raises(OSError):
            await stage.shown()
        assert (await stage.fleet.visit("n1", HOST, "/a.txt")).status == 200
        for serial in (1, 2):
            await stage.certify(serial)
            expected = certificate_for(HOST, f"{serial}.serial.example").chain.decode()
            for _ in range(2 * workers):
                assert await stage.shown() == ssl.PEM_cert_to_DER_cert(expected)
        for _ in range(2):  # what was prepared before there was a certificate is not sent
            moved = await stage.fleet.visit("n1", HOST, "/a.txt?b=1")
            assert moved.status == 308
            assert moved.fields["location"] == f"https://{HOST}:{stage.edge.https_port}/a.txt?b=1"
        for _ in range(3):
            answer = await stage.visit("/a.txt")
            assert b"strict-transport-security: max-age=60\r\n" in answer
            assert answer.endswith(b"\r\n\r\na\n")
        by_http = await stage.fleet.visit("n1", f"blog.{ZONE}", "/a.txt")
        assert by_http.status == 200
        assert "strict-transport-security" not in by_http.fields
        counted = stage.edge.counted()
        assert counted["certificates"] == 1


async def test_a_connection_outlives_the_certificate_that_it_began_with(tmp_path: Path) -> None:
    async with stage_at(tmp_path, 2) as stage:
        await stage.certify(1)
        reader, writer = await stage.connect()
        await stage.certify(2)
        assert await stage.shown() == ssl.PEM_cert_to_DER_cert(certificate_for(HOST, "2.serial.example").chain.decode())
        writer.write(f"GET /a.txt HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        assert (await reader.read()).endswith(b"\r\n\r\na\n")
        writer.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_node_that_starts_without_control_has_its_certificates(tmp_path: Path, workers: int) -> None:
    async with stage_at(tmp_path, workers) as stage:
        await stage.certify()
        await stage.fleet.stop_control()
        await stage.fleet.restart("n1")
        for _ in range(4):
            assert (await stage.visit("/a.txt")).endswith(b"\r\n\r\na\n")
            moved = await stage.fleet.visit("n1", HOST, "/a.txt")  # though it is prepared, for https
            assert moved.status == 308
        await stage.fleet.start_control()


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_the_disk_lost_comes_from_the_store(tmp_path: Path, workers: int) -> None:
    async with stage_at(tmp_path, workers) as stage:
        certificate_id = await stage.certify()
        await stage.fleet.plane.state.append("answer/x", lambda: AnswerSet("http-01", "a", "b", "c", 1.0), "test")
        await stage.edge.stop()
        for part in (tmp_path / "n1").glob("certificates.db*"):
            part.unlink()
        tail = [path for path in (tmp_path / "n1").iterdir() if path.name.startswith("replica")]
        assert tail
        for part in tail:  # so that a snapshot is sent, which names certificates without their content
            part.unlink()
        node = stage.fleet.nodes["n1"]
        node.edge = await EdgeNode.start(node.settings, node.store)
        async with asyncio.timeout(30):
            await node.edge.follower.wait_caught_up()
        assert ShelfReader(node.settings.certificates_path).get(certificate_id) is not None
        assert (await stage.visit("/a.txt")).endswith(b"\r\n\r\na\n")


async def test_an_authority_is_answered_by_http_for_names_that_no_site_has(tmp_path: Path) -> None:
    async with stage_at(tmp_path, 2) as stage:
        await stage.record("answer/x", AnswerSet("http-01", "new.example.com", "token", "token.thumb", 4e9))
        found = await stage.fleet.visit("n1", "new.example.com", "/.well-known/acme-challenge/token")
        assert (found.status, found.content) == (200, b"token.thumb")
        await stage.certify()
        await stage.record("answer/y", AnswerSet("http-01", HOST, "token", "other.thumb", 4e9))
        found = await stage.fleet.visit("n1", HOST, "/.well-known/acme-challenge/token")
        assert (found.status, found.content) == (200, b"other.thumb")


async def test_no_key_lies_on_the_disk_in_clear(tmp_path: Path) -> None:
    async with stage_at(tmp_path, 2) as stage:
        await stage.certify()
        assert (await stage.visit("/a.txt")).endswith(b"a\n")
        key = certificate_for(HOST).key
        line = key.splitlines()[1]
        for path in tmp_path.rglob("*"):
            if path.is_file() and not path.is_socket():
                content = path.read_bytes()
                assert line not in content, path
                assert b"PRIVATE KEY" not in content, path


async def test_a_key_file_is_needed_and_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="edge_key_file") as caught:
        EdgeSettings("n1", tmp_path, ZONE, "http://127.0.0.1:9", "t", https_port=0)
    assert caught.value.field == "edge_key_file"


def resumed(port: int, count: int, between: Callable[[], None] = lambda: None) -> list[bool]:
    """Whether each of `count` connections resumed the session of one before them; `between` happens before each."""
    context = ssl.create_default_context(cadata=root_pem().decode())
    session: ssl.SSLSession | None = None
    found = []
    for number in range(count + 1):
        if number:
            between()
        with (
            socket.create_connection(("127.0.0.1", port), 20) as raw,
            context.wrap_socket(raw, server_hostname=HOST, session=session) as secret,
        ):
            secret.sendall(f"GET /a.txt HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            while secret.recv(65536):
                pass  # the ticket comes with the answer
            found.append(bool(secret.session_reused))
            session = secret.session
    return found[1:]


async def test_a_session_resumes_whichever_worker_it_comes_to(tmp_path: Path) -> None:
    async with stage_at(tmp_path, 2) as stage:
        await stage.certify()
        port = stage.edge.https_port
        assert port is not None
        assert all(await asyncio.to_thread(resumed, port, 12))
        async with asyncio.timeout(20):
            while stage.edge.counted().get("tls_resumed", 0) < 12:
                await asyncio.sleep(0.05)


async def test_a_session_resumes_in_workers_that_were_started_anew(tmp_path: Path) -> None:
    async with stage_at(tmp_path, 2) as stage:
        await stage.certify()
        port = stage.edge.https_port
        assert port is not None

        front = stage.edge._front
        assert isinstance(front, Workers)
        pool = front.pool

        def end_workers() -> None:
            ended = pool.process_ids
            for process_id in ended:
                os.kill(process_id, signal.SIGKILL)
            while set(ended) & set(pool.process_ids):
                time.sleep(0.005)

        first = pool.process_ids
        async with asyncio.timeout(60):
            assert all(await asyncio.to_thread(resumed, port, 2, end_workers))
        assert not set(first) & set(pool.process_ids)


async def test_sockets_that_a_manager_kept_go_to_where_they_listen(tmp_path: Path) -> None:
    ring_file = tmp_path / "edge-key"
    new_ring(tmp_path)
    store = DirectoryStore(tmp_path / "store")
    by_http, by_https = free_ports(2)
    settings = EdgeSettings(
        "n1",
        tmp_path / "n1",
        ZONE,
        "http://127.0.0.1:9",
        "cdn_0_0",
        port=by_http,
        https_port=by_https,
        edge_key_file=ring_file,
    )
    node = await EdgeNode.start(settings, store, sockets=())
    kept, tickets = [each.dup() for each in node.sockets], node.certificates.ticket_keys()
    await node.stop()
    listening = {each.fileno() for each in kept if each.family == socket.AF_INET}
    node = await EdgeNode.start(settings, store, sockets=kept[::-1])
    assert (node.port, node.https_port) == (by_http, by_https)
    assert {each.fileno() for each in node.sockets if each.family == socket.AF_INET} == listening
    assert node.certificates.ticket_keys() == tickets, "sessions resume after a restart"
    await node.stop()
    node = await EdgeNode.start(settings, store)
    assert node.certificates.ticket_keys() != tickets, "nobody kept them"
    await node.stop()
    await store.aclose()
