"""What every role says of its process, under the names that Prometheus's own libraries use."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from cdn import __version__
from cdn.cli.metrics import Family, Kind, counter, gauge

_STARTED_AT = time.time()
"""This module is loaded when the process begins."""


def process_metrics(role: str) -> Sequence[Family]:
    """Release, start, processor time and, where the system shows it, memory and descriptors."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    build: dict[tuple[tuple[str, str], ...], float] = {(("role", role), ("version", __version__)): 1.0}
    families = [
        Family("cdn_build_info", Kind.GAUGE, "Always 1; the labels say what runs.", build),
        counter("process_cpu_seconds", "Processor time used.", used.ru_utime + used.ru_stime),
        gauge("process_start_time_seconds", "When the process started, since 1970.", _STARTED_AT),
        gauge("process_max_fds", "How many descriptors may be open.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    ]
    own = Path("/proc/self")
    if own.is_dir():
        pages = int((own / "statm").read_text().split()[1])
        memory_bytes = pages * resource.getpagesize()
        families += [
            gauge("process_resident_memory_bytes", "Memory in use.", memory_bytes),
            gauge("process_open_fds", "Descriptors that are open.", len(os.listdir(own / "fd"))),  # noqa: PTH208
        ]
    return families
