"""A control plane as it runs: the real application over a real port, SQLite journal, directory store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from cdn.control.node_directory import NodeDirectory
from cdn.control.plane import ControlPlane
from cdn.control.settings import ControlSettings
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.journal.record import RECORD_VERSION
from cdn.journal.sqlite import SqliteJournal
from cdn.origin.directory import DirectoryStore
from cdn.sites.manifest import CHUNK_BYTES, FileEntry, Manifest

ZONE = "cdn.localhost"
EPOCH_2026 = 1_800_000_000.0


@dataclass
class Clock:
    """Wall time that moves only when told."""

    now: float = EPOCH_2026

    def __call__(self) -> float:
        return self.now


@dataclass
class Answer:
    """What came back."""

    status: int
    document: Any
    fields: Mapping[str, str]

    @property
    def is_problem(self) -> bool:
        return self.fields.get("Content-Type") == "application/problem+json"


@dataclass
class Api:
    """Calls the API with a token."""

    client: TestClient[Any, Any]
    token: str | None

    async def call(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        data: Any = None,
        token: str | None = "",
        fields: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = self.token if token == "" else token
        headers = dict(fields or {})
        if sent is not None:
            headers["Authorization"] = f"Bearer {sent}"
        arguments: dict[str, Any] = (
            {"data": data} if data is not None else {"json": content} if content is not None else {}
        )
        async with self.client.request(method, path, headers=headers, params=params, **arguments) as response:
            is_json = response.content_type.endswith("json")
            document = await response.json(content_type=None) if is_json else await response.text()
            return Answer(response.status, document, dict(response.headers))

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.call("GET", path, **more)

    async def post(self, path: str, content: Any = None, **more: Any) -> Answer:
        return await self.call("POST", path, {} if content is None and "data" not in more else content, **more)

    async def put(self, path: str, data: Any, **more: Any) -> Answer:
        return await self.call("PUT", path, data=data, **more)

    async def delete(self, path: str, **more: Any) -> Answer:
        return await self.call("DELETE", path, **more)

    async def patch(self, path: str, content: Any) -> Answer:
        return await self.call("PATCH", path, content)

    def as_(self, token: str) -> Api:
        return Api(self.client, token)

    async def token_for(self, *scopes: str) -> Api:
        made = await self.post("/v1/tokens", {"scopes": list(scopes)})
        assert made.status == 201, made
        return self.as_(made.document["token"])


@dataclass
class Node:
    """A node as the directory sees it, moved by the test."""

    directory: NodeDirectory
    plane: ControlPlane
    node_id: str

    async def connect(self, record_version: int = RECORD_VERSION) -> None:
        await self.directory.connected(
            self.node_id, NodeFacts("test"), self.plane.state.position, lease_s=10.0, record_version=record_version
        )
        self.directory.heartbeat_answered(self.node_id, {})

    def follow(self) -> None:
        """Apply, and prepare, everything at once from now on."""
        self.plane.state.watch(self._apply)

    def _apply(self, position: Position) -> None:
        catalog = self.plane.services.catalog
        for site in catalog.sites():
            for deploy in catalog.preparing(site.id):
                self.directory.prepared(self.node_id, site.id, deploy.id)
        self.directory.applied(self.node_id, position)


@dataclass
class Control:
    """Everything of one control plane, over one data folder; `open` it again and it has restarted."""

    root: Path
    clock: Clock = field(default_factory=Clock)
    more: dict[str, Any] = field(default_factory=dict)
    store: Any = None
    journal: Any = None
    directory: Any = None
    plane: Any = None
    api: Any = None
    admin_token: str = ""
    zone_reader: Any = None
    zone_keys: Any = None
    issuing: Any = None
    sight: Any = None
    control_keys: Any = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def open(self) -> Control:
        settings = ControlSettings(zone=ZONE, data_dir=self.root / "control", public_port=8080, **self.more)
        stack = self._stack = AsyncExitStack()
        if self.store is None:
            self.store = DirectoryStore(self.root / "store")
        self.journal = await SqliteJournal.open(self.root / "journal.sqlite", clock=self.clock, busy_timeout_s=0.05)
        stack.push_async_callback(self.journal.aclose)
        self.directory = await NodeDirectory.open(self.root / "nodes.sqlite", wall=self.clock)
        stack.push_async_callback(self.directory.aclose)
        self.plane = ControlPlane(
            settings,
            self.journal,
            self.store,
            self.directory,
            zone_reader=self.zone_reader,
            zone_keys=self.zone_keys,
            issuing=self.issuing,
            sight=self.sight,
            control_keys=self.control_keys,
            clock=self.clock,
        )
        await self.plane.start()
        stack.push_async_callback(self.plane.aclose)
        if not self.admin_token:
            self.admin_token = await self.plane.create_token(("admin",), note="first")
        client: TestClient[Any, Any] = TestClient(TestServer(self.plane.application()))
        await client.start_server()
        stack.push_async_callback(client.close)
        self.api = Api(client, self.admin_token)
        return self

    async def close(self) -> None:
        await self._stack.aclose()

    async def reopen(self) -> Control:
        await self.close()
        return await self.open()

    async def node(self, node_id: str = "edge-1") -> Node:
        node = Node(self.directory, self.plane, node_id)
        await node.connect()
        return node

    async def following_node(self, node_id: str = "edge-1") -> Node:
        node = await self.node(node_id)
        node.follow()
        return node


ControlMaker = Callable[..., Awaitable[Control]]


def entry_of(content: bytes) -> FileEntry:
    chunks: tuple[str, ...] = ()
    if len(content) > CHUNK_BYTES:
        chunks = tuple(
            hashlib.sha256(content[start : start + CHUNK_BYTES]).hexdigest()
            for start in range(0, len(content), CHUNK_BYTES)
        )
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content), chunks)


def manifest_of(files: Mapping[str, bytes]) -> Manifest:
    return Manifest({path: entry_of(content) for path, content in files.items()})


async def upload(api: Api, site: str, files: Mapping[str, bytes]) -> tuple[str, list[str]]:
    """Open an upload and send what is missing; the session's id and what was missing."""
    contents = {entry_of(content).digest: content for content in files.values()}
    opened = await api.post(
        f"/v1/sites/{site}/uploads", {"blobs": {digest: len(content) for digest, content in contents.items()}}
    )
    assert opened.status == 201, opened
    for digest in opened.document["missing"]:
        sent = await api.put(f"/v1/sites/{site}/uploads/{opened.document['id']}/blobs/{digest}", contents[digest])
        assert sent.status == 201, sent
    return opened.document["id"], opened.document["missing"]


def deploy_request(upload_id: str | None, files: Mapping[str, bytes], **more: Any) -> dict[str, Any]:
    return {"upload": upload_id, "manifest": json.loads(manifest_of(files).to_bytes()), **more}


async def deploy(api: Api, site: str, files: Mapping[str, bytes], **more: Any) -> Answer:
    upload_id, _ = await upload(api, site, files)
    answer = await api.post(f"/v1/sites/{site}/deploys", deploy_request(upload_id, files, **more))
    assert answer.status == 201, answer
    return answer
