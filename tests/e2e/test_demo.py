"""`make demo` is what people run first: it tells the whole story and ends well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_demo_tells_the_whole_story() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\ndone\n")
    assert "is active at http://harbour.cdn.localhost:" in done.stdout
    assert done.stdout.count("   ok: the receipt of the ") == 3
    assert "{" not in done.stdout, "what people read, not JSON"
