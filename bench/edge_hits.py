"""Hits over HTTP/1.1, plain and over TLS: CPU per request of every server, in rounds that take turns."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from bench.browsers import FieldList
from bench.edge_content import EdgeContent
from bench.edge_peers import LOAD_CORE, Peers, Server
from bench.edge_programs import Load, LoadFailed, LoadProgram, load_on
from bench.edge_requests import browser_like, by_zipf, identical, never_repeating, write_scripts
from bench.table import Comparison, Measured

CONNECTIONS = 64
ZIPF_REQUESTS = 60_000
WARM_S = 0.5
SETTLE_S = 120.0
IDLE_SHARE = 0.04
"""Seconds of CPU in a second that heartbeats and the like may take."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long all of it is measured."""

    rounds: int = 5
    round_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Workload:
    """`requests` makes the heads for a host; `fields` are learned from a server first (its entity tag)."""

    name: str
    path: str
    requests: Callable[[str, FieldList], list[bytes]]
    at_most: float | None = None
    servers: tuple[str, ...] = ("cdn", "nginx", "varnish", "aiohttp", "floor")
    status: int = 200
    is_tls: bool = False
    fields: Callable[[Server], FieldList] = field(default=lambda server: [])
    connections: int = CONNECTIONS
    every_path: tuple[str, ...] = ()
    """Paths that every server is asked for once before."""


def workloads(content: EdgeContent) -> tuple[Workload, ...]:
    """Those of HTTP/1.1."""

    def same(path: str) -> Callable[[str, FieldList], list[bytes]]:
        return lambda host, extra: identical(path, host, extra)

    def browsers(path: str) -> Callable[[str, FieldList], list[bytes]]:
        return lambda host, extra: browser_like([path], host, extra)

    def never(path: str) -> Callable[[str, FieldList], list[bytes]]:
        return lambda host, extra: never_repeating(path, host)

    cached = ("cdn", "nginx", "varnish")
    one, sixteen, large, huge = "/1k.css", "/16k.css", "/128k.css", "/10m.css"
    return (
        Workload("HTTP/1.1, 1 KiB, identical heads", one, same(one)),
        Workload("HTTP/1.1, 1 KiB, browser-like heads", one, browsers(one), 0.75),
        Workload("HTTP/1.1, 1 KiB, never-repeating heads", one, never(one), 1.0),
        Workload("HTTP/1.1, 16 KiB, browser-like heads", sixteen, browsers(sixteen), 0.85),
        Workload("HTTP/1.1, 128 KiB, browser-like heads", large, browsers(large), 1.0),
        Workload("HTTP/1.1, 10 MiB, browser-like heads", huge, browsers(huge), 1.1, connections=8),
        Workload(
            f"HTTP/1.1, 1 KiB, {len(content.many):,} objects by Zipf, browser-like heads",
            content.many[0],
            lambda host, extra: by_zipf(content.many, host, count=ZIPF_REQUESTS, seed=1),
            servers=cached,
            every_path=content.many,
        ),
        Workload(
            "HTTP/1.1, 304 of 16 KiB, browser-like heads",
            sixteen,
            browsers(sixteen),
            servers=cached,
            status=304,
            fields=lambda server: [("if-none-match", _entity_tag(server, sixteen))],
        ),
        Workload(
            "HTTP/1.1, 206: 1 KiB of 128 KiB, browser-like heads",
            large,
            browsers(large),
            servers=cached,
            status=206,
            fields=lambda server: [("range", "bytes=1024-2047")],
        ),
        Workload("HTTP/1.1, pull site, 1 KiB, browser-like heads", one, browsers(one), servers=("pull", "nginx")),
        Workload("HTTP/1.1, pull site, 1 KiB, never-repeating heads", one, never(one), servers=("pull", "nginx")),
        Workload(
            "HTTP/1.1 over TLS, 1 KiB, browser-like heads", one, browsers(one), 1.15, ("cdn", "nginx"), is_tls=True
        ),
        Workload(
            "HTTP/1.1 over TLS, 128 KiB, browser-like heads", large, browsers(large), 1.0, ("cdn", "nginx"), is_tls=True
        ),
    )


def measure_hits(
    peers: Peers, load: LoadProgram, chosen: Sequence[Workload], folder: Path, plan: Plan
) -> Iterator[Comparison]:
    """Each workload's result as soon as it is there. Raises LoadFailed."""
    for workload in chosen:
        servers = [getattr(peers, name) for name in workload.servers]
        with contextlib.ExitStack() as stack:
            runs = {server.name: _prepared(stack, workload, server, load, folder) for server in servers}
            for server in servers:
                read_once(server, workload.every_path or (workload.path,))
                runs[server.name](WARM_S)
            samples: dict[str, list[Measured]] = {server.name: [] for server in servers}
            for _ in range(plan.rounds):
                for server in servers:
                    samples[server.name].append(timed(server, partial(runs[server.name], plan.round_s)))
        yield Comparison(workload.name, workload.at_most, medians(workload.name, samples))


def settle(server: Server) -> None:
    """Until it has nothing left to do of what was deployed."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        before = server.cpu_s()
        time.sleep(1.0)
        if server.cpu_s() - before < IDLE_SHARE:
            return
    raise RuntimeError(f"{server.name} has not come to rest within {SETTLE_S:g} s")


def timed(server: Server, run: Callable[[], Load]) -> Measured:
    """One round."""
    before, began = server.cpu_s(), time.monotonic()
    with load_on(server.name):
        done = run()
    used, elapsed = server.cpu_s() - before, time.monotonic() - began
    if not done.requests:
        raise LoadFailed(f"{server.name} has answered nothing within {elapsed:.1f} s: give longer rounds (--seconds)")
    return Measured(used / done.requests * 1e6, done.requests / done.elapsed_s, used / elapsed)


def medians(name: str, samples: dict[str, list[Measured]]) -> dict[str, Measured]:
    """Each number's own median."""
    found = {}
    for server, rounds in samples.items():
        found[server] = Measured(
            statistics.median(one.cpu_us for one in rounds),
            statistics.median(one.requests_per_s for one in rounds),
            statistics.median(one.busy for one in rounds),
        )
        told = " ".join(f"{one.cpu_us:.1f}" for one in rounds)
        print(f"  {name}: {server} {told} us, busy {found[server].busy:.2f}", file=sys.stderr, flush=True)
    return found


def read_once(server: Server, paths: Sequence[str]) -> None:
    """Each path is stored from now on. Raises RuntimeError for an answer that is not 200."""
    connection = HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    for path in paths:
        connection.request("GET", path, headers={"Host": server.host})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{server.name} answered {answer.status} for {path}")
    connection.close()


def _prepared(
    stack: contextlib.ExitStack, workload: Workload, server: Server, load: LoadProgram, folder: Path
) -> Callable[[float], Load]:
    extra = workload.fields(server)
    requests = folder / f"{server.name}.requests"
    write_scripts(requests, [workload.requests(server.host, extra)])
    where: dict[str, str | int] = {"port": server.http_port}
    if workload.is_tls:
        where = {"port": server.https_port, "tls": server.host}
    counters = iter(range(10**12))

    def run(duration_s: float) -> Load:
        return load.run(
            "closed",
            **where,
            requests=str(requests),
            status=workload.status,
            connections=workload.connections,
            duration=duration_s,
            counter=1 + next(counters) * 10**8,  # no round repeats a head of another
        )

    stack.callback(requests.unlink, missing_ok=True)
    return run


def _entity_tag(server: Server, path: str) -> str:
    connection = HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    for _ in range(2):  # the first one may be answered before it is stored
        connection.request("GET", path, headers={"Host": server.host})
        answer = connection.getresponse()
        answer.read()
    connection.close()
    return answer.headers["ETag"]


def load_program(folder: Path) -> LoadProgram:
    """The load, compiled."""
    return LoadProgram.compiled(folder / "programs", LOAD_CORE)
