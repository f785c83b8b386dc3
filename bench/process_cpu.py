"""CPU time of processes, as the kernel counts it."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += children_of(int(child))
    return found


def cpu_s(pid: int) -> float:
    """User and system seconds of the process and all below it, so far, those that have ended among them."""
    used_s = 0.0
    for one in children_of(pid):
        used_s += time.clock_gettime(~one << 3 | 2)  # the clock of that process: nanoseconds, where /proc has 10 ms
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        used_s += (int(fields[13]) + int(fields[14])) / TICKS_PER_S  # what children had used that it waited for
    return used_s
