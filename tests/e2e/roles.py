"""Roles as operators start them: `cdn control` and `cdn edge`, each a process of its own with a settings file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.calls import packed
from tests.e2e.running import Answer, exchange

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
ZONE = "cdn.localhost"


@dataclass(slots=True)
class RoleProcess:
    """One `cdn ROLE --config FILE`. `module` is the program that is run, from the next start on."""

    role: str
    config: Path
    environ: Mapping[str, str]
    ready: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    module: str = "cdn"

    @property
    def log(self) -> Path:
        return self.config.with_suffix(".log")

    def start(self) -> None:
        """Return when it serves."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, self.role, "--config", str(self.config), "--json"],
                env=dict(self.environ),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        guard = threading.Timer(START_TIMEOUT_S, self.process.kill)
        guard.start()
        line = self.process.stdout.readline()
        guard.cancel()
        assert line, f"cdn {self.role} ended: {self.log.read_text()[-2000:]}"
        self.ready = json.loads(line)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit status."""
        assert self.process is not None
        status = self.process.wait(STOP_TIMEOUT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return status

    def end(self, number: signal.Signals) -> int:
        """Send a signal that ends it; the exit status."""
        if self.process is None:
            return 0
        self.send(number)
        return self.wait()

    def ask(self, target: str) -> Answer:
        """What its admin address says."""
        return exchange(self.ready["admin_url"], "GET", target, {"Host": "admin"})

    def metrics(self) -> dict[str, float]:
        """Values by name with labels."""
        lines = self.ask("/metrics").content.decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    async def until_ready(self) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            while (await asyncio.to_thread(self.ask, "/readyz")).status != 200:
                await asyncio.sleep(0.02)


@dataclass(slots=True)
class RoleFleet:
    """Control and edges over one store. `store` holds the lines of [store], `environ` the credentials."""

    root: Path
    store: str
    environ: Mapping[str, str]
    control: RoleProcess | None = None
    edges: dict[str, RoleProcess] = field(default_factory=dict)
    _ended: ExitStack = field(default_factory=ExitStack)

    def start_control(self, more: str = "") -> RoleProcess:
        config = self.root / "control.toml"
        config.write_text(
            f'[control]\ndata_dir = "control"\nzone = "{ZONE}"\nlisten = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n'
            f"withdraw_s = 0.2\n{more}\n[store]\n{self.store}\n"
        )
        self.control = self.made("control", config)
        self.control.start()
        return self.control

    def start_replica(self, name: str, more: str) -> RoleProcess:
        """Another control; `more` names the journal that it shares with the first."""
        config = self.root / f"{name}.toml"
        config.write_text(
            f'[control]\ndata_dir = "{name}"\nzone = "{ZONE}"\nlisten = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n'
            f"withdraw_s = 0.2\n{more}\n[store]\n{self.store}\n"
        )
        replica = self.made("control", config)
        replica.start()
        return replica

    def start_edge(
        self, node_id: str, more: str = "", token: str | None = None, *, control: RoleProcess | None = None
    ) -> RoleProcess:
        """A new edge with a token of its own in a file. `control`: it follows another replica than the first."""
        edge = self.configured_edge(node_id, more, token, control=control)
        edge.start()
        return edge

    def configured_edge(
        self, node_id: str, more: str = "", token: str | None = None, *, control: RoleProcess | None = None
    ) -> RoleProcess:
        """The same, for somebody else to start."""
        url = self.url if control is None else control.ready["control_url"]
        (self.root / f"{node_id}.token").write_text(token or self.token(f"node:{node_id}"))
        config = self.root / f"{node_id}.toml"
        config.write_text(
            f'[edge]\nnode_id = "{node_id}"\ndata_dir = "{node_id}"\nzone = "{ZONE}"\n'
            f'control_url = "{url}"\ntoken_file = "{node_id}.token"\nlisten = "127.0.0.1:0"\n'
            f'admin = "127.0.0.1:0"\n{more}\n[store]\n{self.store}\n'
        )
        edge = self.edges[node_id] = self.made("edge", config)
        return edge

    def made(self, role: str, config: Path) -> RoleProcess:
        """One more process, which ends with the fleet."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CDN_", "AWS_", "XDG_"))}
        process = RoleProcess(role, config, {**kept, "PYTHONWARNINGS": "error", **self.environ})
        self._ended.callback(process.end, signal.SIGKILL)
        return process

    def close(self) -> None:
        """End whatever still runs."""
        self._ended.close()

    @property
    def url(self) -> str:
        assert self.control is not None
        return self.control.ready["control_url"]

    def call(self, method: str, path: str, content: Any = None, *, control: RoleProcess | None = None) -> Any:
        """A call to the API that must succeed; its document. `control`: another replica than the first."""
        token = (self.root / "control" / "admin-token").read_text().strip()
        fields = {"Authorization": f"Bearer {token}"}
        raw = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
        if raw is not None and not isinstance(content, bytes):
            fields["Content-Type"] = "application/json"
        url = self.url if control is None else control.ready["control_url"]
        answer = exchange(url, method, path, fields, raw)
        assert answer.status < 400, answer
        return json.loads(answer.content)

    def token(self, scope: str) -> str:
        """A new token's text."""
        return str(self.call("POST", "/v1/tokens", {"scopes": [scope]})["token"])

    def deploy(self, site: str, files: Mapping[str, bytes], *, control: RoleProcess | None = None) -> Any:
        return self.call("POST", f"/v1/sites/{site}/deploys?wait=20", packed(files), control=control)

    def visit(self, node_id: str, site: str, target: str = "/") -> Answer:
        host = {"Host": f"{site}.{ZONE}"}
        return exchange(self.edges[node_id].ready["http_url"], "GET", target, host)


def outcomes(receipt: Any) -> dict[str, str]:
    """Each node's outcome."""
    return {line["node"]: line["outcome"] for line in receipt["nodes"]}
