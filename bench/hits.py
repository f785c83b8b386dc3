"""CPU per hit over HTTP/1.1 of servers that take turns, by wrk: the server on one core, the load on the other.

For benches that set the edge beside itself; beside its peers it stands in `bench.edge`.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.process_cpu import cpu_s

SERVER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 64
HOST = "hits.cdn.localhost"
BROWSER_FIELDS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: none",
)
"""What a browser sends with a page."""


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    path: str
    at_most: float
    script: str | None = None
    host: str = HOST


HITS = Workload("HTTP/1.1 hit, 1 KiB, browser-like heads", "/1k.css", 1.0)


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    pid: int
    port: int


def measure(
    servers: tuple[Server, ...], workload: Workload, folder: Path, rounds: int, duration_s: int
) -> dict[str, float]:
    """The median CPU of each server for a hit, in microseconds; they take turns."""
    samples: dict[str, list[float]] = {server.name: [] for server in servers}
    for server in servers:
        _load(server, workload, folder, 1)  # warm: the object is stored, heads are remembered
    for _ in range(rounds):
        for server in servers:
            before = cpu_s(server.pid)
            requests = _load(server, workload, folder, duration_s)
            samples[server.name].append((cpu_s(server.pid) - before) / requests * 1e6)
    for name, values in samples.items():
        print(f"  {workload.name}: {name} {[round(value, 1) for value in values]}", file=sys.stderr, flush=True)
    return {name: statistics.median(values) for name, values in samples.items()}


def _load(server: Server, workload: Workload, folder: Path, duration_s: int) -> int:
    words = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{duration_s}s"]
    for line in (f"Host: {workload.host}", *BROWSER_FIELDS):
        words += ["-H", line]
    if workload.script is not None:
        script = folder / "script.lua"
        script.write_text(workload.script)
        words += ["-s", str(script)]
    done = subprocess.run(
        [*words, f"http://127.0.0.1:{server.port}{workload.path}"], capture_output=True, text=True, check=True
    )
    found = re.search(r"(\d+) requests in", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        raise RuntimeError(f"{server.name} did not answer as it should: {done.stdout}")
    return int(found[1])
