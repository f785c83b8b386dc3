"""The edge and its peers, side by side on one core: the same content, each with its access log on and buffered."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.edge_content import HOST, PULL_HOST, EdgeContent
from bench.edge_programs import compile_program
from bench.listening import free_port
from bench.peer_nginx import running_nginx_of
from bench.peer_varnish import running_varnish
from bench.process_cpu import cpu_s
from bench.running_cdn import running_cdn
from bench.tls_certificates import Authority
from bench.worker_process import running

SERVER_CORE, LOAD_CORE = 0, 1

NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
  include /etc/nginx/mime.types;
  access_log {folder}/access.log combined buffer=64k flush=1s;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max=17000 inactive=600s;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=main:64m max_size=2g inactive=1d use_temp_path=off;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_certificate {folder}/chain.pem;
  ssl_certificate_key {folder}/key.pem;
  server {{
    listen 127.0.0.1:{origin_port};
    root {content};
    access_log off;
    add_header Cache-Control "public, max-age=3600";
  }}
  server {{
    listen 127.0.0.1:{{port}} backlog=4096;
    listen 127.0.0.1:{https_port} ssl http2 backlog=4096;
    location / {{
      proxy_pass http://127.0.0.1:{origin_port};
      proxy_cache main;
      proxy_cache_valid 200 1h;
      add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """`pids` with all below them are what is measured; `origin_port` is nginx's plain upstream."""

    name: str
    pids: tuple[int, ...]
    http_port: int
    https_port: int = 0
    host: str = HOST

    def cpu_s(self) -> float:
        """CPU time so far, as the kernel counts it."""
        return sum(cpu_s(pid) for pid in self.pids)


@dataclass(frozen=True, slots=True)
class Peers:
    """`cdn` and `pull` are one process: a site that was deployed, and one that is fetched from nginx."""

    cdn: Server
    pull: Server
    nginx: Server
    varnish: Server
    aiohttp: Server
    floor: Server


@contextlib.contextmanager
def running_peers(content: EdgeContent, folder: Path) -> Iterator[Peers]:
    """All of them, with what they keep below `folder`."""
    with contextlib.ExitStack() as stack:
        nginx, origin_port = stack.enter_context(_nginx(folder / "nginx", content.folder))
        varnish = stack.enter_context(running_varnish(folder / "varnish", origin_port, core=SERVER_CORE))
        settings = {"content": str(content.folder), "log": str(folder / "aiohttp.log")}
        aiohttp = stack.enter_context(running("bench.peer_aiohttp", settings, core=SERVER_CORE))
        floor = stack.enter_context(_floor(folder, content))
        cdn, pull = stack.enter_context(_cdn(folder / "cdn", content, origin_port))
        yield Peers(
            cdn,
            pull,
            nginx,
            Server("varnish", varnish.pids, varnish.port),
            Server("aiohttp", (aiohttp.pid,), aiohttp.first["port"]),
            floor,
        )


@contextlib.contextmanager
def running_pair(content: EdgeContent, folder: Path) -> Iterator[tuple[Server, Server]]:
    """Ours and nginx alone, both new: nothing that was freed before is used again."""
    with contextlib.ExitStack() as stack:
        nginx, origin_port = stack.enter_context(_nginx(folder / "nginx", content.folder))
        ours, _ = stack.enter_context(_cdn(folder / "cdn", content, origin_port))
        yield ours, nginx


@contextlib.contextmanager
def _nginx(folder: Path, content: Path) -> Iterator[tuple[Server, int]]:
    folder.mkdir(parents=True)
    origin_port, https_port = free_port(), free_port()
    chain, key, _ = Authority().certificate(HOST)
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    config = NGINX.format(folder=folder, content=content, origin_port=origin_port, https_port=https_port)
    with running_nginx_of(folder, config, core=SERVER_CORE) as (pid, port):
        yield Server("nginx", (pid,), port, https_port), origin_port


@contextlib.contextmanager
def _cdn(folder: Path, content: EdgeContent, origin_port: int) -> Iterator[tuple[Server, Server]]:
    options = ("--https", "127.0.0.1:0", "--allow-private-upstreams", "--access-log", str(folder / "access.log"))
    folder.mkdir(parents=True)
    with running_cdn(folder, options=options, core=SERVER_CORE) as cdn:
        cdn.run("site", "create", HOST.partition(".")[0])
        # The peers do not compress here, so neither do the sites.
        upstream = f"http://127.0.0.1:{origin_port}"
        cdn.run("site", "create", PULL_HOST.partition(".")[0], "--origin", upstream, "--no-compresses")
        cdn.run("deploy", str(content.folder), "--site", HOST.partition(".")[0])
        ours = Server("cdn", (cdn.pid,), cdn.http_port, cdn.https_port)
        yield ours, Server("pull", (cdn.pid,), cdn.http_port, cdn.https_port, PULL_HOST)


@contextlib.contextmanager
def _floor(folder: Path, content: EdgeContent) -> Iterator[Server]:
    program = compile_program("edge_floor", folder)
    words = ["taskset", "-c", str(SERVER_CORE), str(program), *map(str, content.sizes.values())]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server("floor", (process.pid,), int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
