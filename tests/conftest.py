"""Fixtures of every room: a real S3 server, started once for all workers of a test run."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from hypothesis import HealthCheck, settings

from tests.second_run import watch_run
from tests.servers.seaweed import S3Address, S3Server, ServerMissing, start_seaweed, stop_seaweed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def pytest_configure(config: pytest.Config) -> None:
    """Tests of real processes that fail on a busy machine have a second run; no example is measured by time."""
    watch_run(config)
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS on loopback: one per test run, shared by the workers of pytest-xdist; the last one ends it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    try:
        address = _join(shared)
    except ServerMissing as exc:
        pytest.fail(str(exc), pytrace=False)
    session = boto3.Session(address.access_key, address.secret_key, region_name=address.region)
    client: S3Client = session.client(
        "s3", endpoint_url=address.endpoint_url, config=Config(s3={"addressing_style": "path"})
    )

    def new_bucket() -> str:
        name = f"bucket-{secrets.token_hex(8)}"
        client.create_bucket(Bucket=name)
        return name

    try:
        yield S3Server(
            address.endpoint_url, address.access_key, address.secret_key, address.region, session, new_bucket
        )
    finally:
        client.close()
        _leave(shared)


def _join(shared: Path) -> S3Address:
    """Start the server, or use the one that another worker started."""
    with _locked(shared) as state:
        running = json.loads(state.read_text() if state.exists() else '{"users": 0}')
        if running["users"] == 0:
            running["address"] = start_seaweed(shared / f"seaweed-{secrets.token_hex(4)}").to_json()
        running["users"] += 1
        state.write_text(json.dumps(running))
        return S3Address.from_json(running["address"])


def _leave(shared: Path) -> None:
    """End the server by its id when nobody else uses it."""
    with _locked(shared) as state:
        running = json.loads(state.read_text())
        running["users"] -= 1
        state.write_text(json.dumps(running))
        if running["users"] == 0:
            stop_seaweed(S3Address.from_json(running["address"]).pid)
            for folder in shared.glob("seaweed-*"):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(shared: Path) -> Iterator[Path]:
    with (shared / "seaweed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shared / "seaweed.json"
