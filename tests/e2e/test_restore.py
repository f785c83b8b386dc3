"""A control plane whose disk is gone comes back from its object store alone (DESIGN I3)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import CommandFailed, RunningCdn, write_bundle
from tests.servers.seaweed import S3Server

HOST = "blog.cdn.localhost"
DOMAIN = "www.example.com"


@pytest.fixture(params=["folder", "s3"])
def start_over_store(
    request: pytest.FixtureRequest, tmp_path: Path, start_cdn: Callable[..., RunningCdn]
) -> Callable[[], RunningCdn]:
    """Starts `cdn up` over a store outside its data folder: a folder, or a bucket of a real S3 server."""

    def start() -> RunningCdn:
        if request.param == "folder":
            (tmp_path / "store").mkdir()
            return start_cdn("--store", str(tmp_path / "store"))
        server: S3Server = request.getfixturevalue("s3_server")
        environ = {
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_REGION": server.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        options = ("--store", f"s3://{server.new_bucket()}/cdn", "--s3-endpoint", server.endpoint_url)
        return start_cdn(*options, **environ)

    return start


def _call(cdn: RunningCdn, method: str, path: str, content: Any = None) -> Any:
    answer = cdn.call(method, path, content)
    assert answer.status in {200, 201}, answer
    return json.loads(answer.content)


def _archived(cdn: RunningCdn, timeout_s: float = 10.0) -> int:
    """The sequence of the last record, once the object store has it."""
    deadline = time.monotonic() + timeout_s
    while True:
        status = json.loads(cdn.call("GET", "/v1/status").content)
        end: int = status["position"]["sequence"]
        if status["archive"]["archived"] == end:
            return end
        assert time.monotonic() < deadline, status["archive"]
        time.sleep(0.02)


def _restore(cdn: RunningCdn, *more: str) -> Any:
    return cdn.run("control", "restore", "--data", str(cdn.folder / "data"), *cdn.options, *more)


def _refused_start(cdn: RunningCdn) -> str:
    """What `cdn up` says when it does not start."""
    words = [sys.executable, "-m", "cdn", "up", "--data", str(cdn.folder / "data"), *cdn.options]
    words += ["--control", "127.0.0.1:0", "--http", "127.0.0.1:0", "--dns", "off", "--https", "off"]
    done = subprocess.run(words, env=cdn.environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done
    return done.stderr


def test_a_lost_control_plane_comes_back_from_the_store_alone(
    start_over_store: Callable[[], RunningCdn], tmp_path: Path
) -> None:
    cdn = start_over_store()
    data = cdn.folder / "data"
    _call(cdn, "POST", "/v1/sites", {"name": "blog"})
    bundle = write_bundle(tmp_path / "bundle", {"/index.html": b"first", "/app.js": b"app"})
    first = cdn.run("deploy", str(bundle), "--site", "blog")
    _call(cdn, "POST", "/v1/sites/blog/domains", {"domain": DOMAIN, "verified": True})
    token = _call(cdn, "POST", "/v1/tokens", {"scopes": ["read:blog", "purge:blog"]})["token"]
    revoked = _call(cdn, "POST", "/v1/tokens", {"scopes": ["read:blog"]})
    _call(cdn, "DELETE", f"/v1/tokens/{revoked['id']}")
    _archived(cdn)  # then the mark behind these records names the node
    _call(cdn, "POST", "/v1/sites/blog/purges?wait=10", {"everything": True})
    assert cdn.visit(HOST).content == b"first"
    end = _archived(cdn)
    cdn.kill()
    shutil.copytree(data, tmp_path / "before")
    edge = data / "edge"
    shutil.move(edge, tmp_path / "edge")
    shutil.rmtree(data)

    assert "cdn control restore" in _refused_start(cdn), "an empty journal never passes for the lost one"
    restored = _restore(cdn)
    assert restored["sequence"] == end
    assert (restored["sites"], restored["domains"], restored["missing"]) == (1, 1, None)
    assert restored["nodes"] == ["local"]
    assert time.time() - 120 < restored["complete_until"] < time.time()
    with pytest.raises(CommandFailed, match="never written over"):
        _restore(cdn)

    shutil.rmtree(edge, ignore_errors=True)
    shutil.move(tmp_path / "edge", edge)  # the node outlived its control
    cdn.start()
    status = json.loads(cdn.call("GET", "/v1/status").content)
    assert status["position"]["epoch"] == restored["epoch"] != restored["former_epoch"]
    assert cdn.visit(HOST).content == cdn.visit(DOMAIN).content == b"first"
    assert cdn.call("GET", "/v1/sites/blog/deploys", token=token).status == 200
    assert cdn.call("GET", "/v1/sites/blog/deploys", token=revoked["token"]).status == 401
    assert cdn.call("POST", "/v1/sites/blog/purges?wait=10", {"everything": True}, token=token).status == 200
    second = cdn.run("deploy", str(write_bundle(bundle, {"/index.html": b"second"})), "--site", "blog")
    assert second["receipt"]["complete"]
    assert cdn.visit(HOST).content == b"second"
    deploys = {each["id"] for each in _call(cdn, "GET", "/v1/sites/blog/deploys")["deploys"]}
    assert {first["deploy"]["id"], second["deploy"]["id"]} <= deploys

    cdn.kill()
    shutil.rmtree(data)
    shutil.move(tmp_path / "before", data)
    assert "no longer counts" in _refused_start(cdn), "the former control plane does not go on beside the restored one"
