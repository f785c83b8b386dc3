"""Files of former deploys: gathered once, one manifest after the other, bounded (DESIGN I4, I10)."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.edge import manifest_cache as manifest_cache_module
from cdn.edge import retained as module
from cdn.edge.manifest_cache import ManifestCache
from cdn.edge.retained import RetainedFiles
from cdn.origin.directory import DirectoryStore
from cdn.origin.layout import manifest_key
from cdn.sites.deploy import AliasState, Deploy, Retained
from cdn.sites.manifest import CHUNK_BYTES, FileEntry, Manifest, digest_of
from cdn.sites.settings import DEFAULT_SETTINGS
from cdn.sites.site import Site

SITE = Site("s1", "blog", 0.0, DEFAULT_SETTINGS)


class WatchedCache(ManifestCache):
    """Remembers which manifests were loaded, and how many of them were in memory at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = DirectoryStore(root / "store")
        super().__init__(self.directory, root / "manifests")
        self.seen: list[weakref.ref[Manifest]] = []
        self.most_alive = 0

    def hold(self, manifest: Manifest) -> str:
        raw = manifest.to_bytes()
        digest = digest_of(raw)
        path = self.root / "store" / "objects" / manifest_key("s1", digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        return digest

    async def load(self, site_id: str, digest: str) -> Manifest:
        manifest = await super().load(site_id, digest)
        self.seen.append(weakref.ref(manifest))
        gc.collect()
        self.most_alive = max(self.most_alive, sum(each() is not None for each in self.seen))
        return manifest


@pytest.fixture
async def manifests(tmp_path: Path) -> AsyncIterator[WatchedCache]:
    cache = WatchedCache(tmp_path)
    yield cache
    await cache.aclose()
    await cache.directory.aclose()


def entry_of(number: int, size_bytes: int = 1) -> FileEntry:
    digest = f"{number:064x}"
    return FileEntry(digest, size_bytes, (digest,) * -(-size_bytes // CHUNK_BYTES) if size_bytes > CHUNK_BYTES else ())


def superseded(manifests: WatchedCache, count: int) -> AliasState:
    """An alias with so many former deploys, each with a chunk of its own."""
    retained: list[Retained] = []
    for number in range(count):
        files = {f"/app.{number:02}b2c3d4.js": entry_of(number), "/index.html": entry_of(1000 + number)}
        digest = manifests.hold(Manifest(files))
        retained.append(Retained(Deploy(f"d{number}", "s1", "production", digest, 2, 2, "", "", 0.0, number), 100.0))
    return AliasState(retained=tuple(retained))


async def test_requests_that_come_together_gather_once(manifests: WatchedCache) -> None:
    state = superseded(manifests, 5)
    retained = RetainedFiles(manifests)
    found = await asyncio.gather(*(retained.of(SITE, "production", state, 1.0) for _ in range(20)))
    assert set(found[0]) == {f"/app.{number:02}b2c3d4.js" for number in range(5)}
    assert all(each is found[0] for each in found)
    assert len(manifests.seen) == 5
    assert await retained.of(SITE, "production", state, 2.0) is found[0]
    assert dict(await retained.of(SITE, "production", state, 100.0)) == {}


async def test_manifests_of_all_former_deploys_are_never_in_memory_together(
    manifests: WatchedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_cache_module, "MAX_CHUNKS_IN_MEMORY", 1)
    state = superseded(manifests, 20)
    assert len(await RetainedFiles(manifests).of(SITE, "production", state, 1.0)) == 20
    assert manifests.most_alive <= 3


async def test_what_is_gathered_is_bounded_over_all_aliases(
    manifests: WatchedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CHUNKS_IN_MEMORY", 7)
    state = superseded(manifests, 3)
    retained = RetainedFiles(manifests)
    for alias in ("a", "b", "a", "c"):
        await retained.of(SITE, alias, state, 1.0)
    assert list(retained._gathered) == [("s1", "a"), ("s1", "c")]
    assert retained._chunks == 6


async def test_a_manifest_of_few_large_files_counts_for_what_it_holds(
    manifests: WatchedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_cache_module, "MAX_CHUNKS_IN_MEMORY", 150)
    digests = [manifests.hold(Manifest({"/film.mp4": entry_of(n, 100 * CHUNK_BYTES)})) for n in range(2)]
    for digest in digests:
        await manifests.load("s1", digest)
    assert [manifests.get("s1", digest) is not None for digest in digests] == [False, True]
