"""Every scenario file, against a real edge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.language import read_scenario
from tests.scenarios.play import play
from tests.scenarios.site import Sites

FILES = sorted((Path(__file__).parent / "files").glob("*.scenario"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_scenario(file: Path, sites: Sites) -> None:
    await play(read_scenario(file.read_text()), sites.new)
