"""CPU per answered question with geography and client subnets, against gdnsd and PowerDNS's geoip backend.

All servers read one geography and name four addresses of the nearest of sixteen places. They take turns on one core,
dnsperf asks from the other, and what counts is the CPU time of the server's process for each question that it answered.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rdatatype

from bench import worker_process
from bench.dns_peers import running_gdnsd, running_pdns
from bench.dns_world import FIRST_NETWORK, SITE, SUBNET_PREFIX, SUBNETS, World, made_world, many_subnets, one_subnet
from bench.fleet_roles import ZONE, RunningControl, running_control, running_dns
from bench.process_cpu import cpu_s
from bench.table import Fact, Row

SERVER_CORE, LOAD_CORE = 0, 1
OUTSTANDING = 100
READY_TIMEOUT_S = 120.0
OURS, GDNSD, POWERDNS, POWERDNS_CACHED = "cdn dns", "gdnsd", "PowerDNS geoip", "PowerDNS geoip with its caches"

SETTINGS = """\
limits_rates = true
answer_nodes = 4
check_interval_s = 3600.0
geo_files = ["{database}"]
[rate_limits]
answers_per_s = 1_000_000_000
"""
"""Rates are limited and cookies made; the limit is one that nobody reaches. Nobody is at the nodes' addresses, so the
first check of them that could fail is far away."""

_COMPLETED = re.compile(r"Queries completed: +(\d+)")
_CODES = re.compile(r"Response codes: +NOERROR \d+ \(100\.00%\)")


@dataclass(frozen=True, slots=True)
class Server:
    """One that answers."""

    name: str
    pid: int
    port: int


@dataclass(frozen=True, slots=True)
class Workload:
    """`promises` are the most that ours may cost beside each peer; None: it only stands there."""

    name: str
    questions: Callable[[Path, str], Path]
    promises: dict[str, float]


WORKLOADS = (
    Workload("one client subnet", one_subnet, {POWERDNS: 1.2, GDNSD: 2.4}),
    Workload(f"{SUBNETS:,} client subnets", many_subnets, {POWERDNS: 1.3, GDNSD: 2.6}),
)


def run(folder: Path, *, rounds: int = 5, duration_s: float = 3.0) -> list[Row | Fact]:
    """The rows of the table."""
    world = made_world(folder / "world")
    questions = {
        work.name: work.questions(folder / f"{number}.questions", ZONE) for number, work in enumerate(WORKLOADS)
    }
    used: dict[tuple[str, str], list[float]] = {}
    with _servers(folder, world) as servers:
        expected = set(world.nearest[world.first_country].addresses)
        for server in servers:
            _wait_for_answer(server, expected)
        for work in WORKLOADS:
            for server in servers:
                cost_us = _ask(server, questions[work.name], None)  # everything once: it warms who remembers
                _say(f"  {work.name}, the first time: {server.name} {cost_us:.1f} us")
        for _ in range(rounds):
            for work in WORKLOADS:
                for server in servers:
                    used.setdefault((work.name, server.name), []).append(_ask(server, questions[work.name], duration_s))
    return _rows(used)


def _rows(used: dict[tuple[str, str], list[float]]) -> list[Row | Fact]:
    rows: list[Row | Fact] = []
    for (name, server), costs in used.items():
        _say(f"  {name}: {server} {', '.join(f'{cost:.1f}' for cost in costs)} us")
    for work in WORKLOADS:
        ours = statistics.median(used[work.name, OURS])
        for peer, at_most in work.promises.items():
            cost = statistics.median(used[work.name, peer])
            rows.append(Row(f"DNS answer with geography, {work.name}", "us CPU", ours, cost, peer, at_most))
    return rows


@contextmanager
def _servers(folder: Path, world: World) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        control = stack.enter_context(running_control(folder / "cdn"))
        control.call("POST", "/v1/sites", {"name": SITE})
        stack.enter_context(_nodes(control, world))
        more = SETTINGS.format(database=world.database)
        ours = stack.enter_context(running_dns(control, "ns1", more=more, core=str(SERVER_CORE)))
        ours.wait_for_whole_shares(sum(len(place.addresses) for place in world.places))
        servers = [Server(OURS, ours.pid, ours.port)]
        gdnsd = running_gdnsd(folder / "gdnsd", world, ZONE, SERVER_CORE)
        servers.append(Server(GDNSD, *stack.enter_context(gdnsd)))
        for name, caches in ((POWERDNS, False), (POWERDNS_CACHED, True)):
            pdns = running_pdns(folder / f"pdns-{caches}", world, ZONE, SERVER_CORE, caches=caches)
            servers.append(Server(name, *stack.enter_context(pdns)))
        yield servers


@contextmanager
def _nodes(control: RunningControl, world: World) -> Iterator[None]:
    folder = control.folder / "nodes"
    folder.mkdir()
    settings = {
        "do": "start",
        "control_url": control.url,
        "token": control.node_token(),
        "name": "n",
        "count": 0,
        "folder": str(folder),
        "zone": ZONE,
        "places": [
            [place.city.latitude, place.city.longitude, address]
            for place in world.places
            for address in place.addresses
        ],
    }
    with worker_process.running("bench.fleet_followers", settings):
        yield


def _wait_for_answer(server: Server, expected: set[str]) -> None:
    """Return once a client of the first network is told the addresses of the nearest place, and for whom that holds."""
    query = dns.message.make_query(
        f"{SITE}.{ZONE}", "A", use_edns=0, payload=1232, options=[dns.edns.ECSOption(str(FIRST_NETWORK), SUBNET_PREFIX)]
    )
    query.flags &= ~dns.flags.RD
    deadline = time.monotonic() + READY_TIMEOUT_S
    found: object = None
    while time.monotonic() < deadline:
        try:
            answer = dns.query.udp(query, "127.0.0.1", port=server.port, timeout=1.0)
        except (OSError, dns.exception.DNSException) as exc:
            found = exc
        else:
            found = {record.to_text() for rrset in answer.answer if rrset.rdtype == dns.rdatatype.A for record in rrset}
            if found == expected and _scope_prefix(answer) > 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{server.name} does not answer {expected} but {found}")


def _scope_prefix(answer: dns.message.Message) -> int:
    for option in answer.options:
        if isinstance(option, dns.edns.ECSOption):
            network = IPv4Network((option.address, option.srclen), strict=False)
            assert network.network_address == FIRST_NETWORK
            return int(option.scopelen)
    return 0


def _ask(server: Server, questions: Path, duration_s: float | None) -> float:
    """CPU microseconds of the server for each question that it answered; without a duration each is asked once."""
    before = cpu_s(server.pid)
    load = ["-B", "-d", str(questions), "-q", str(OUTSTANDING), "-c", "1", "-T", "1", "-t", "2"]
    load += ["-n", "1"] if duration_s is None else ["-l", f"{duration_s:g}"]
    asked = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), "dnsperf", "-s", "127.0.0.1", "-p", str(server.port), *load],
        check=True,
        capture_output=True,
        text=True,
    )
    spent_s = cpu_s(server.pid) - before
    completed = _COMPLETED.search(asked.stdout)
    if completed is None or not _CODES.search(asked.stdout):
        raise RuntimeError(f"{server.name} was asked and did not answer as it should:\n{asked.stdout}{asked.stderr}")
    return spent_s / int(completed[1]) * 1e6


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """A short form."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each server in each round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdn-bench-") as folder:
        for row in run(Path(folder), rounds=options.rounds, duration_s=options.seconds):
            print(row)


if __name__ == "__main__":
    main()
