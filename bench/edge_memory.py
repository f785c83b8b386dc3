"""Memory: a hundred thousand stored responses, and ten thousand connections over TLS that ask nothing for now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from bench.edge_content import KIB, PULL_HOST, write_content
from bench.edge_hits import read_once, settle
from bench.edge_peers import LOAD_CORE, SERVER_CORE, Server, running_pair
from bench.edge_programs import LoadFailed, LoadProgram, load_on
from bench.edge_requests import h1_request, h2_start, write_scripts
from bench.peer_nginx import running_nginx_of
from bench.process_cpu import children_of
from bench.running_cdn import running_cdn
from bench.table import Row

STORED = 100_000
STORED_KIB = 2.0
"""What each may take beside its content."""

IDLE = 10_000
IDLE_KIB = 40.0
PATH = "/1k.css"
STORE_AT_ONCE = 32
PATIENCE_S = 600
REST_S = 3.0
"""After which what was under way is over."""

UPSTREAM = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{{port}};
    location / {{
      default_type text/css;
      add_header Cache-Control "public, max-age=3600";
      add_header ETag '"0123456789abcdef"';
      return 200 "{content}";
    }}
  }}
}}
"""


def memory_kib(pids: tuple[int, ...]) -> float:
    """What these processes and all below them hold for themselves."""
    found = 0
    for pid in pids:
        for one in children_of(pid):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    found += int(line.split()[1])
    return float(found)


def measure_stored(load: LoadProgram, folder: Path, *, stored: int = STORED) -> list[Row]:
    """A site in front of an upstream with as many paths as are asked for; each is asked for twice, the second time it
    is taken into memory. What else the process keeps of them (what is on disk, heads of requests) counts as well."""
    with _pulling(folder) as (pid, port):
        requests = folder / "stored.requests"

        def ask(first: int, last: int) -> None:
            heads = [h1_request(f"/{number:06}.css", PULL_HOST, []) for number in range(first, last)]
            write_scripts(requests, [heads])
            settings: dict[str, str | int | float] = {"port": port, "requests": str(requests), "content": KIB}
            done = load.run("closed", **settings, connections=STORE_AT_ONCE, duration=PATIENCE_S, ends_after=len(heads))
            if done.requests < len(heads):
                raise LoadFailed(f"{done.requests} of {len(heads)} were answered in {PATIENCE_S} s")

        few = stored // 100
        ask(0, few)
        ask(0, few)
        time.sleep(REST_S)
        before = memory_kib((pid,))
        ask(few, few + stored)
        ask(few, few + stored)
        time.sleep(REST_S)
        each = (memory_kib((pid,)) - before) / stored - 1
    return [
        Row(f"memory beside the content, {stored:,} stored responses of 1 KiB", "KiB", each, STORED_KIB, "promise", 1)
    ]


@contextlib.contextmanager
def _pulling(folder: Path) -> Iterator[tuple[int, int]]:
    (folder / "upstream").mkdir(parents=True)
    config = UPSTREAM.format(folder=folder / "upstream", content="x" * KIB)
    options = ("--allow-private-upstreams", "--memory", "2G")
    with (
        running_nginx_of(folder / "upstream", config, core=LOAD_CORE) as (_, upstream),
        running_cdn(folder / "stored", options=options, core=SERVER_CORE) as cdn,
    ):
        site = PULL_HOST.partition(".")[0]
        cdn.run("site", "create", site, "--origin", f"http://127.0.0.1:{upstream}", "--no-compresses")
        yield cdn.pid, cdn.http_port


def measure_idle(load: LoadProgram, folder: Path, *, idle: int = IDLE) -> list[Row]:
    """Connections that have asked one thing and stay open, over HTTP/1.1 and over HTTP/2."""
    rows = []
    content = write_content(folder / "idle-content", many=1)
    for name, is_h2 in (("HTTP/1.1", 0), ("HTTP/2", 1)):
        home = folder / f"idle-{is_h2}"
        home.mkdir()
        each = {}
        with running_pair(content, home) as servers:
            for server in servers:
                read_once(server, (PATH,))
                settle(server)
                each[server.name] = _idle_kib(server, load, folder, idle, is_h2)
        what = f"memory of each of {idle:,} idle TLS connections, {name}"
        rows.append(Row(what, "KiB", each["cdn"], IDLE_KIB, "promise", 1))
        rows.append(Row(what, "KiB", each["cdn"], each["nginx"], "nginx", 4))
    return rows


def _idle_kib(server: Server, load: LoadProgram, folder: Path, idle: int, is_h2: int) -> float:
    requests = folder / "idle.requests"
    one = h2_start(PATH, server.host) if is_h2 else h1_request(PATH, server.host, [])
    write_scripts(requests, [[one]])
    settings: dict[str, str | int] = {"port": server.https_port, "tls": server.host, "h2": is_h2}
    settings |= {"requests": str(requests), "connections": idle}
    with load_on(server.name), load.in_steps("hold", **settings) as steps:
        steps.reach("ready")
        before = memory_kib(server.pids)
        steps.go_on()
        steps.reach("open")
        after = memory_kib(server.pids)
        steps.go_on()
        if steps.result().requests != idle:
            raise LoadFailed(f"{server.name} answered less than {idle} connections")
    return (after - before) / idle
