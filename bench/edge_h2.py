"""HTTP/2 over TLS: identical blocks by h2load, and connections as browsers make them, handshakes apart."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from bench.browsers import BROWSERS, Kind, fields_of
from bench.edge_content import EdgeContent
from bench.edge_hits import Plan, medians, read_once, timed
from bench.edge_peers import LOAD_CORE, Peers, Server
from bench.edge_programs import Load, LoadFailed, LoadProgram, load_on
from bench.edge_requests import VISIT_REQUESTS, h2_visits, write_scripts
from bench.table import Comparison, Measured

CONNECTIONS = 10
"""So many that handshakes, which are under way at the start of each round, weigh little."""

WARM_S = 0.5
VISITORS = 300
"""Connections of a round, each of sixty requests."""

AT_ONCE = 32
"""Of them, how many ask at one time."""

STREAMS = 10
"""Requests that a browser's connection has under way at most, once it has the page."""


@dataclass(frozen=True, slots=True)
class H2Workload:
    """`streams` on each connection have a request under way all the time."""

    name: str
    path: str
    streams: int
    at_most: float | None = None


IDENTICAL = (
    H2Workload("HTTP/2 over TLS, 1 stream, 1 KiB, identical blocks", "/1k.css", 1),
    H2Workload("HTTP/2 over TLS, 10 streams, 1 KiB, identical blocks", "/1k.css", 10, 0.6),
    H2Workload("HTTP/2 over TLS, 10 streams, 16 KiB, identical blocks", "/16k.css", 10, 0.6),
)
VISITS = "HTTP/2 over TLS, as browsers use it"


def measure_identical(peers: Peers, plan: Plan) -> Iterator[Comparison]:
    """By h2load. Raises LoadFailed."""
    servers = (peers.cdn, peers.nginx)
    for workload in IDENTICAL:
        for server in servers:
            read_once(server, (workload.path,))
            _h2load(server, workload, WARM_S)
        samples: dict[str, list[Measured]] = {server.name: [] for server in servers}
        for _ in range(plan.rounds):
            for server in servers:
                samples[server.name].append(timed(server, partial(_h2load, server, workload, plan.round_s)))
        yield Comparison(workload.name, workload.at_most, medians(workload.name, samples))


def _h2load(server: Server, workload: H2Workload, duration_s: float) -> Load:
    words = ["taskset", "-c", str(LOAD_CORE), "h2load", "-t1", f"-c{CONNECTIONS}", f"-m{workload.streams}"]
    words += ["-D", f"{round(duration_s * 1000)}ms", f"--connect-to=127.0.0.1:{server.https_port}"]
    for name, value in fields_of(BROWSERS[0], Kind.STYLE, page=f"https://{server.host}/", cookies=[]):
        words += ["-H", f"{name}: {value}"]
    done = subprocess.run([*words, f"https://{server.host}{workload.path}"], capture_output=True, text=True, check=True)
    counts = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
    failed = re.search(r"(\d+) failed, (\d+) errored", done.stdout)
    if counts is None or failed is None or any(map(int, (*counts.groups()[1:], *failed.groups()))):
        raise LoadFailed(f"{server.name}: {done.stdout}")
    return Load(int(counts[1]), duration_s)


def measure_visits(
    peers: Peers, load: LoadProgram, content: EdgeContent, folder: Path, plan: Plan
) -> Iterator[Comparison]:
    """Three results: without the handshakes, with them, and the handshakes alone. Raises LoadFailed."""
    servers = (peers.cdn, peers.nginx)
    samples: dict[str, dict[str, list[Measured]]] = {
        what: {server.name: [] for server in servers} for what in ("without", "with", "handshake")
    }
    for server in servers:
        read_once(server, [path for visit in content.visits for path in visit.paths])
    requests = folder / "visits.requests"
    for seed in range(plan.rounds + 1):
        for server in servers:
            # Cookies are new in every round: these visitors were not here before.
            write_scripts(requests, h2_visits(content.visits, server.host, connections=VISITORS, seed=seed + 1))
            without, whole, handshake = _visited(server, load, requests)
            if seed:
                samples["without"][server.name].append(without)
                samples["with"][server.name].append(whole)
                samples["handshake"][server.name].append(handshake)
    requests.unlink()
    for what, named, at_most in (
        ("without", f"{VISITS}, without the handshakes", 0.8),
        ("with", f"{VISITS}, with the handshakes", 1.1),
        ("handshake", "full TLS 1.3 handshake of such a connection", None),
    ):
        yield Comparison(named, at_most, medians(named, samples[what]))


def _visited(server: Server, load: LoadProgram, requests: Path) -> tuple[Measured, Measured, Measured]:
    settings: dict[str, str | int] = {"port": server.https_port, "tls": server.host, "h2": 1, "requests": str(requests)}
    settings |= {"connections": VISITORS, "window": STREAMS, "first_alone": 1, "active": AT_ONCE}
    with load_on(server.name), load.in_steps("visits", **settings) as steps:
        marks = []
        for word in ("ready", "open", "played", "closed"):
            steps.reach(word)
            if word == "closed":
                time.sleep(0.05)  # the last ends are read
            marks.append((server.cpu_s(), time.monotonic()))
            steps.go_on()
        asked = steps.result().requests
    if asked != VISITORS * VISIT_REQUESTS:
        raise LoadFailed(f"{server.name} answered {asked} of {VISITORS * VISIT_REQUESTS} requests")
    spans = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(marks)]
    (handshakes_s, opening_s), (requests_s, playing_s), (_, closing_s) = spans
    whole_s, lasted_s = marks[-1][0] - marks[0][0], opening_s + playing_s + closing_s
    return (
        Measured(requests_s / asked * 1e6, asked / playing_s, requests_s / playing_s),
        Measured(whole_s / asked * 1e6, asked / lasted_s, whole_s / lasted_s),
        Measured(handshakes_s / VISITORS * 1e6, VISITORS / opening_s, handshakes_s / opening_s),
    )
