"""The bench of new edges runs, at a size that says nothing about speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import new_edge
from bench.table import Row


def test_a_new_edge_serves_a_journal_that_was_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_edge, "FEW", 5)
    (row,) = new_edge.run(tmp_path, records=10_100, runs=1)
    assert isinstance(row, Row)
    assert row.ours > 0
