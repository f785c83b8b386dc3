"""CPU of full TLS 1.3 handshakes with many domains, against nginx with one certificate and with one by variable."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.peer_nginx import running_nginx_of
from bench.process_cpu import children_of, cpu_s
from bench.table import Fact, Row
from bench.tls_certificates import domain_of, write_certificates
from bench.worker_process import WorkerProcess, running

SERVER_CORE, LOAD_CORE = 0, 1
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen 127.0.0.1:{{port}} ssl backlog=4096;
    ssl_certificate {certificates}/{name}.pem;
    ssl_certificate_key {certificates}/{name}.key;
    return 404;
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """`has_all`: it shows each domain's own certificate."""

    name: str
    pid: int
    port: int
    has_all: bool = True


def run(
    folder: Path, *, domains: int = 10_000, handshakes: int = 3000, rounds: int = 5, idle: int = 1000
) -> list[Row | Fact]:
    """Rounds take turns; the load has a core of its own. Before the first one every server has had a round, and ours,
    which keeps certificates that were asked for lately, as many handshakes as there are domains."""
    certificates = write_certificates(folder / "certificates", domains)
    with _servers(folder, certificates) as servers, _load(certificates, domains) as load:
        samples: dict[str, list[float]] = {server.name: [] for server in servers}
        load.ask({"port": servers[0].port, "count": domains, "seed": rounds + 1, "own": True})
        failed = 0
        for seed in range(rounds + 1):
            for server in servers:
                before = cpu_s(server.pid)
                question = {"port": server.port, "count": handshakes, "seed": seed, "own": server.has_all}
                answer = load.ask(question)
                if answer["failures"]:
                    print(f"  {server.name}: {answer['failures']}", file=sys.stderr)
                failed += handshakes - answer["handshakes"]
                if seed:
                    samples[server.name].append((cpu_s(server.pid) - before) / handshakes * 1e6)
        memory = {server.name: _idle_kib(server, load, idle) for server in servers}
    for name, values in samples.items():
        print(f"  full handshake: {name} {[round(value) for value in values]}", file=sys.stderr, flush=True)
    cpu = {name: statistics.median(values) for name, values in samples.items()}
    what = f"full TLS 1.3 handshake, {domains:,} domains, Zipf"
    return [
        Row(what, "us CPU", cpu["cdn"], cpu["static"], "nginx, one static certificate", 1.3),
        Row(what, "us CPU", cpu["cdn"], cpu["variable"], "nginx, certificate by variable", 0.6),
        Row("memory of an idle TLS connection", "KiB", memory["cdn"], memory["static"], "nginx", 2.0),
        Fact("handshakes that failed, or showed another domain's certificate", failed, 0),
    ]


def _idle_kib(server: Server, load: WorkerProcess, idle: int) -> float:
    """What one more connection that asks nothing costs."""
    before = _memory(server)
    load.ask({"hold": idle, "port": server.port, "seed": 0})
    return (_memory(server) - before) / idle / 1024


def _memory(server: Server) -> int:
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES for pid in children_of(server.pid))


@contextlib.contextmanager
def _servers(folder: Path, certificates: Path) -> Iterator[tuple[Server, ...]]:
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(running("bench.tls_server", {"folder": str(certificates)}, core=SERVER_CORE))
        servers = [Server("cdn", ours.pid, ours.first["port"])]
        for name, certificate in (("static", domain_of(0)), ("variable", "$ssl_server_name")):
            home = folder / f"nginx-{name}"
            config = NGINX.format(folder=home, certificates=certificates, name=certificate)
            pid, port = stack.enter_context(running_nginx_of(home, config, core=SERVER_CORE))
            servers.append(Server(name, pid, port, has_all=name == "variable"))
        yield tuple(servers)


def _load(certificates: Path, domains: int) -> contextlib.AbstractContextManager[WorkerProcess]:
    return running("bench.tls_load", {"folder": str(certificates), "domains": domains}, core=LOAD_CORE)
