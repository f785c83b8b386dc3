"""The setting with further authorities for upstreams reaches those who connect to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdn.edge.node import EdgeNode
from cdn.edge.settings import EdgeSettings
from cdn.errors import InvalidInput
from cdn.origin.directory import DirectoryStore


async def test_a_file_without_certificates_is_refused_at_start(tmp_path: Path) -> None:
    file = tmp_path / "authorities.pem"
    file.write_text("no certificate")
    settings = EdgeSettings(
        "n1", tmp_path / "edge", "cdn.localhost", "http://127.0.0.1:1", "t", port=0, extra_ca_file=file
    )
    store = DirectoryStore(tmp_path / "store")
    with pytest.raises(InvalidInput, match=r"authorities\.pem with authorities for upstreams cannot be used"):
        await EdgeNode.start(settings, store)
    await store.aclose()
