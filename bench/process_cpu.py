"""CPU time of processes, as the kernel counts it."""

from __future__ import annotations

import os
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
    ticks = 0
    for one in children_of(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += sum(map(int, fields[11:15]))  # its own, and what children had used that it waited for
    return ticks / TICKS_PER_S
