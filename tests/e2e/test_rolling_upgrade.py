"""Programs of different ages in one fleet: an earlier beside today's, and today's beside tomorrow's (DESIGN I14)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cdn.journal.record import RECORD_VERSION
from tests.e2e import edge_process
from tests.e2e.calls import packed
from tests.e2e.roles import RoleFleet, RoleProcess, outcomes
from tests.e2e.running import RunningCdn, exchange
from tests.servers.nats import NatsLayout, start_single, stop_layout

RELEASE = Path(__file__).parent / "releases" / "before-roles.tar.xz"
TOMORROW = "tests.e2e.tomorrow"
PATIENCE_S = 60.0
HOST = {"Host": "blog.cdn.localhost"}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which `python -m cdn` is the earlier program."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(RELEASE) as release:
        release.extractall(folder, filter="data")
    # Without the last one Python would look into the working folder first, where today's program lies.
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


@dataclass(slots=True)
class Edge:
    """One edge of either program, in a process of its own."""

    node_id: str
    folder: Path
    process: subprocess.Popen[str] | None = None
    port: int = 0

    def start(self, control_url: str, token: str, store: Path, environ: Mapping[str, str]) -> None:
        """Return when it has caught up."""
        base = {key: value for key, value in os.environ.items() if not key.startswith(("CDN_", "AWS_", "XDG_"))}
        folder = self.folder / self.node_id
        with folder.with_suffix(".log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, edge_process.__file__, self.node_id, str(folder), control_url, token, str(store)],
                env={"PYTHONPATH": str(Path.cwd()), **base, **environ},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        guard = threading.Timer(PATIENCE_S, self.process.kill)
        guard.start()
        line = self.process.stdout.readline()
        guard.cancel()
        assert line, folder.with_suffix(".log").read_text()[-2000:]
        self.port = int(line)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def visit(self) -> bytes:
        return exchange(f"http://127.0.0.1:{self.port}", "GET", "/", HOST).content


@dataclass(slots=True)
class Mixed:
    """One `cdn up` and edges beside it, each of whatever program."""

    folder: Path
    up: RunningCdn
    edges: dict[str, Edge] = field(default_factory=dict)

    def call(self, method: str, path: str, content: Any = None) -> Any:
        token = (self.folder / "data" / "admin-token").read_text().strip()
        fields = {"Authorization": f"Bearer {token}"}
        raw = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
        answer = exchange(self.up.control_url, method, path, fields, raw)
        assert answer.status < 400, answer
        return json.loads(answer.content)

    def start_edge(self, node_id: str, environ: Mapping[str, str]) -> Edge:
        token = self.call("POST", "/v1/tokens", {"scopes": ["node"]})["token"]
        edge = self.edges[node_id] = self.edges.get(node_id) or Edge(node_id, self.folder)
        edge.start(self.up.control_url, token, self.folder / "data" / "store", environ)
        return edge

    async def until_all_applied(self) -> None:
        """A purge is complete and applied everywhere, however long nodes take to come back."""
        receipt = self.call("POST", "/v1/sites/blog/purges?wait=0", {"everything": True})
        path = f"/v1/receipts/{receipt['position']['sequence']}?wait=5"
        async with asyncio.timeout(PATIENCE_S):
            while set(outcomes(receipt := await asyncio.to_thread(self.call, "GET", path)).values()) != {"applied"}:
                await asyncio.sleep(0.05)
        assert receipt["complete"]
        assert set(outcomes(receipt)) == {"local", *self.edges}

    def deploy_everywhere(self, content: bytes) -> None:
        """Once the deploy is acknowledged every node answers with it."""
        deployed = self.call("POST", "/v1/sites/blog/deploys?wait=20", packed({"/index.html": content}))
        assert deployed["receipt"]["complete"]
        assert outcomes(deployed["receipt"]) == dict.fromkeys(["local", *self.edges], "applied")
        assert exchange(self.up.http_url, "GET", "/", HOST).content == content
        for edge in self.edges.values():
            assert edge.visit() == content, edge.node_id

    def close(self) -> None:
        for edge in self.edges.values():
            edge.end()
        self.up.kill()


@pytest.fixture
def mixed(tmp_path: Path, earlier: dict[str, str]) -> Iterator[Mixed]:
    """Begins with the earlier program."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    with ExitStack() as stack:
        up = RunningCdn(tmp_path, options=("--control", f"127.0.0.1:{port}"), environ=dict(earlier), is_earlier=True)
        mixed = Mixed(tmp_path, up)
        stack.callback(mixed.close)
        up.start()
        yield mixed


async def test_a_fleet_is_upgraded_one_process_after_the_other(mixed: Mixed, earlier: dict[str, str]) -> None:
    """Edges first and last, control between them: at each step everything is deployed, purged and served."""
    mixed.call("POST", "/v1/sites", {"name": "blog"})
    mixed.start_edge("before", earlier)
    mixed.start_edge("after", {})
    mixed.deploy_everywhere(b"earlier control")
    await mixed.until_all_applied()

    mixed.up.kill()
    assert [edge.visit() for edge in mixed.edges.values()] == [b"earlier control"] * 2
    mixed.up = RunningCdn(mixed.folder, options=mixed.up.options)
    mixed.up.start()
    await mixed.until_all_applied()
    mixed.deploy_everywhere(b"control of today")

    mixed.edges["before"].end()
    mixed.start_edge("before", {})
    await mixed.until_all_applied()
    mixed.deploy_everywhere(b"everything of today")


# Tomorrow's program writes purges as records of the version after today's.

NEWER = f"version {RECORD_VERSION + 1}"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RoleFleet]:
    fleet = RoleFleet(tmp_path, 'url = "store"', {"PYTHONPATH": os.pathsep.join(["", *sys.path]).strip(os.pathsep)})
    yield fleet
    fleet.close()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsLayout]:
    layout = start_single(tmp_path / "nats")
    yield layout
    stop_layout(layout)


def purge(fleet: RoleFleet, *, control: RoleProcess | None = None) -> Any:
    """A purge of everything, and its receipt when it is complete; however long that takes on a busy machine."""
    receipt = fleet.call("POST", "/v1/sites/blog/purges?wait=0", {"everything": True}, control=control)
    path, deadline = f"/v1/receipts/{receipt['position']['sequence']}?wait=5", time.monotonic() + PATIENCE_S
    while not receipt["complete"] and time.monotonic() < deadline:
        receipt = fleet.call("GET", path, control=control)
    return receipt


def purge_refused(fleet: RoleFleet, said: str, *, control: RoleProcess | None = None) -> None:
    with pytest.raises(AssertionError, match=said):
        purge(fleet, control=control)


async def accepted(fleet: RoleFleet) -> bool:
    """Whether a purge is taken; where it is not, the version of its record is why."""
    try:
        return bool((await asyncio.to_thread(purge, fleet))["complete"])
    except AssertionError as exc:
        if NEWER not in str(exc):
            raise
        return False


async def restart(process: RoleProcess, module: str) -> None:
    process.end(signal.SIGKILL)
    process.module = module
    process.start()
    await process.until_ready()


def status_of(fleet: RoleFleet, node_id: str) -> Any:
    """What control knows of the node; nothing of one that it does not know."""
    return next((node for node in fleet.call("GET", "/v1/status")["nodes"] if node["node"] == node_id), {})


async def until_attached(fleet: RoleFleet, *node_ids: str) -> None:
    """Each follows again and has a lease, after whatever was restarted."""
    async with asyncio.timeout(PATIENCE_S):
        for node_id in node_ids:
            while not (shown := status_of(fleet, node_id)).get("connected") or not shown["lease_left_s"]:
                await asyncio.sleep(0.05)


async def test_a_newer_record_waits_for_the_last_node_and_stops_who_comes_back_without_it(fleet: RoleFleet) -> None:
    control = fleet.start_control()
    for node_id in ("e1", "e3"):
        await fleet.start_edge(node_id).until_ready()
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", {"/index.html": b"old"})
    port = control.ready["control_url"].rpartition(":")[2]
    text = control.config.read_text()
    control.config.write_text(text.replace('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{port}"', 1))

    await restart(fleet.edges["e1"], TOMORROW)
    assert purge(fleet)["complete"], "a newer edge follows the control of today"
    await restart(control, TOMORROW)
    await until_attached(fleet, "e1", "e3")
    purge_refused(fleet, rf"{NEWER}.*node e3")
    deployed = fleet.deploy("blog", {"/index.html": b"new"})["receipt"]
    assert deployed["complete"], "what the old version can say goes on"
    assert [fleet.visit(node, "blog").content for node in fleet.edges] == [b"new"] * 2

    e3 = fleet.edges["e3"]
    e3.end(signal.SIGTERM)  # it gives its lease back: it can be forgotten at once
    fleet.call("DELETE", "/v1/nodes/e3")
    receipt = purge(fleet)
    assert (receipt["complete"], outcomes(receipt)) == (True, {"e1": "applied"})

    before = receipt["position"]["sequence"] - 1
    e3.start()  # with the program of today: it stops before what it does not know, and says so
    async with asyncio.timeout(PATIENCE_S):
        while not (stopped := status_of(fleet, "e3")).get("stopped"):
            await asyncio.sleep(0.05)
    assert NEWER in stopped["stopped"]
    assert "upgrade this node" in stopped["stopped"]
    assert stopped["position"]["sequence"] <= before
    purge_refused(fleet, rf"{NEWER}.*node e3")
    deployed = fleet.deploy("blog", {"/index.html": b"later"})["receipt"]
    assert outcomes(deployed)["e3"] != "applied", "nothing is skipped"
    await restart(e3, TOMORROW)
    async with asyncio.timeout(PATIENCE_S):
        while outcomes(receipt := await asyncio.to_thread(purge, fleet)).get("e3") != "applied":
            await asyncio.sleep(0.05)
    assert fleet.visit("e3", "blog").content == b"later"


@pytest.mark.soak
async def test_a_replica_of_today_is_waited_for_too_and_stops_at_what_it_does_not_know(
    fleet: RoleFleet, nats: NatsLayout
) -> None:
    journal = f"[journal]\nservers = {list(nats.urls)}\nreplicas = 1\nmax_bytes = 1_000_000_000"
    first = fleet.start_control(journal)
    second = fleet.start_replica("control-2", journal)
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    assert purge(fleet, control=second)["complete"]
    await restart(first, TOMORROW)
    purge_refused(fleet, rf"{NEWER}.*control .*Upgrade the other replica of control, or stop it")
    assert purge(fleet, control=second)["complete"], "the one of today goes on as it did"
    second.end(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_S):
        while not await accepted(fleet):  # one that was killed counts for some seconds more
            await asyncio.sleep(0.2)
    with pytest.raises(AssertionError, match=NEWER):
        second.start()
    assert second.wait() == 1
    second.module = TOMORROW
    second.start()
    await second.until_ready()
    assert purge(fleet, control=second)["complete"]
