"""Fixtures of the edge's tests: stored responses made from content, tiers that are closed at the end."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cdn.edge.disk_tier import DiskTier
from cdn.edge.settings import EdgeSettings
from cdn.edge.stored import StoredKey, StoredResponse
from cdn.fleet.position import Position
from cdn.sites.manifest import CHUNK_BYTES, FileEntry
from tests.edge.pull_stage import Stage, watch_arriving


def entry_of(content: bytes) -> FileEntry:
    """The manifest's entry for this content."""
    chunks: tuple[str, ...] = ()
    if len(content) > CHUNK_BYTES:
        chunks = tuple(
            hashlib.sha256(content[at : at + CHUNK_BYTES]).hexdigest() for at in range(0, len(content), CHUNK_BYTES)
        )
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content), chunks)


@pytest.fixture
def make_stored() -> Callable[..., StoredResponse]:
    """Makes a response for some content, not admitted yet."""

    def make(
        content: bytes,
        *,
        site_id: str = "s1",
        path: str = "/a.txt",
        admitted: int = 5,
        epoch: str = "e1",
        tags: tuple[str, ...] = (),
        at: float = 1000.0,
    ) -> StoredResponse:
        entry = entry_of(content)
        key = StoredKey(site_id, path, entry.digest)
        return StoredResponse(key, entry, (path,), tags, Position(epoch, admitted), at, at)

    return make


class Ticks:
    """A clock that moves by one second whenever it is read: no two accesses have the same time."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
async def open_tier(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[DiskTier]]]:
    """Opens disk tiers, by default in one and the same folder, and closes what a test left open."""
    opened: list[DiskTier] = []

    async def open_one(folder: Path = tmp_path / "tier", max_bytes: int = 1 << 30, **options: Any) -> DiskTier:
        options.setdefault("clock", Ticks())
        options.setdefault("reconciles", False)
        folder.mkdir(parents=True, exist_ok=True)
        tier = await DiskTier.open(folder, max_bytes, **options)
        opened.append(tier)
        return tier

    yield open_one
    for tier in opened:
        await tier.aclose()


MakeStage = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def make_stage(
    open_tier: Callable[..., Awaitable[DiskTier]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MakeStage]:
    """Makes stages for pull sites, by default with one site that has default settings."""
    made: list[Stage] = []

    async def make(*, disk_bytes: int = 1 << 30, site: dict[str, Any] | None = None, **settings: Any) -> Stage:
        tier = await open_tier(tmp_path / f"stage-{len(made)}", disk_bytes)
        stage = Stage(
            tier,
            EdgeSettings(
                node_id="n1",
                data_dir=tmp_path,
                zone="cdn.localhost",
                control_url="http://127.0.0.1:1",
                token="none",
                **settings,
            ),
        )
        watch_arriving(stage, monkeypatch)
        stage.create_site(**(site or {}))
        made.append(stage)
        return stage

    yield make
    for stage in made:
        await stage.aclose()


@pytest.fixture
async def stage(make_stage: MakeStage) -> Stage:
    """A stage with one site, `s1`."""
    return await make_stage()
