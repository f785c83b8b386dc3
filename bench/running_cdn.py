"""A real `cdn up` for benchmarks, and its command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class RunningCdn:
    """`pid` is the process that serves."""

    pid: int
    control_url: str
    http_url: str
    environ: dict[str, str]
    https_url: str | None = None

    @property
    def https_port(self) -> int:
        """0 when it does not speak https."""
        return 0 if self.https_url is None else int(self.https_url.rsplit(":", 1)[1].strip("/"))

    @property
    def http_port(self) -> int:
        return int(self.http_url.rsplit(":", 1)[1].strip("/"))

    def run(self, *words: str) -> Any:
        """One command with --json. Raises CalledProcessError."""
        done = subprocess.run(
            [sys.executable, "-m", "cdn", *words, "--json"],
            env=self.environ,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    def post(self, path: str, document: Any) -> Any:
        """One call to the API with a document."""
        return self.call("POST", path, json.dumps(document).encode())

    def call(self, method: str, path: str, content: bytes | None = None) -> Any:
        """One call to the API, for what is asked often: a command costs half a second."""
        token = json.loads((Path(self.environ["XDG_CONFIG_HOME"]) / "cdn" / "config.json").read_text())["token"]
        url = self.control_url.rstrip("/") + path
        fields = {"Authorization": f"Bearer {token}"} | ({"Content-Type": "application/json"} if content else {})
        asked = urllib.request.Request(url, content, method=method, headers=fields)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def running_cdn(
    folder: Path, *, options: tuple[str, ...] = (), environ: Mapping[str, str] | None = None, core: int | None = None
) -> Iterator[RunningCdn]:
    """`cdn up` with data below `folder`, on free ports, pinned to a core when one is given."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CDN_")}
    environment |= {
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        **(environ or {}),
    }
    words = [sys.executable, "-m", "cdn", "up", "--data", str(folder / "data")]
    words += ["--control", "127.0.0.1:0", "--json", *options]
    if "--http" not in options:
        words += ["--http", "127.0.0.1:0"]
    words += [word for name in ("--dns", "--https") if name not in options for word in (name, "off")]
    if core is not None:
        words = ["taskset", "-c", str(core), *words]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield RunningCdn(process.pid, ready["control_url"], ready["http_url"], environment, ready.get("https_url"))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
