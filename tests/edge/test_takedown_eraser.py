"""What was taken down leaves a node's disk in every form; what has nothing to do with it stays."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cdn.edge import peer_chunks
from cdn.edge.stored import StoredKey, StoredResponse
from cdn.journal.record import DeployActivated, DeployPrepared, TakenDown
from cdn.origin.layout import manifest_key
from cdn.sites.manifest import CHUNK_BYTES, FileEntry, Manifest, digest_of
from cdn.sites.name import PRODUCTION
from tests.edge.rules_stage import SITE, RulesStage, rules_stage

PATIENCE_S = 20.0

PARTS = (b"a" * CHUNK_BYTES, b"b")
LARGE = FileEntry(digest_of(b"".join(PARTS)), CHUNK_BYTES + 1, tuple(map(digest_of, PARTS)))
OTHER = FileEntry(digest_of(b"other"), 5)


async def keep(stage: RulesStage, path: str, digest: str) -> StoredKey:
    """Something of this digest is on the disk."""
    key, position = StoredKey(SITE, path, digest), stage.node.view.position
    stored = StoredResponse(key, FileEntry(digest, 1), (), (), position, 0.0, 0.0)
    await stage.node.disk.admit(stored, 0)
    return key


async def test_chunks_that_are_kept_for_other_nodes_go_too(tmp_path: Path) -> None:
    async with rules_stage(tmp_path) as stage:
        raw = Manifest({"/large.bin": LARGE, "/other.txt": OTHER}).to_bytes()
        await stage.store.put(manifest_key(SITE, digest_of(raw)), raw)
        await stage.tell(DeployPrepared(SITE, "d1", PRODUCTION, digest_of(raw), 2, 1, "a", "m"))
        await stage.tell(DeployActivated(SITE, PRODUCTION, "d1"))
        named = [("/large.bin", LARGE.digest), *((peer_chunks.PATH, digest) for digest in LARGE.chunk_digests)]
        going = [await keep(stage, path, digest) for path, digest in named]
        staying = await keep(stage, "/other.txt", OTHER.digest)
        await stage.tell(TakenDown(LARGE.digest, SITE))
        async with asyncio.timeout(PATIENCE_S):
            while any([await stage.node.disk.find(key) for key in going]):
                await asyncio.sleep(0)
        assert await stage.node.disk.find(staying) is not None
