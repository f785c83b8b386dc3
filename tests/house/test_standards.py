"""docs/conformance.md names, for each standard, tests and scenarios that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECTION = (ROOT / "docs" / "conformance.md").read_text().partition("## Standards")[2].partition("\n## ")[0]
ROWS = [line for line in SECTION.splitlines() if line.startswith("| ") and not line.startswith("| standard ")]
NAMED = sorted(set(re.findall(r"`(tests/[\w/-]+\.(?:py|scenario))(?:::(\w+))?`", SECTION)))


def test_there_are_standards() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_each_standard_has_a_test(row: str) -> None:
    assert re.search(r"`tests/[\w/-]+\.(?:py|scenario)", row), row


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    source = (ROOT / file).read_text()
    assert not name or re.search(rf"^(?:async )?def {name}\(", source, re.MULTILINE), f"{file} has no {name}"
