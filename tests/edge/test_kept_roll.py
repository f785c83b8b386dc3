"""Who may ask a shield, kept for a restart while control is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdn.edge.kept_roll import KeptRoll
from cdn.fleet.peers import peer_token

TOKENS = (peer_token("abc", "edge-1", "00" * 32, None), peer_token("def", "", "11" * 32, 5.0))


async def test_what_control_said_last_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    kept = KeptRoll(path)
    assert len(kept.roll) == 0
    await kept.take(TOKENS)
    assert len(kept.roll) == len(KeptRoll(path).roll) == 2
    assert path.stat().st_mode & 0o077 == 0
    await kept.take(TOKENS[:1])
    assert len(kept.roll) == len(KeptRoll(path).roll) == 1


@pytest.mark.parametrize("content", [b"", b"nonsense", b'{"version": 9, "tokens": []}', b'{"version": 1}'])
def test_what_cannot_be_read_lets_nobody_in(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "peers.json").write_bytes(content)
    assert len(KeptRoll(tmp_path / "peers.json").roll) == 0


async def test_a_file_that_cannot_be_written_costs_only_the_restart(tmp_path: Path) -> None:
    kept = KeptRoll(tmp_path / "missing" / "peers.json")
    await kept.take(TOKENS)
    assert len(kept.roll) == 2
