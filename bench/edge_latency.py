"""Latency at half of nginx's peak: requests come when they come, whatever the server does (an open loop)."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from bench.edge_hits import Plan, read_once
from bench.edge_peers import Peers, Server
from bench.edge_programs import LoadProgram
from bench.edge_requests import browser_like, write_scripts
from bench.table import Row

CONNECTIONS = 64
PATH = "/1k.css"
SPAN_ROUNDS = 2
"""A round lasts so many times what others do: one in a hundred has to be many."""


def measure_latency(peers: Peers, load: LoadProgram, folder: Path, plan: Plan) -> list[Row]:
    """p99 and p50 from when each request should have been sent. Raises LoadFailed."""
    servers = (peers.cdn, peers.nginx)
    requests = {server.name: folder / f"{server.name}.latency" for server in servers}
    for server in servers:
        read_once(server, (PATH,))
        write_scripts(requests[server.name], [browser_like([PATH], server.host, [])])
    peak = statistics.median(_peak(peers.nginx, load, requests["nginx"], plan) for _ in range(3))
    _peak(peers.cdn, load, requests["cdn"], plan)  # its heads are remembered as well
    p50: dict[str, list[float]] = {server.name: [] for server in servers}
    p99: dict[str, list[float]] = {server.name: [] for server in servers}
    for seed in range(plan.rounds):
        for server in servers:
            done = load.run(
                "open",
                port=server.http_port,
                requests=str(requests[server.name]),
                connections=CONNECTIONS,
                duration=plan.round_s * SPAN_ROUNDS,
                rate=peak / 2,
                seed=seed,
            )
            p50[server.name].append(done.p50_ms)
            p99[server.name].append(done.p99_ms)
    for name, values in p99.items():
        told = [round(value, 3) for value in values]
        print(f"  p99 at {peak / 2:.0f} requests/s: {name} {told} ms", file=sys.stderr, flush=True)
    for file in requests.values():
        file.unlink()
    what = "of HTTP/1.1, 1 KiB, browser-like heads, at half of nginx's peak"
    return [
        Row(f"p99 latency {what}", "ms", statistics.median(p99["cdn"]), statistics.median(p99["nginx"]), "nginx", 1.5),
        Row(f"p50 latency {what}", "ms", statistics.median(p50["cdn"]), statistics.median(p50["nginx"]), "nginx", 1.5),
    ]


def _peak(server: Server, load: LoadProgram, requests: Path, plan: Plan) -> float:
    settings: dict[str, str | int | float] = {"port": server.http_port, "requests": str(requests)}
    done = load.run("closed", **settings, connections=CONNECTIONS, duration=plan.round_s)
    return done.requests / done.elapsed_s
