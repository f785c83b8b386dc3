"""The wall clock that a test sets counts at once in the process that was given it, and in no other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.servers.wall_clock import WallClock, build

ASKED = "import time\nwhile True:\n    input()\n    print(time.time(), time.monotonic(), flush=True)"


def test_a_clock_that_jumps_both_ways(tmp_path: Path) -> None:
    clock = WallClock.make(build(tmp_path), tmp_path / "clock")
    command = [sys.executable, "-c", ASKED]
    environ = {**os.environ, **clock.environment}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset_s in (0, 3600, -3600, 0):
            clock.set(offset_s)
            before = time.time(), time.monotonic()
            process.stdin.write("\n")
            process.stdin.flush()
            wall, monotonic = map(float, process.stdout.readline().split())
            assert before[0] <= wall - offset_s <= time.time()
            assert before[1] <= monotonic <= time.monotonic()
        process.kill()
