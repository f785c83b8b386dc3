"""nginx with `proxy_cache`, tuned as its users tune it: one worker, cache on tmpfs, open files kept, no access log."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.listening import free_port, wait_for_port

CONFIG = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  include /etc/nginx/mime.types;
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  open_file_cache max=20000 inactive=60s;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {cache} levels=1:2 keys_zone=main:64m max_size=2g inactive=1d use_temp_path=off;
  server {{ listen 127.0.0.1:{origin_port}; root {content}; add_header Cache-Control "public, max-age=3600"; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
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
class RunningNginx:
    """`pid` is the master; its worker serves. At `origin_port` it serves the same content as a plain upstream."""

    pid: int
    port: int
    origin_port: int


@contextlib.contextmanager
def running_nginx(folder: Path, content: Path, *, core: int) -> Iterator[RunningNginx]:
    """nginx in front of `content`, pinned to `core`."""
    cache = Path("/dev/shm") / f"cdn-bench-nginx-{time.time_ns()}"
    origin_port = free_port()
    config = CONFIG.replace("{port}", "{{port}}").format(
        folder=folder, cache=cache, content=content, origin_port=origin_port
    )
    try:
        with running_nginx_of(folder, config, core=core) as (pid, port):
            yield RunningNginx(pid, port, origin_port)
    finally:
        subprocess.run(["rm", "-rf", str(cache)], check=True)


@contextlib.contextmanager
def running_nginx_of(folder: Path, config: str, *, core: int) -> Iterator[tuple[int, int]]:
    """nginx by `config`, pinned to `core`; gives the master's number, and the port that stands for `{port}` in it."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(config.replace("{port}", str(port)))
    process = subprocess.Popen(
        ["taskset", "-c", str(core), "/usr/sbin/nginx", "-c", str(path), "-g", "user root;"], cwd=folder
    )
    try:
        wait_for_port(port, process, "nginx")
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(10)
