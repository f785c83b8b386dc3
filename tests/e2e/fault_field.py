"""A fleet of real processes in which everything can be made to fail: each line between two parts is a proxy of ours."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.cut_proxy import CutProxy
from tests.e2e.roles import RoleProcess
from tests.e2e.running import Answer
from tests.e2e.small_disk import SmallDisk, small_disk
from tests.e2e.store_server import BUCKET, StoreServer
from tests.servers import wall_clock
from tests.servers.nats import NatsNode, start_again, start_cluster, stop_node
from tests.servers.wall_clock import WallClock

ZONE = "cdn.localhost"
HEARTBEAT_S = 0.5
DETACH_AFTER_S = 2.0
"""Short, so that a test sees leases end; four heartbeats long, so that a busy machine does not."""

SNAPSHOT_EVERY, KEEP_RECORDS = 150, 50
"""Few, so that a node that is away for a while finds its place gone from the journal."""

SMALL_DISK_MIB = 48
WORKERS = {"e3": 2}
"""The others are one process each."""

EDGES = ("e1", "e2", "e3")
NAMER = "d1"


RESTART_WITHIN_S = 120.0
RESTART_PAUSE_S = 1.0

log = logging.getLogger(__name__)


class Size(Enum):
    """Where journal and bytes are."""

    EMBEDDED = "SQLite and a folder"
    FULL = "JetStream and S3"


@dataclass(slots=True)
class Field:
    """`await start()`; parts go by name: c1, c2 (control), e1 to e3 (edges), d1 (a name server), n1 to n3 (NATS), s3.

    `small_disks` and `wall_clocks` name parts that get one, `regions` says where edges stand.
    """

    root: Path
    size: Size
    small_disks: Iterable[str] = ()
    wall_clocks: Iterable[str] = ()
    regions: Mapping[str, str] = field(default_factory=dict)
    roles: dict[str, RoleProcess] = field(default_factory=dict)
    nats: dict[str, NatsNode] = field(default_factory=dict)
    store: StoreServer | None = None
    lines: dict[tuple[str, str], CutProxy] = field(default_factory=dict)
    disks: dict[str, SmallDisk] = field(default_factory=dict)
    clocks: dict[str, WallClock] = field(default_factory=dict)
    admin: str = ""
    client: Any = None
    _ended: ExitStack = field(default_factory=ExitStack)
    _closed: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def controls(self) -> tuple[str, ...]:
        """Replicas of control."""
        return ("c1", "c2") if self.size is Size.FULL else ("c1",)

    async def start(self) -> Field:
        """Everything runs, and every edge has caught up."""
        self.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._closed.push_async_callback(self.client.close)
        self._give_disks_and_clocks()
        if self.size is Size.FULL:
            await asyncio.gather(self._start_nats(), self._start_store())
        await self._line_up("c1")
        await self._start_role("control", "c1", self._control_settings("c1"))
        self.admin = (self.root / "c1" / "admin-token").read_text().strip()
        for follower in (*EDGES, NAMER):
            await self._line_up(follower)
        await asyncio.gather(
            *map(self._add_replica, self.controls[1:]), *map(self._add_edge, EDGES), self._add_name_server()
        )
        await asyncio.gather(*(self.roles[name].until_ready() for name in (*self.controls, *EDGES, NAMER)))
        return self

    async def aclose(self) -> None:
        """End everything."""
        for line in self.lines.values():
            await line.aclose()
        await self._closed.aclose()
        await asyncio.to_thread(self._ended.close)

    def line(self, near: str, far: str) -> CutProxy:
        """The line over which `near` reaches `far`."""
        return self.lines[near, far]

    def lines_of(self, near: Iterable[str], far: Iterable[str]) -> tuple[CutProxy, ...]:
        """Every line from one of `near` to one of `far`."""
        return tuple(self.lines[one, other] for one in near for other in far if (one, other) in self.lines)

    # Ends and beginnings of processes.

    async def kill(self, name: str) -> None:
        """`kill -9`, of all processes of the part."""
        if name in self.nats:
            await asyncio.to_thread(stop_node, self.nats[name].pid)
        elif name == "s3":
            assert self.store is not None
            await asyncio.to_thread(self.store.stop)
        else:
            self._signal(name, signal.SIGKILL)
            await asyncio.to_thread(self.roles[name].wait)

    async def start_again(self, name: str) -> None:
        """As its supervisor would: the same settings, the same files."""
        if name in self.nats:
            self.nats[name] = await asyncio.to_thread(start_again, self.nats[name])
        elif name == "s3":
            assert self.store is not None
            await asyncio.to_thread(self.store.start_again)
        else:
            await self._start_until_it_runs(self.roles[name])
            self._lead_lines_to(name)

    async def _start_until_it_runs(self, role: RoleProcess) -> None:
        """A role that finds nobody to talk to ends, and its supervisor starts it again."""
        async with asyncio.timeout(RESTART_WITHIN_S):
            while True:
                try:
                    await asyncio.to_thread(role.start)
                except AssertionError as ended:
                    log.warning("%s", ended)
                    await asyncio.to_thread(role.wait)
                    await asyncio.sleep(RESTART_PAUSE_S)
                else:
                    return

    async def kill_first(self, name: str) -> None:
        """`kill -9` of the process that was started; those that it started are left to themselves."""
        process = self.roles[name].process
        assert process is not None
        process.kill()
        await asyncio.to_thread(self.roles[name].wait)

    def workers(self, name: str) -> tuple[int, ...]:
        """Processes that the part has started."""
        process = self.roles[name].process
        assert process is not None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return tuple(int(pid) for pid in children.split())

    def freeze(self, name: str) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        self._signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """It goes on as if no time had passed."""
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        if name in self.nats:
            os.kill(self.nats[name].pid, number)
        elif name == "s3":
            assert self.store is not None
            os.kill(self.store.address.pid, number)
        else:
            process = self.roles[name].process
            assert process is not None
            os.killpg(process.pid, number)  # each role is started in a session of its own

    # What it says of itself.

    async def metrics(self, name: str) -> Mapping[str, float]:
        """Of a role. Raises OSError, TimeoutError, aiohttp.ClientError."""
        url = self.roles[name].ready["admin_url"]
        async with asyncio.timeout(5), self.client.get(f"{url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    async def is_ready(self, name: str) -> bool:
        try:
            url = self.roles[name].ready["admin_url"]
            async with asyncio.timeout(5), self.client.get(f"{url}/readyz") as response:
                return bool(response.status == 200)
        except (OSError, TimeoutError, aiohttp.ClientError):
            return False

    async def visit(self, node: str, site: str, target: str = "/", **fields: str) -> Answer:
        """Raises OSError, TimeoutError, aiohttp.ClientError."""
        url = self.roles[node].ready["http_url"]
        headers = {"Host": f"{site}.{ZONE}", **{name.replace("_", "-"): value for name, value in fields.items()}}
        async with self.client.get(f"{url}{target}", headers=headers, allow_redirects=False) as response:
            lines = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, lines, await response.read())

    # How it is put together.

    def _give_disks_and_clocks(self) -> None:
        for name in self.small_disks:
            self.disks[name] = self._ended.enter_context(small_disk(self.root / name, SMALL_DISK_MIB))
        clocks = tuple(self.wall_clocks)
        if clocks:
            library = wall_clock.build(self.root)
            self.clocks = {name: WallClock.make(library, self.root / f"{name}.clock") for name in clocks}

    async def _start_nats(self) -> None:
        layout = await asyncio.to_thread(start_cluster, self.root / "nats", advertises=False)
        self.nats = {node.name: node for node in layout.nodes}
        self._ended.callback(self._end_nats)

    def _end_nats(self) -> None:
        for node in self.nats.values():
            stop_node(node.pid)

    async def _start_store(self) -> None:
        self.store = StoreServer(self.root / "s3")
        await asyncio.to_thread(self.store.start)
        self._ended.callback(self.store.stop)

    async def _line_up(self, near: str) -> None:
        """Lines from a role to everything that it talks to, also to what does not run yet."""
        if near in (*EDGES, NAMER):
            for control in self.controls:
                self.lines[near, control] = await CutProxy.start("http://127.0.0.1:9")
                if control in self.roles:
                    self.lines[near, control].lead_to(self.roles[control].ready["control_url"])
        else:
            for name, node in self.nats.items():
                self.lines[near, name] = await CutProxy.start(node.url)
        if self.store is not None and near != NAMER:
            self.lines[near, "s3"] = await CutProxy.start(self.store.address.endpoint_url)

    async def _add_replica(self, name: str) -> None:
        await self._line_up(name)
        await self._start_role("control", name, self._control_settings(name))
        self._lead_lines_to(name)

    def _lead_lines_to(self, control: str) -> None:
        for (_, far), line in self.lines.items():
            if far == control:
                line.lead_to(self.roles[control].ready["control_url"])

    async def _add_edge(self, name: str) -> None:
        made = await self.call("c1", "POST", "/v1/tokens", {"scopes": [f"node:{name}"]})
        (self.root / f"{name}.token").write_text(made["token"])
        turn = EDGES.index(name) % len(self.controls)
        first, *others = (self.line(name, each).url for each in (*self.controls[turn:], *self.controls[:turn]))
        settings = (
            f'[edge]\nnode_id = "{name}"\ndata_dir = "{name}"\nzone = "{ZONE}"\ncontrol_url = "{first}"\n'
            f'other_control_urls = {others}\ntoken_file = "{name}.token"\nlisten = "127.0.0.1:0"\n'
            f'admin = "127.0.0.1:0"\nallows_private_upstreams = true\nwithdraw_s = 0.1\n'
            f'workers = {WORKERS.get(name, 1)}\nregion = "{self.regions.get(name, "")}"\n{self._store_settings(name)}'
        )
        await self._start_role("edge", name, settings)

    async def _add_name_server(self) -> None:
        made = await self.call("c1", "POST", "/v1/tokens", {"scopes": [f"dns:{NAMER}"]})
        (self.root / f"{NAMER}.token").write_text(made["token"])
        first, *others = (self.line(NAMER, control).url for control in self.controls)
        settings = (
            f'[dns]\ndns_id = "{NAMER}"\ndata_dir = "{NAMER}"\nzone = "{ZONE}"\nhostmaster = "who@example.net"\n'
            f'name_servers = ["ns1.{ZONE} 127.0.0.1"]\ncontrol_url = "{first}"\nother_control_urls = {others}\n'
            f'token_file = "{NAMER}.token"\nlisten = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"\nwithdraw_s = 0.1\n'
        )
        await self._start_role("dns", NAMER, settings)

    def _control_settings(self, name: str) -> str:
        settings = (
            f'[control]\ndata_dir = "{name}"\nzone = "{ZONE}"\nlisten = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n'
            f"withdraw_s = 0.1\nheartbeat_s = {HEARTBEAT_S}\ndetach_after_s = {DETACH_AFTER_S}\n"
            f"snapshot_every_records = {SNAPSHOT_EVERY}\nkeep_records = {KEEP_RECORDS}\n{self._store_settings(name)}"
        )
        if self.nats:
            servers = [f"nats://{self.line(name, server).address}" for server in self.nats]
            settings += f"[journal]\nservers = {servers}\nreplicas = 3\nmax_bytes = 1_000_000_000\n"
        return settings

    def _store_settings(self, name: str) -> str:
        if self.store is None:
            return '[store]\nurl = "store"\n'
        return f'[store]\nurl = "s3://{BUCKET}/cdn"\nendpoint_url = "{self.line(name, "s3").url}"\n'

    async def _start_role(self, role: str, name: str, settings: str) -> None:
        config = self.root / f"{name}.toml"
        config.write_text(settings)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("CDN_", "AWS_", "XDG_"))}
        environ = {**kept, "PYTHONWARNINGS": "error"}
        if self.store is not None:
            environ |= self.store.environ
        if name in self.clocks:
            environ |= self.clocks[name].environment
        process = self.roles[name] = RoleProcess(role, config, environ)
        self._ended.callback(self._end_role, process)
        await asyncio.to_thread(process.start)

    def _end_role(self, process: RoleProcess) -> None:
        if process.process is not None:
            os.killpg(process.process.pid, signal.SIGKILL)
            process.wait()

    # Calls.

    async def call(self, control: str, method: str, path: str, content: Any = None) -> Any:
        """The answer's document. Raises CallFailed, OSError, TimeoutError, aiohttp.ClientError."""
        url = self.roles[control].ready["control_url"]
        given: dict[str, Any] = {"data": content} if isinstance(content, bytes) else {"json": content}
        headers = {"Authorization": f"Bearer {self.admin}"}
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        async with self.client.request(method, url + path, headers=headers, timeout=timeout, **given) as response:
            document = await response.json(content_type=None)
            if response.status >= 400:
                raise CallFailed(response.status, document)
            return document


CALL_TIMEOUT_S = 9.0
"""Longer than a receipt is waited for. Control itself may try for longer: then nobody knows what came of it."""


@dataclass(slots=True)
class CallFailed(Exception):
    """Control answered that it did not do it, or may not have."""

    status: int
    problem: Any

    def __str__(self) -> str:
        return f"{self.status}: {self.problem}"
