"""`cdn control` for the benches of a fleet: a process of its own with a settings file."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.nats import NatsLayout

ZONE = "cdn.localhost"
READY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class RunningControl:
    """A control that answers."""

    pid: int
    url: str
    folder: Path
    admin_token: str

    def call(self, method: str, path: str, content: Any = None) -> Any:
        """A call to the API; its document. Raises urllib's errors."""
        fields = {"Authorization": f"Bearer {self.admin_token}", "Content-Type": "application/json"}
        raw = None if content is None else json.dumps(content).encode()
        asked = urllib.request.Request(self.url.rstrip("/") + path, raw, fields, method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)

    def deploy(self, site: str, files: Mapping[str, bytes]) -> str:
        """A deploy of these files, activated; its id."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        asked = urllib.request.Request(
            f"{self.url.rstrip('/')}/v1/sites/{site}/deploys",
            packed.getvalue(),
            {"Authorization": f"Bearer {self.admin_token}"},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return str(json.load(answer)["deploy"]["id"])

    def node_token(self) -> str:
        """A token for any node."""
        return str(self.call("POST", "/v1/tokens", {"scopes": ["node"]})["token"])


@dataclass(frozen=True, slots=True)
class RunningEdge:
    """A `cdn edge` that listens."""

    pid: int
    http_url: str
    admin_url: str

    def wait_ready(self) -> None:
        """Return when /readyz says that it has caught up."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.admin_url}/readyz", timeout=READY_TIMEOUT_S):
                    return
            except urllib.error.HTTPError as refused:
                refused.close()
            time.sleep(0.02)
        raise RuntimeError(f"an edge was not ready within {READY_TIMEOUT_S:g} s")


@contextmanager
def running_edge(
    control: RunningControl, name: str, *, more: str = "", core: str | None = None
) -> Iterator[RunningEdge]:
    """An edge with a folder of its own beside control's, and its token; pinned to cores when they are given."""
    folder = control.folder
    (folder / f"{name}.token").write_text(control.node_token())
    config = folder / f"{name}.toml"
    config.write_text(
        f'[edge]\nnode_id = "{name}"\ndata_dir = "{name}"\nzone = "{ZONE}"\ncontrol_url = "{control.url}"\n'
        f'token_file = "{name}.token"\nlisten = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\nwithdraw_s = 0.1\n{more}\n'
        f'[store]\nurl = "store"\n'
    )
    with _started("edge", config, "http_url", core) as (pid, ready):
        yield RunningEdge(pid, ready["http_url"], ready["admin_url"])


@dataclass(frozen=True, slots=True)
class RunningDns:
    """A `cdn dns` that listens on 127.0.0.1."""

    pid: int
    port: int
    admin_url: str

    def wait_for_whole_shares(self, nodes: int) -> None:
        """Return once each of so many nodes stands in answers with all of its weight: new ones do after a minute."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            with urllib.request.urlopen(f"{self.admin_url}/metrics", timeout=READY_TIMEOUT_S) as answer:
                lines = answer.read().decode().splitlines()
            shares = [float(line.split()[-1]) for line in lines if line.startswith("cdn_dns_node_share{")]
            if len(shares) == nodes and all(share == 1.0 for share in shares):
                return
            time.sleep(0.5)
        raise RuntimeError(f"not all of {nodes} nodes had their whole share within {READY_TIMEOUT_S:g} s")


@contextmanager
def running_dns(control: RunningControl, name: str, *, more: str = "", core: str | None = None) -> Iterator[RunningDns]:
    """A name server with a folder of its own beside control's, and its token; pinned to cores when they are given."""
    folder = control.folder
    token = control.call("POST", "/v1/tokens", {"scopes": [f"dns:{name}"]})["token"]
    (folder / f"{name}.token").write_text(str(token))
    config = folder / f"{name}.toml"
    config.write_text(
        f'[dns]\ndns_id = "{name}"\ndata_dir = "{name}"\nzone = "{ZONE}"\nhostmaster = "who@example.net"\n'
        f'name_servers = ["ns1.{ZONE} 127.0.0.1"]\ncontrol_url = "{control.url}"\ntoken_file = "{name}.token"\n'
        f'listen = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"\nwithdraw_s = 0.1\n{more}\n'
    )
    with _started("dns", config, "listen", core) as (pid, ready):
        yield RunningDns(pid, int(ready["listen"].rpartition(":")[2]), ready["admin_url"])


@contextmanager
def running_control(folder: Path, *, nats: NatsLayout | None = None) -> Iterator[RunningControl]:
    """Control over a folder as its store; its journal is on `nats`, else an SQLite file."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = ""
    if nats is not None:
        journal = f"[journal]\nservers = {json.dumps(list(nats.urls))}\nreplicas = {nats.replicas}\n"
        journal += "max_bytes = 1_000_000_000\n"
    config = folder / "control.toml"
    config.write_text(
        f'[control]\ndata_dir = "control"\nzone = "{ZONE}"\nlisten = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n'
        f'withdraw_s = 0.1\n{journal}[store]\nurl = "store"\n'
    )
    with _started("control", config, "control_url", None) as (pid, ready):
        token = (folder / "control" / "admin-token").read_text().strip()
        yield RunningControl(pid, ready["control_url"], folder, token)


@contextmanager
def _started(role: str, config: Path, key: str, core: str | None) -> Iterator[tuple[int, dict[str, str]]]:
    """The process of a role and what it says when it serves, which has `key`; stopped at the end."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CDN_")}
    words = [sys.executable, "-m", "cdn", role, "--config", str(config), "--json"]
    with config.with_suffix(".log").open("a") as log:
        process = subprocess.Popen(
            words if core is None else ["taskset", "-c", core, *words],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if key not in line:
            raise RuntimeError(f"cdn {role} ended: {config.with_suffix('.log').read_text()[-2000:]}")
        yield process.pid, json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
