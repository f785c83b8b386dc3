"""Processes of a fleet on this machine, each started from a settings file as operators would."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import boto3

from examples.demo import ZONE, DemoFailed
from tests.servers.nats import NatsLayout, start_single, stop_layout
from tests.servers.ports import free_ports
from tests.servers.seaweed import S3Address, running_seaweed

BUCKET = "cdn-demo"
READY_TIMEOUT_S = 60.0
HEARTBEAT_S, DETACH_AFTER_S = 1.0, 5.0
"""Shorter than usual, so that the demonstration waits less for a node that died."""

CHECK_INTERVAL_S, DOWN_AFTER = 0.5, 3
"""A name server looks so often whether an edge answers, and believes so many silences in a row."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an edge is: on one machine each has an address of its own, which visitors are sent to."""

    region: str
    location: str
    address: str
    weight: int = 100


@dataclass(slots=True)
class Role:
    """One `cdn control` or `cdn edge`."""

    kind: str
    name: str
    config: Path
    environ: Mapping[str, str]
    ready: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Return when it serves."""
        with self.config.with_suffix(".log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cdn", self.kind, "--config", str(self.config), "--json"],
                env=dict(self.environ),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        try:
            self.ready = json.loads(line)
        except ValueError:
            raise DemoFailed(f"{self.name} did not start: {self.last_words()}") from None
        if "admin_url" not in self.ready:
            raise DemoFailed(f"{self.name} did not start: {line.strip()}")

    def wait_ready(self) -> None:
        """Return when /readyz says so: an edge has caught up with the journal then."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                if self._asked("/readyz") == 200:
                    return
            except OSError:
                if self.process is None or self.process.poll() is not None:
                    break
            time.sleep(0.05)
        raise DemoFailed(f"{self.name} did not become ready: {self.last_words()}")

    def _asked(self, path: str) -> int:
        """The status with which its admin address answers."""
        address = urlsplit(self.ready["admin_url"])
        connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status

    def kill(self) -> None:
        """As `kill -9` does: it and its workers get no chance to say anything."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def last_words(self) -> str:
        return self.config.with_suffix(".log").read_text()[-1500:]


@dataclass(slots=True)
class Fleet:
    """NATS, an S3 server, replicas of control, and edges in regions."""

    folder: Path
    nats: NatsLayout
    s3: S3Address
    edge_port: int
    """Of every edge: name servers name addresses, and visitors know the port."""
    roles: dict[str, Role] = field(default_factory=dict)

    def start_control(self, name: str) -> Role:
        """A replica of control over the shared journal and store."""
        return self._start(
            "control",
            name,
            f"""[control]
data_dir = "{name}"
zone = "{ZONE}"
listen = "{free_address()}"
admin = "127.0.0.1:0"
heartbeat_s = {HEARTBEAT_S}
detach_after_s = {DETACH_AFTER_S}

[journal]
servers = {json.dumps(list(self.nats.urls))}
replicas = 1
max_bytes = 1_000_000_000
""",
        )

    def start_edge(
        self, name: str, stands: Standing, first: Role, other: Role, *, follows: Sequence[str] = (), more: str = ""
    ) -> Role:
        """An edge that follows one control, and the other one when the first has gone; or the URLs `follows`."""
        urls = tuple(follows) or (first.ready["control_url"], other.ready["control_url"])
        self._make_token(name, f"node:{name}", first)
        edge = self._start(
            "edge",
            name,
            f"""[edge]
node_id = "{name}"
data_dir = "{name}"
zone = "{ZONE}"
region = "{stands.region}"
location = "{stands.location}"
weight = {stands.weight}
public_addresses = ["{stands.address}"]
cache_name = "{name}"
control_url = "{urls[0]}"
other_control_urls = {json.dumps(urls[1:])}
token_file = "{name}.token"
listen = "{stands.address}:{self.edge_port}"
admin = "127.0.0.1:0"
allows_private_upstreams = true
{more}
""",
        )
        edge.wait_ready()
        return edge

    def start_dns(self, name: str, first: Role, other: Role) -> Role:
        """A name server that looks twice a second whether the edges answer."""
        self._make_token(name, f"dns:{name}", first)
        server = self._start(
            "dns",
            name,
            f"""[dns]
dns_id = "{name}"
data_dir = "{name}"
zone = "{ZONE}"
name_servers = ["ns.{ZONE} 127.0.0.1"]
hostmaster = "hostmaster@example.net"
control_url = "{first.ready["control_url"]}"
other_control_urls = ["{other.ready["control_url"]}"]
token_file = "{name}.token"
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
check_port = {self.edge_port}
check_interval_s = {CHECK_INTERVAL_S}
down_after = {DOWN_AFTER}
up_after = 2
""",
            has_store=False,
        )
        server.wait_ready()
        return server

    def _make_token(self, name: str, scope: str, control: Role) -> None:
        path = self.folder / f"{name}.token"
        path.write_text(self.cdn(control, "token", "create", "--scope", scope).split()[0])

    def cdn(self, control: Role, *words: str) -> str:
        """What a command prints. Raises DemoFailed unless it ends with status 0: it is done then."""
        done = subprocess.run(
            [sys.executable, "-m", "cdn", *words],
            env=self.command_environ(control),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = f"{done.stderr.strip()} {done.stdout.strip()}"
            raise DemoFailed(f"cdn {shlex.join(words)} ended with status {done.returncode}: {said}")
        return done.stdout

    def command_environ(self, control: Role) -> dict[str, str]:
        """The environment of commands that speak to this control."""
        token = (self.folder / control.name / "admin-token").read_text().strip()
        return {
            **_bare_environ(self.folder),
            "CDN_CONTROL_URL": control.ready["control_url"],
            "CDN_TOKEN": token,
        }

    def _start(self, kind: str, name: str, settings: str, *, has_store: bool = True) -> Role:
        config = self.folder / f"{name}.toml"
        store = f'\n[store]\nurl = "s3://{BUCKET}/fleet"\nendpoint_url = "{self.s3.endpoint_url}"\n'
        config.write_text(settings + store * has_store)
        keys = {
            "AWS_ACCESS_KEY_ID": self.s3.access_key,
            "AWS_SECRET_ACCESS_KEY": self.s3.secret_key,
            "AWS_REGION": self.s3.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        role = self.roles[name] = Role(kind, name, config, {**_bare_environ(self.folder), **keys})
        role.start()
        return role


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Fleet]:
    """A fleet with no role yet; everything that runs is ended at the end."""
    nats = start_single(folder / "nats")
    try:
        with running_seaweed(folder / "s3") as s3:
            _make_bucket(s3)
            fleet = Fleet(folder, nats, s3, free_ports(1)[0])
            try:
                yield fleet
            finally:
                for role in fleet.roles.values():
                    role.kill()
    finally:
        stop_layout(nats)


def free_address() -> str:
    """An address nobody listens on: a role that is killed and started again has the same one."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return f"127.0.0.1:{one.getsockname()[1]}"


def _make_bucket(s3: S3Address) -> None:
    session = boto3.Session(s3.access_key, s3.secret_key, region_name=s3.region)
    session.client("s3", endpoint_url=s3.endpoint_url).create_bucket(Bucket=BUCKET)


def _bare_environ(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CDN_", "AWS_"))}
    return {**kept, "XDG_CONFIG_HOME": str(folder / "config"), "XDG_CACHE_HOME": str(folder / "cache")}
