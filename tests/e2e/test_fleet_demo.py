"""`make demo FLEET=1`: what it shows of several controls and edges is so, and it says so itself with its status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 280


def _told(*options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "examples.fleet", *options],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout[-3000:]}"
    assert "\ndone, after " in done.stdout
    return done.stdout


@pytest.mark.timeout(TIMEOUT_S + 20)
def test_a_fleet_deploys_and_purges_and_loses_a_control() -> None:
    told = _told("--short")
    assert "== kill -9 of control-1; its edges go to control-2\n" in told
    assert told.count("complete on 3 of 3 nodes") >= 6


@pytest.mark.soak
@pytest.mark.timeout(TIMEOUT_S + 20)
def test_the_whole_story_with_an_edge_that_dies() -> None:
    told = _told()
    assert "us-1  fenced" in told
    assert "   us-1: GET http://pilots.cdn.localhost/: 421," in told
