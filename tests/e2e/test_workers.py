"""An edge of several processes: one truth on all of them, whatever happens to one (DESIGN I1, I6, I8, I11)."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.roles import RoleFleet, RoleProcess, outcomes
from tests.e2e.running import Answer, RunningCdn, exchange
from tests.e2e.service_manager import ServiceManager

WORKERS = 3
SETTINGS = f"workers = {WORKERS}\nallows_private_upstreams = true\n"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RoleFleet]:
    made = RoleFleet(tmp_path, 'url = "store"', {})
    yield made
    made.close()


async def an_edge(fleet: RoleFleet) -> RoleProcess:
    """Control, and an edge with workers that has the site `blog`."""
    control = fleet.start_control()
    await control.until_ready()
    edge = fleet.start_edge("e1", SETTINGS)
    await edge.until_ready()
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", {"/index.html": b"one", "/big.bin": b"b" * 3_000_000})
    return edge


def workers_of(edge: RoleProcess) -> list[int]:
    """The processes that the edge has started."""
    assert edge.process is not None
    children = Path(f"/proc/{edge.process.pid}/task/{edge.process.pid}/children").read_text()
    return sorted(int(pid) for pid in children.split())


def visited(fleet: RoleFleet, times: int = 40, target: str = "/") -> Counter[bytes]:
    """What so many visitors get, each on a connection of its own: they come to all workers."""
    return Counter(fleet.visit("e1", "blog", target).content for _ in range(times))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


def answered_by_all(edge: RoleProcess, fleet: RoleFleet) -> bool:
    """Whether every worker has the page in its memory: two visitors in a row are answered from there, and so on."""
    before = edge.metrics()
    visited(fleet)
    return edge.metrics()["cdn_edge_answered_total"] == before["cdn_edge_answered_total"]


async def test_a_deploy_and_a_purge_hold_on_every_worker(fleet: RoleFleet) -> None:
    edge = await an_edge(fleet)
    assert len(workers_of(edge)) == WORKERS
    for number in range(5):
        content = b"number %d" % number
        deployed = fleet.deploy("blog", {"/index.html": content, "/big.bin": b"b" * 3_000_000})
        assert outcomes(deployed["receipt"]) == {"e1": "applied"}
        assert visited(fleet) == {content: 40}
    await until(lambda: answered_by_all(edge, fleet))
    receipt = fleet.call("POST", "/v1/sites/blog/purges?wait=20", {"everything": True})
    assert receipt["complete"]
    statuses = [fleet.visit("e1", "blog").cache_status for _ in range(40)]
    assert sum("fwd=" in status for status in statuses) == 1, "the first fetches, all others find what it stored"
    assert visited(fleet, 6, "/big.bin") == {b"b" * 3_000_000: 6}
    assert edge.metrics()["cdn_edge_workers"] == WORKERS


class CountingUpstream:
    """Answers after `go`, so that everybody who wants the same has asked before."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.posted: list[bytes] = []
        self.go = threading.Event()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream.asked[self.path] += 1
                upstream.go.wait(30)
                content = b"%d of %s" % (upstream.asked[self.path], self.path.encode())
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "max-age=600")
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                upstream.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._serving = threading.Thread(target=self._server.serve_forever)
        self._serving.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()


@pytest.fixture
def upstream() -> Iterator[CountingUpstream]:
    made = CountingUpstream()
    yield made
    made.close()


async def test_one_fetch_for_all_workers(fleet: RoleFleet, upstream: CountingUpstream) -> None:
    edge = await an_edge(fleet)
    fleet.call("POST", "/v1/sites", {"name": "shop", "settings": {"origin": upstream.url}})
    fleet.call("POST", "/v1/sites/blog/purges?wait=20", {"everything": True})  # and so the site is known everywhere
    with ThreadPoolExecutor(24) as visitors:
        visits = [visitors.submit(fleet.visit, "e1", "shop", "/page") for _ in range(24)]
        await until(lambda: edge.metrics()["cdn_edge_open_connections"] >= 24)
        upstream.go.set()
        answers = [visit.result() for visit in visits]
    assert {answer.content for answer in answers} == {b"1 of /page"}
    assert upstream.asked == {"/page": 1}
    assert {fleet.visit("e1", "shop", "/page").content for _ in range(24)} == {b"1 of /page"}

    host = {"Host": "shop.cdn.localhost", "Content-Type": "text/plain"}
    said = exchange(edge.ready["http_url"], "POST", "/page", host, b"new")
    assert (said.status, upstream.posted) == (200, [b"new"])
    after = {fleet.visit("e1", "shop", "/page").content for _ in range(24)}
    assert after == {b"2 of /page"}, "an unsafe method invalidates on every worker (RFC 9111 section 4.4)"


async def test_a_worker_that_dies_is_replaced(fleet: RoleFleet) -> None:
    edge = await an_edge(fleet)
    for _ in range(2):
        before = workers_of(edge)
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: len(workers_of(edge)) == WORKERS and before[0] not in workers_of(edge))  # noqa: B023
        assert visited(fleet) == {b"one": 40}
        receipt = fleet.call("POST", "/v1/sites/blog/purges?wait=20", {"everything": True})
        assert outcomes(receipt) == {"e1": "applied"}
    assert edge.metrics()["cdn_edge_workers_died_total"] == 2


async def test_a_worker_that_hangs_serves_nothing_stale_and_is_replaced(fleet: RoleFleet) -> None:
    edge = await an_edge(fleet)
    await until(lambda: answered_by_all(edge, fleet))
    hung = workers_of(edge)[1]
    # Connections to every worker, so that some are to the one that hangs.
    connections = [await asyncio.open_connection(*address(edge)) for _ in range(20)]
    asked = b"GET / HTTP/1.1\r\nHost: blog.cdn.localhost\r\n\r\n"
    for reader, writer in connections:
        writer.write(asked)
        assert (await content_of(reader)) == b"one"
    os.kill(hung, signal.SIGSTOP)
    deployed = fleet.deploy("blog", {"/index.html": b"two"})
    assert outcomes(deployed["receipt"]) == {"e1": "applied"}, "its lease is over, so it serves nothing: nobody waits"
    for _, writer in connections:
        writer.write(asked)
    os.kill(hung, signal.SIGCONT)
    contents = [await content_of(reader) for reader, _ in connections]
    assert set(contents) <= {b"two", None}
    for _, writer in connections:
        writer.close()

    hung = workers_of(edge)[1]
    os.kill(hung, signal.SIGSTOP)
    await until(lambda: hung not in workers_of(edge) and len(workers_of(edge)) == WORKERS)
    assert visited(fleet) == {b"two": 40}
    assert edge.metrics()["cdn_edge_workers_hung_total"] == 1


async def test_no_worker_outlives_its_node(fleet: RoleFleet) -> None:
    edge = await an_edge(fleet)
    workers = workers_of(edge)
    os.kill(workers[0], signal.SIGSTOP)
    port = address(edge)[1]
    edge.end(signal.SIGKILL)
    await until(lambda: not any(runs(pid) for pid in workers))
    edge.config.write_text(edge.config.read_text().replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"'))
    edge.start()
    await edge.until_ready()
    assert visited(fleet) == {b"one": 40}
    assert edge.end(signal.SIGTERM) == 0


async def test_cdn_up_with_workers(tmp_path: Path) -> None:
    cdn = RunningCdn(tmp_path, ("--workers", "2"))
    cdn.start()
    try:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "index.html").write_text("hello")
        cdn.run("site", "create", "blog")
        cdn.run("deploy", str(tmp_path / "site"), "--site", "blog")

        def visit() -> Answer:
            return exchange(cdn.http_url, "GET", "/", {"Host": "blog.cdn.localhost"})

        assert {visit().content for _ in range(20)} == {b"hello"}
        assert cdn.run("purge", "--site", "blog", "--all")["complete"]
        assert {visit().content for _ in range(20)} == {b"hello"}
    finally:
        assert cdn.stop() == 0


def runs(pid: int) -> bool:
    """Whether the process is there; one that ended and that nobody has asked for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


def address(edge: RoleProcess) -> tuple[str, int]:
    host, _, port = edge.ready["http_url"].removeprefix("http://").partition(":")
    return host, int(port)


async def content_of(reader: asyncio.StreamReader) -> bytes | None:
    """The content of the next response; None when the connection was reset because its worker was killed."""
    try:
        async with asyncio.timeout(30):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return await reader.readexactly(int(size.partition(b":")[2]))
    except (ConnectionError, asyncio.IncompleteReadError):
        return None


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_restart_drops_no_request(fleet: RoleFleet, workers: int) -> None:
    """Under load, with a manager that keeps the sockets: visitors who connect in between wait, and are answered."""
    control = fleet.start_control()
    await control.until_ready()
    edge = fleet.start_edge("e1", f"workers = {workers}\nwithdraw_s = 0.2\n")
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", {"/index.html": b"one"})
    assert edge.end(signal.SIGTERM) == 0
    manager = ServiceManager(["edge", "--config", str(edge.config), "--json"], edge.environ, edge.log)
    is_over = threading.Event()
    try:
        manager.start()
        assert len(manager.kept) == workers
        edge.ready = manager.announced
        answered: list[int] = []

        def visitors() -> None:
            """One connection after another; an edge that is away makes them wait, nothing else."""
            while not is_over.is_set():
                answer = fleet.visit("e1", "blog")
                assert (answer.status, answer.content) == (200, b"one")
                answered.append(answer.status)

        visiting = [asyncio.create_task(asyncio.to_thread(visitors)) for _ in range(4)]
        for number in (signal.SIGTERM, signal.SIGTERM):
            seen = len(answered)
            await until(lambda: len(answered) > seen + 20 or any(task.done() for task in visiting))  # noqa: B023
            status = await asyncio.to_thread(manager.end, number)
            assert status == 0
            await asyncio.to_thread(manager.start)
            assert manager.announced["http_url"] == edge.ready["http_url"]
            assert len(manager.kept) == workers
        seen = len(answered)
        await until(lambda: len(answered) > seen + 20 or any(task.done() for task in visiting))
        is_over.set()
        await asyncio.gather(*visiting)
        assert manager.end(signal.SIGTERM) == 0
    finally:
        is_over.set()
        manager.close()
