"""`make demo` is what people run first: it tells the whole story and ends well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.pebble import find_pebble


@pytest.mark.parametrize("has_pebble", [True, pytest.param(False, marks=pytest.mark.soak)])
def test_the_demo_tells_the_whole_story(tmp_path: Path, has_pebble: bool) -> None:
    assert find_pebble() is not None, "install Debian's package pebble"
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=dict(os.environ) if has_pebble else {**os.environ, "PATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\ndone\n")
    assert "is active at http://harbour.cdn.localhost:" in done.stdout
    assert done.stdout.count("   ok: the receipt of the ") == 3
    assert "www.harbour.example of site harbour is live: answered over HTTPS" in done.stdout
    assert "ok: it is answered over HTTPS, with a certificate that its authority's root vouches for" in done.stdout
    assert ("Pebble is not installed" in done.stdout) != has_pebble
    assert ("signed by way of development" in done.stdout) != has_pebble
    assert "{" not in done.stdout, "what people read, not JSON"
