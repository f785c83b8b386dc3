"""A node that answers a site of bundles whose deploys have rules, without control: records are handed to it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cdn.cli.worker_process import worker_command
from cdn.edge.countries import Countries
from cdn.edge.node import EdgeNode
from cdn.edge.settings import EdgeSettings
from cdn.fleet.position import Position
from cdn.journal.record import (
    RECORD_VERSION,
    AliasSet,
    Audience,
    Change,
    DeployActivated,
    DeployPrepared,
    Purged,
    PurgeScope,
    Record,
    SiteCreated,
)
from cdn.origin.directory import DirectoryStore
from cdn.origin.layout import blob_key, manifest_key
from cdn.sites.manifest import FileEntry, Manifest, digest_of
from cdn.sites.name import PRODUCTION
from cdn.sites.rules.rule_set import NO_RULES, RuleSet
from tests.edge.engine_responses import Received, read_responses

SITE = "s1"
EPOCH = "e1"
Sent = Mapping[str, str]


class Passports:
    """Countries of addresses, as a test says."""

    def __init__(self, **country_of: str) -> None:
        self.country_of = {address.replace("_", "."): country for address, country in country_of.items()}
        self.was_made_ready = False

    async def ready(self) -> None:
        self.was_made_ready = True

    def of(self, address: str) -> str:
        assert self.was_made_ready
        return self.country_of.get(address, "")


def hashed(password: str) -> str:
    """What stands for the hash of a password on this stage, where a check costs nothing."""
    return f"hash of {hashlib.sha256(password.encode()).hexdigest()}"


class RulesStage:
    """One node, one site named blog, its deploys."""

    def __init__(self, node: EdgeNode, store: DirectoryStore) -> None:
        self.node = node
        self.store = store
        self.checked: list[str] = []
        self._sequence = 0
        node.passwords._verify = self._verify
        node.pipeline._is_attached = lambda: True

    def _verify(self, password: str, text: str) -> bool:
        self.checked.append(password)
        return text == hashed(password)

    async def tell(self, change: Change) -> None:
        """Apply a record, as the follower would."""
        self._sequence += 1
        position = Position(EPOCH, self._sequence)
        record = Record(RECORD_VERSION, EPOCH, self._sequence, "id", time.time(), "actor", Audience.ALL, change)
        node = self.node
        for fold in (node.view.catalog_fold, node.certificates.fold, node.view.floors, node.takedowns):
            fold.apply(record)
        node.on_records([record], position)
        await node._everywhere()

    async def create(self, **settings: Any) -> None:
        await self.tell(SiteCreated(SITE, "blog", settings))

    async def deploy(
        self, files: Mapping[str, str], rules: RuleSet = NO_RULES, alias: str = PRODUCTION, deploy_id: str = ""
    ) -> str:
        """Store a deploy, activate it, and say its id."""
        deploy_id = deploy_id or f"d{self._sequence}"
        entries: dict[str, FileEntry] = {}
        for path, text in files.items():
            content = text.encode()
            entries[path] = FileEntry(digest_of(content), len(content))
            await self.store.put(blob_key(SITE, entries[path].digest), content)
        manifest = Manifest(entries, rules)
        raw = manifest.to_bytes()
        await self.store.put(manifest_key(SITE, digest_of(raw)), raw)
        await self.tell(
            DeployPrepared(SITE, deploy_id, alias, digest_of(raw), len(entries), 1, "a", "m", "", manifest.version)
        )
        await self.tell(DeployActivated(SITE, alias, deploy_id))
        return deploy_id

    async def set_alias(self, alias: str, *, password: str = "", expires_at: float | None = None) -> None:
        await self.tell(AliasSet(SITE, alias, hashed(password) if password else "", expires_at))

    async def purge(self, kind: str, value: str = "", *, soft: bool = False) -> None:
        await self.tell(Purged(SITE, (PurgeScope(kind, value),), soft))

    async def ask(
        self,
        target: str,
        fields: Sent | None = None,
        *,
        method: str = "GET",
        host: str = "blog.cdn.localhost",
        content: bytes = b"",
    ) -> Received:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.node.port)
        lines = {"host": host, "connection": "close", **(fields or {})}
        if content:
            lines["content-length"] = str(len(content))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + content)
        (response,) = read_responses(await reader.read(), [method])
        writer.close()
        await writer.wait_closed()
        return response


def basic(user: str, password: str) -> dict[str, str]:
    """The credentials as a field."""
    return {"authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


@asynccontextmanager
async def rules_stage(folder: Path, countries: Countries | None = None, **settings: Any) -> AsyncIterator[RulesStage]:
    """A stage with an empty site."""
    store = DirectoryStore(folder / "store")
    node = await EdgeNode.start(
        EdgeSettings("n1", folder / "edge", "cdn.localhost", "http://127.0.0.1:9", "cdn_0_0", port=0, **settings),
        store,
        worker_command=worker_command(),
        countries=countries or Passports(),
    )
    try:
        node.follower.caught_up()
        stage = RulesStage(node, store)
        await stage.create()
        yield stage
    finally:
        await node.stop()
        await store.aclose()
