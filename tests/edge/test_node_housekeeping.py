"""A node's housekeeping outlives faults of its own."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from cdn.edge.node import EdgeNode
from cdn.edge.settings import EdgeSettings
from cdn.origin.directory import DirectoryStore


async def test_work_that_fails_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cdn.edge.node.RESTART_PAUSE_S", 0.0)
    begun: list[int] = []
    again = asyncio.Event()

    async def sweep(reclaim: object) -> None:
        begun.append(len(begun))
        if len(begun) == 1:
            raise ValueError("a row that cannot be read")
        again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("cdn.edge.reclaim.Reclaim.run", sweep)
    store = DirectoryStore(tmp_path / "store")
    settings = EdgeSettings(
        node_id="n1",
        data_dir=tmp_path / "edge",
        zone="cdn.localhost",
        control_url="http://127.0.0.1:9",
        token="cdn_0_0",
        port=0,
    )
    with caplog.at_level(logging.ERROR):
        node = await EdgeNode.start(settings, store)
        try:
            await again.wait()
        finally:
            await node.stop()
            await store.aclose()
    assert begun == [0, 1]
    assert "reclaim of node n1 failed and begins anew" in caplog.text
