"""The manifests a node has loaded: in memory, below them a folder, below that the object store.

A manifest is named by its digest, so a copy is either right or not there: it is checked wherever it comes from.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

from cdn.edge.copies_folder import CopiesFolder
from cdn.errors import CdnError, Unavailable
from cdn.origin.layout import manifest_key
from cdn.origin.store import ObjectMissing, ObjectStore
from cdn.sites.manifest import Manifest, digest_of, load_manifest

MAX_CHUNKS_IN_MEMORY = 1_000_000
"""Chunks of all manifests held in memory together, one at least for each file: at about 500 bytes for a file and 120
for a further chunk this bounds a node to 0.5 GB of them. Rules of a deploy count as chunks too."""

MAX_BYTES_ON_DISK = 4 * 1024**3
"""Manifest files kept in the folder."""


class ManifestUnavailable(Unavailable):
    """The manifest cannot be had now, so the site that needs it cannot be answered on this node (DESIGN I4)."""


NearManifest = Callable[[str, str], Awaitable[bytes | None]]
"""Somebody who may have a site's manifest, by its digest, and is asked before the store is. None: ask the store."""


class ManifestCache:
    """Loads manifests by (site, digest), each at most once at a time."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self.near: NearManifest | None = None
        self._store = store
        self._copies = CopiesFolder(folder, MAX_BYTES_ON_DISK)
        self._loaded: OrderedDict[tuple[str, str], Manifest] = OrderedDict()
        self._chunks = 0
        self._loading: dict[tuple[str, str], asyncio.Task[Manifest]] = {}

    def get(self, site_id: str, digest: str) -> Manifest | None:
        """The manifest when it is in memory."""
        manifest = self._loaded.get((site_id, digest))
        if manifest is not None:
            self._loaded.move_to_end((site_id, digest))
        return manifest

    async def load(self, site_id: str, digest: str) -> Manifest:
        """The manifest, from wherever it is nearest. Raises ManifestUnavailable."""
        manifest = self.get(site_id, digest)
        if manifest is not None:
            return manifest
        key = (site_id, digest)
        task = self._loading.get(key)
        if task is None:
            task = asyncio.create_task(self._load(site_id, digest))
            self._loading[key] = task
            task.add_done_callback(lambda done: self._forget_loading(key, done))
        return await asyncio.shield(task)

    async def drop_site(self, site_id: str) -> None:
        """Forget a removed site's manifests, in memory and on disk."""
        for key in [key for key in self._loaded if key[0] == site_id]:
            self._chunks -= self._loaded.pop(key).memory_share
        await asyncio.to_thread(self._copies.remove_site, site_id)

    async def aclose(self) -> None:
        """End loads that are under way."""
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_loading(self, key: tuple[str, str], task: asyncio.Task[Manifest]) -> None:
        self._loading.pop(key, None)
        if not task.cancelled():
            task.exception()  # every waiter has it; without a waiter asyncio would complain at collection

    async def _load(self, site_id: str, digest: str) -> Manifest:
        manifest = await asyncio.to_thread(self._read, site_id, digest)
        if manifest is None:
            manifest = await self._from_near(site_id, digest)
        if manifest is None:
            try:
                raw = await self._store.get(manifest_key(site_id, digest))
            except (ObjectMissing, Unavailable) as exc:
                raise ManifestUnavailable(f"manifest {digest[:12]} of site {site_id} is not to be had: {exc}") from exc
            manifest = await asyncio.to_thread(_checked, raw, digest)
            if manifest is None:
                raise ManifestUnavailable(f"manifest {digest[:12]} of site {site_id} is damaged in the store")
            await asyncio.to_thread(self._copies.write, site_id, digest, raw)
        self._keep((site_id, digest), manifest)
        return manifest

    async def _from_near(self, site_id: str, digest: str) -> Manifest | None:
        raw = None if self.near is None else await self.near(site_id, digest)
        manifest = None if raw is None else await asyncio.to_thread(_checked, raw, digest)
        if raw is not None and manifest is not None:
            await asyncio.to_thread(self._copies.write, site_id, digest, raw)
        return manifest

    def _keep(self, key: tuple[str, str], manifest: Manifest) -> None:
        self._loaded[key] = manifest
        self._chunks += manifest.memory_share
        while self._chunks > MAX_CHUNKS_IN_MEMORY and len(self._loaded) > 1:
            _, dropped = self._loaded.popitem(last=False)
            self._chunks -= dropped.memory_share

    def _read(self, site_id: str, digest: str) -> Manifest | None:
        raw = self._copies.read(site_id, digest)
        return None if raw is None else _checked(raw, digest)


def _checked(raw: bytes, digest: str) -> Manifest | None:
    if digest_of(raw) != digest:
        return None
    try:
        return load_manifest(raw).prepare()
    except CdnError:
        return None
