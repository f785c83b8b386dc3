"""Control and several edges in one process, over one store, each edge behind a line of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from cdn.control.node_directory import NodeDirectory
from cdn.control.plane import ControlPlane
from cdn.control.settings import ControlSettings
from cdn.edge.node import EdgeNode
from cdn.edge.settings import EdgeSettings
from cdn.journal.sqlite import SqliteJournal
from cdn.origin.directory import DirectoryStore
from cdn.origin.store import ObjectStore
from tests.e2e.calls import packed
from tests.e2e.cut_proxy import CutProxy

ZONE = "cdn.localhost"
HEARTBEAT_S = 0.05
LEASE_S = 0.5
"""Short, so that a test sees one run out; ten heartbeats long, so that a busy machine does not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; field names in lower case."""

    status: int
    fields: Mapping[str, str]
    content: bytes

    @property
    def cache_status(self) -> str:
        return self.fields.get("cache-status", "")

    @property
    def is_hit(self) -> bool:
        return "; hit" in self.cache_status


@dataclass(slots=True)
class FleetNode:
    """One edge, its store and its line to control."""

    edge: EdgeNode
    store: ObjectStore
    line: CutProxy
    settings: EdgeSettings


@dataclass(slots=True)
class Fleet:
    """Make it with `start`; `api` calls control, `visit` a node."""

    root: Path
    lease_s: float = LEASE_S
    nodes: dict[str, FleetNode] = field(default_factory=dict)
    url: str = ""
    plane: Any = None
    admin: str = ""
    node_token: str = ""
    client: Any = None
    store: Any = None
    _control: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def start(self, store: ObjectStore | None = None) -> Fleet:
        """`store` is control's, and every node's that has none of its own."""
        self.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self.store = store or DirectoryStore(self.root / "store")
        await self.start_control()
        self.admin = await self.plane.create_token(("admin",), note="test")
        self.node_token = await self.plane.create_token(("node",), note="test")
        return self

    async def start_control(self) -> None:
        """Control over the files it left, on a new port; every line leads there."""
        async with contextlib.AsyncExitStack() as stack:
            journal = await SqliteJournal.open(self.root / "journal.db")
            stack.push_async_callback(journal.aclose)
            directory = await NodeDirectory.open(self.root / "nodes.db")
            stack.push_async_callback(directory.aclose)
            settings = ControlSettings(
                zone=ZONE, data_dir=self.root / "control", heartbeat_s=HEARTBEAT_S, detach_after_s=self.lease_s
            )
            self.plane = ControlPlane(settings, journal, self.store, directory)
            stack.push_async_callback(self.plane.aclose)
            await self.plane.start()
            runner = web.AppRunner(self.plane.application(), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            stack.push_async_callback(self.plane.hub.aclose)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._control = stack.pop_all()
        for node in self.nodes.values():
            node.line.lead_to(self.url)

    async def stop_control(self) -> None:
        await self._control.aclose()

    async def add(self, node_id: str, store: ObjectStore | None = None, **options: Any) -> FleetNode:
        """A new edge that has caught up; `options` are further settings."""
        line = await CutProxy.start(self.url)
        settings = EdgeSettings(
            node_id=node_id,
            data_dir=self.root / node_id,
            zone=ZONE,
            control_url=line.url,
            token=self.node_token,
            port=0,
            drain_timeout_s=1.0,
            **options,
        )
        used = store or self.store
        edge = await EdgeNode.start(settings, used)
        node = self.nodes[node_id] = FleetNode(edge, used, line, settings)
        async with asyncio.timeout(20):
            await edge.follower.wait_caught_up()
        return node

    async def restart(self, node_id: str) -> None:
        """Stop an edge and start it over the same folder; it need not reach control."""
        node = self.nodes[node_id]
        await node.edge.stop()
        node.edge = await EdgeNode.start(node.settings, node.store)

    async def aclose(self) -> None:
        for node in self.nodes.values():
            await node.edge.stop()
            await node.line.aclose()
        await self.stop_control()
        await self.store.aclose()
        await self.client.close()

    async def call(self, method: str, path: str, content: Any = None, *, data: bytes | None = None) -> Any:
        """A call to the API that must succeed; its document."""
        arguments: dict[str, Any] = (
            {"data": io.BytesIO(data)} if data is not None else {"json": content} if content else {}
        )
        headers = {"Authorization": f"Bearer {self.admin}"}
        async with self.client.request(method, self.url + path, headers=headers, **arguments) as response:
            document = await response.json(content_type=None)
            assert response.status < 400, (response.status, document)
            return document

    async def create_site(self, name: str, **settings: Any) -> Any:
        return await self.call("POST", "/v1/sites", {"name": name, "settings": settings})

    async def deploy(self, name: str, files: Mapping[str, bytes], *, wait_s: float = 10) -> Any:
        return await self.call("POST", f"/v1/sites/{name}/deploys?wait={wait_s:g}", data=packed(files))

    async def purge(self, name: str, *, wait_s: float = 10, **what: Any) -> Any:
        return await self.call("POST", f"/v1/sites/{name}/purges?wait={wait_s:g}", what)

    async def receipt(self, receipt: Any, *, wait_s: float = 0) -> Any:
        """How far the record of this receipt has come now."""
        return await self.call("GET", f"/v1/receipts/{receipt['position']['sequence']}?wait={wait_s:g}")

    async def visit(self, node_id: str, host: str, target: str = "/", **fields: str) -> Answer:
        url = f"http://127.0.0.1:{self.nodes[node_id].edge.port}{target}"
        headers = {"Host": host, **{name.replace("_", "-"): value for name, value in fields.items()}}
        async with self.client.get(url, headers=headers, allow_redirects=False) as response:
            lines = {name.lower(): ", ".join(response.headers.getall(name)) for name in response.headers}
            return Answer(response.status, lines, await response.read())


def outcomes(receipt: Any) -> dict[str, str]:
    """Each node's outcome."""
    return {line["node"]: line["outcome"] for line in receipt["nodes"]}
