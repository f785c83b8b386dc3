"""An edge of several processes: one truth on all of them, whatever happens to one (DESIGN I1, I6, I8, I11)."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cdn.edge.workers import _exchange_path
from tests.e2e.roles import RoleFleet, RoleProcess, outcomes
from tests.e2e.running import exchange
from tests.e2e.service_manager import ServiceManager

WORKERS = 2
BIG = b"b" * 3_000_000
SETTINGS = f"workers = {WORKERS}\nallows_private_upstreams = true\n"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RoleFleet]:
    made = RoleFleet(tmp_path, 'url = "store"', {})
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoleFleet]:
    """Control and an edge with workers, for all tests that leave it as it was; each has a site of its own."""
    made = RoleFleet(tmp_path_factory.mktemp("workers"), 'url = "store"', {})
    try:
        control, edge = made.start_control(), made.start_edge("e1", SETTINGS)
        asyncio.run(control.until_ready())
        asyncio.run(edge.until_ready())
        yield made
    finally:
        made.close()


@pytest.fixture
def edge(shared: RoleFleet) -> RoleProcess:
    return shared.edges["e1"]


def a_site(fleet: RoleFleet, name: str) -> str:
    """A site that has a page, and a large file."""
    fleet.call("POST", "/v1/sites", {"name": name})
    fleet.deploy(name, {"/index.html": b"one", "/big.bin": BIG})
    return name


def workers_of(edge: RoleProcess) -> list[int]:
    """The processes that the edge has started."""
    assert edge.process is not None
    children = Path(f"/proc/{edge.process.pid}/task/{edge.process.pid}/children").read_text()
    return sorted(int(pid) for pid in children.split())


def visited(fleet: RoleFleet, site: str, times: int = 30, target: str = "/") -> Counter[bytes]:
    """What so many visitors get, each on a connection of its own: they come to all workers."""
    return Counter(fleet.visit("e1", site, target).content for _ in range(times))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


async def replaced(edge: RoleProcess, worker: int) -> None:
    """Another worker is there in its place, and listens."""
    await until(lambda: worker not in workers_of(edge) and edge.metrics()["cdn_edge_workers"] == WORKERS)


def answered_by_all(edge: RoleProcess, fleet: RoleFleet, site: str) -> bool:
    """Whether every worker has the page in its memory: so many visitors in a row are answered from there."""
    before = edge.metrics()
    visited(fleet, site)
    return edge.metrics()["cdn_edge_answered_total"] == before["cdn_edge_answered_total"]


async def test_a_deploy_and_a_purge_hold_on_every_worker(shared: RoleFleet, edge: RoleProcess) -> None:
    site = a_site(shared, "deploys")
    assert len(workers_of(edge)) == WORKERS
    for number in range(5):
        content = b"number %d" % number
        deployed = shared.deploy(site, {"/index.html": content, "/big.bin": BIG})
        assert outcomes(deployed["receipt"]) == {"e1": "applied"}
        assert visited(shared, site) == {content: 30}
    await until(lambda: answered_by_all(edge, shared, site))
    receipt = shared.call("POST", f"/v1/sites/{site}/purges?wait=20", {"everything": True})
    assert receipt["complete"]
    statuses = [shared.visit("e1", site).cache_status for _ in range(30)]
    assert sum("fwd=" in status for status in statuses) == 1, "the first fetches, all others find what it stored"
    assert visited(shared, site, 6, "/big.bin") == {BIG: 6}
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


async def test_one_fetch_for_all_workers(shared: RoleFleet, edge: RoleProcess, upstream: CountingUpstream) -> None:
    shared.call("POST", "/v1/sites", {"name": "shop", "settings": {"origin": upstream.url}})
    shared.call("POST", "/v1/sites/shop/purges?wait=20", {"urls": ["/is-known"]})
    with ThreadPoolExecutor(24) as visitors:
        visits = [visitors.submit(shared.visit, "e1", "shop", "/page") for _ in range(24)]
        await until(lambda: edge.metrics()["cdn_edge_open_connections"] >= 24)
        upstream.go.set()
        answers = [visit.result() for visit in visits]
    assert {answer.content for answer in answers} == {b"1 of /page"}
    assert upstream.asked == {"/page": 1}
    assert {shared.visit("e1", "shop", "/page").content for _ in range(24)} == {b"1 of /page"}

    host = {"Host": "shop.cdn.localhost", "Content-Type": "text/plain"}
    said = exchange(edge.ready["http_url"], "POST", "/page", host, b"new")
    assert (said.status, upstream.posted) == (200, [b"new"])
    after = {shared.visit("e1", "shop", "/page").content for _ in range(24)}
    assert after == {b"2 of /page"}, "an unsafe method invalidates on every worker (RFC 9111 section 4.4)"


async def test_a_worker_that_dies_is_replaced(shared: RoleFleet, edge: RoleProcess) -> None:
    site = a_site(shared, "dies")
    died = edge.metrics()["cdn_edge_workers_died_total"]
    for _ in range(2):
        killed = workers_of(edge)[0]
        os.kill(killed, signal.SIGKILL)
        await replaced(edge, killed)
        assert visited(shared, site) == {b"one": 30}
        receipt = shared.call("POST", f"/v1/sites/{site}/purges?wait=20", {"everything": True})
        assert outcomes(receipt) == {"e1": "applied"}
    assert edge.metrics()["cdn_edge_workers_died_total"] == died + 2


async def test_a_worker_that_hangs_serves_nothing_stale_and_is_replaced(shared: RoleFleet, edge: RoleProcess) -> None:
    site = a_site(shared, "hangs")
    await until(lambda: answered_by_all(edge, shared, site))
    hung = workers_of(edge)[1]
    # Connections to every worker, so that some are to the one that hangs.
    connections = [await asyncio.open_connection(*address(edge)) for _ in range(20)]
    asked = f"GET / HTTP/1.1\r\nHost: {site}.cdn.localhost\r\n\r\n".encode()
    for reader, writer in connections:
        writer.write(asked)
        assert (await content_of(reader)) == b"one"
    os.kill(hung, signal.SIGSTOP)
    deployed = shared.deploy(site, {"/index.html": b"two"})
    assert outcomes(deployed["receipt"]) == {"e1": "applied"}, "its lease is over, so it serves nothing: nobody waits"
    for _, writer in connections:
        writer.write(asked)
    os.kill(hung, signal.SIGCONT)
    contents = [await content_of(reader) for reader, _ in connections]
    assert set(contents) <= {b"two", None}
    for _, writer in connections:
        writer.close()

    before = edge.metrics()["cdn_edge_workers_hung_total"]
    hung = workers_of(edge)[1]
    os.kill(hung, signal.SIGSTOP)
    await replaced(edge, hung)
    assert visited(shared, site) == {b"two": 30}
    assert edge.metrics()["cdn_edge_workers_hung_total"] == before + 1


async def test_a_node_process_that_hangs(shared: RoleFleet, edge: RoleProcess) -> None:
    """Nothing is answered that it might know better, nobody waits for it for long, and it finds all as it was."""
    site = a_site(shared, "stopped")
    await until(lambda: answered_by_all(edge, shared, site))
    workers = workers_of(edge)
    edge.send(signal.SIGSTOP)
    try:
        # From memory while a lease runs, then they wait for the node, then they are told.
        await until(lambda: "node-silent" in shared.visit("e1", site).cache_status)
        told = [shared.visit("e1", site) for _ in range(10)]
        assert {answer.status for answer in told} <= {503}
        assert {answer.fields["retry-after"] for answer in told} == {"1"}
    finally:
        edge.send(signal.SIGCONT)
    await until(lambda: set(visited(shared, site)) == {b"one"})
    assert workers_of(edge) == workers, "they did nothing wrong"
    purged = shared.call("POST", f"/v1/sites/{site}/purges?wait=20", {"everything": True})
    assert outcomes(purged) == {"e1": "applied"}


async def test_nothing_is_left_of_workers_and_visitors(shared: RoleFleet, edge: RoleProcess) -> None:
    await leave_and_die(shared, edge, a_site(shared, "leaks"), deaths=4, visitors=50)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_nothing_is_left_of_very_many(shared: RoleFleet, edge: RoleProcess) -> None:
    await leave_and_die(shared, edge, a_site(shared, "manyleaks"), deaths=100, visitors=1000)


async def leave_and_die(fleet: RoleFleet, edge: RoleProcess, site: str, *, deaths: int, visitors: int) -> None:
    """Visitors who leave in the middle, workers that die while they serve: what the node holds is what it held."""
    assert edge.process is not None
    node = edge.process.pid
    for _ in range(2):  # what stays for good is there
        await visitors_leave(edge, site, 20)
    open_files, resident_bytes = descriptors(node), resident(node)
    for number in range(deaths):
        killed = workers_of(edge)[number % WORKERS]
        leaving = asyncio.create_task(visitors_leave(edge, site, visitors // deaths))
        os.kill(killed, signal.SIGKILL)
        await leaving
        await replaced(edge, killed)
    await until(lambda: descriptors(node) <= open_files + 2)  # a scrape of its metrics is one
    assert resident(node) < resident_bytes + 64 * 1024 * 1024
    assert visited(fleet, site) == {b"one": 30}


async def visitors_leave(edge: RoleProcess, site: str, count: int) -> None:
    """Some before they are answered, some in the middle of large content."""
    for number in range(count):
        try:
            reader, writer = await asyncio.open_connection(*address(edge), limit=4096)
            writer.write(f"GET /big.bin HTTP/1.1\r\nHost: {site}.cdn.localhost\r\n\r\n".encode())
            if number % 3:
                await reader.read(1000)
            writer.transport.abort()
        except ConnectionError:
            continue


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_no_worker_outlives_its_node(shared: RoleFleet, edge: RoleProcess) -> None:
    site = a_site(shared, "outlives")
    workers = workers_of(edge)
    os.kill(workers[0], signal.SIGSTOP)
    port = address(edge)[1]
    edge.end(signal.SIGKILL)
    await until(lambda: not any(runs(pid) for pid in workers))
    edge.config.write_text(edge.config.read_text().replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"'))
    edge.start()
    await edge.until_ready()
    assert visited(shared, site) == {b"one": 30}
    sockets = _exchange_path(edge.config.parent / "e1")
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o600, "the one that was killed left it behind; nobody else may ask"


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
    edge = fleet.configured_edge("e1", f"workers = {workers}\nwithdraw_s = 0.2\n")
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", {"/index.html": b"one"})
    manager = ServiceManager(["edge", "--config", str(edge.config), "--json"], edge.environ, edge.log)
    is_over = threading.Event()
    try:
        manager.start()
        assert len(manager.kept) == workers
        edge.ready = manager.announced
        await edge.until_ready()
        answered: list[int] = []

        def visitors() -> None:
            """One connection after another; an edge that is away makes them wait, nothing else."""
            while not is_over.is_set():
                answer = fleet.visit("e1", "blog")
                assert (answer.status, answer.content) == (200, b"one")
                answered.append(answer.status)

        visiting = [asyncio.create_task(asyncio.to_thread(visitors)) for _ in range(4)]
        seen = len(answered)
        await until(lambda: len(answered) > seen + 20 or any(task.done() for task in visiting))
        assert await asyncio.to_thread(manager.end, signal.SIGTERM) == 0
        assert not _exchange_path(edge.config.parent / "e1").exists()
        await asyncio.to_thread(manager.start)
        assert manager.announced["http_url"] == edge.ready["http_url"]
        assert len(manager.kept) == workers
        again = len(answered)
        await until(lambda: len(answered) > again + 20 or any(task.done() for task in visiting))
        is_over.set()
        await asyncio.gather(*visiting)
        assert manager.end(signal.SIGTERM) == 0
    finally:
        is_over.set()
        manager.close()
