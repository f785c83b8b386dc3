"""CPU per hit of an edge with four workers beside one with one process: interleaved rounds, the same load on both."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bench.hits import HITS, SERVER_CORE, Server, measure
from bench.running_cdn import running_cdn
from bench.table import Fact, Row

WORKERS = 4
AT_MOST = 1.15


def run(folder: Path, *, rounds: int, duration_s: int) -> list[Row | Fact]:
    """The row of the table."""
    content = folder / "content"
    content.mkdir(parents=True)
    (content / "1k.css").write_bytes(b"x" * 1024)
    servers = []
    with ExitStack() as stack:
        for name, workers in (("many", WORKERS), ("one", 1)):
            cdn = stack.enter_context(running_cdn(folder / name, options=("--workers", str(workers)), core=SERVER_CORE))
            cdn.run("site", "create", "hits")
            cdn.run("deploy", str(content), "--site", "hits")
            servers.append(Server(name, cdn.pid, cdn.http_port))
        medians = measure(tuple(servers), HITS, folder, rounds, duration_s)
    return [Row(f"a hit with {WORKERS} workers, 1 KiB", "us CPU", medians["many"], medians["one"], "one", AT_MOST)]
