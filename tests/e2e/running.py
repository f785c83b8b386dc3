"""A real `cdn up` in a process of its own, and visitors of its sites."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

START_TIMEOUT_S = 60.0

CALL_TIMEOUT_S = 90.0
"""A deploy may wait ten seconds for nodes to prepare, and then as long for its receipt as it was told."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as a visitor sees it; field names in lower case."""

    status: int
    fields: dict[str, str]
    content: bytes

    @property
    def cache_status(self) -> str:
        return self.fields.get("cache-status", "")


@dataclass(slots=True)
class CommandFailed(Exception):
    """A command did not end with status 0."""

    status: int
    output: str
    errors: str

    def __str__(self) -> str:
        return f"status {self.status}: {self.errors or self.output}"


@dataclass(slots=True)
class RunningCdn:
    """Starts, kills and starts again over the same folder."""

    folder: Path
    options: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    control_url: str = ""
    http_url: str = ""
    https_url: str = ""
    root_file: Path = Path()
    """The development authority's root."""
    dns: str = ""
    is_earlier: bool = False
    """Whether it is a program from before name servers and https: it knows no `--dns off` and no `--https off`."""
    program: str = "cdn"
    """The module that is run: the program itself, or one that changes it first."""
    process: subprocess.Popen[str] | None = None
    _output: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Return when every role answers."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start the process and return at once: `await_ready`, or `kill` in the middle of its start."""
        base = {key: value for key, value in os.environ.items() if not key.startswith(("CDN_", "AWS_", "XDG_"))}
        homes = {"XDG_CONFIG_HOME": str(self.folder / "config"), "XDG_CACHE_HOME": str(self.folder / "cache")}
        self.environ = {**base, **self.environ, **homes}
        words = [sys.executable, "-m", self.program, "up", "--data", str(self.folder / "data"), "--json", *self.options]
        if "--control" not in self.options:
            words += ["--control", "127.0.0.1:0"]
        if "--http" not in self.options:
            words += ["--http", "127.0.0.1:0"]
        if not self.is_earlier:
            words += [word for name in ("--dns", "--https") if name not in self.options for word in (name, "off")]
        log = (self.folder / "up.log").open("a")
        with log:
            self.process = subprocess.Popen(
                words, env=self.environ, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )

    def await_ready(self) -> None:
        """Return when every role answers."""
        assert self.process is not None
        assert self.process.stdout is not None
        guard = threading.Timer(START_TIMEOUT_S, self.process.kill)
        guard.start()
        line = self.process.stdout.readline()
        guard.cancel()
        assert line, f"cdn up ended: {(self.folder / 'up.log').read_text()[-2000:]}"
        ready = json.loads(line)
        self.control_url, self.http_url = ready["control_url"], ready["http_url"]
        self.https_url, self.root_file = ready.get("https_url", ""), Path(ready.get("root_file", ""))
        self.dns = ready.get("dns", "")

    def kill(self) -> None:
        """`kill -9`: nothing gets a chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return status

    def run(self, *words: str) -> Any:
        """One command with --json. Raises CommandFailed."""
        done = subprocess.run(
            [sys.executable, "-m", "cdn", *words, "--json"],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise CommandFailed(done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def visit(self, host: str, target: str = "/", *, method: str = "GET", **fields: str) -> Answer:
        """One request on a connection of its own. Field names are written with underscores."""
        lines = {"Host": host, **{name.replace("_", "-"): value for name, value in fields.items()}}
        return exchange(self.http_url, method, target, lines)

    def call(self, method: str, path: str, content: Any = None, *, token: str | None = None) -> Answer:
        """One request to control's API, with the admin token unless another is given."""
        if token is None:
            token = (self.folder / "data" / "admin-token").read_text().strip()
        fields = {"Authorization": f"Bearer {token}"}
        raw = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
        if raw is not None and not isinstance(content, bytes):
            fields["Content-Type"] = "application/json"
        return exchange(self.control_url, method, path, fields, raw)

    def counters(self) -> dict[str, int]:
        """What the node counted, once it has told control something newer than now."""
        return dict(self.run("status")["nodes"][0]["counters"])


def exchange(url: str, method: str, target: str, fields: dict[str, str], content: bytes | None = None) -> Answer:
    """One HTTP/1.1 request."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=CALL_TIMEOUT_S)
    try:
        connection.request(method, target, body=content, headers=fields)
        response = connection.getresponse()
        raw = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, raw)
    finally:
        connection.close()


def write_bundle(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files."""
    for path, content in files.items():
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder
