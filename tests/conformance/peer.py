"""nginx in front of the suite's server, set up as the suite sets it up: scoring must give what the suite published."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.suite_run import Cache

CONFIG = """\
worker_processes 1;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=main:8m max_size=1000m inactive=600m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream_port};
      proxy_cache main;
      proxy_cache_revalidate on;
    }}
  }}
}}
"""


@contextmanager
def nginx_peer(folder: Path, upstream_port: int) -> Iterator[Cache]:
    """An nginx with its cache switched on and nothing tuned."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, upstream_port=upstream_port))
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
    nginx = [program, "-c", str(config)]
    subprocess.run(nginx, check=True)  # returns when it listens
    try:
        yield Cache(f"http://127.0.0.1:{port}", "127.0.0.1")
    finally:
        subprocess.run([*nginx, "-s", "stop"], check=True)
