"""`cdn deploy` through a load balancer over two replicas of control, one of which is killed in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.balancer import Balancer
from tests.e2e.roles import RoleFleet, RoleProcess
from tests.servers.nats import NatsLayout, start_single, stop_layout
from tests.servers.seaweed import S3Server

FILES = {f"/page-{number}.html": os.urandom(2000) for number in range(120)}


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsLayout]:
    layout = start_single(tmp_path / "nats")
    yield layout
    stop_layout(layout)


@pytest.fixture(params=["folder", "s3"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RoleFleet]:
    """Over a folder blobs go through control, over S3 straight to the store."""
    if request.param == "folder":
        fleet = RoleFleet(tmp_path, 'url = "store"', {})
    else:
        server: S3Server = request.getfixturevalue("s3_server")
        store = f'url = "s3://{server.new_bucket()}/cdn"\nendpoint_url = "{server.endpoint_url}"'
        fleet = RoleFleet(tmp_path, store, server.environment())
    yield fleet
    fleet.close()


class Calls:
    """What the balancer passed on, by kind, and to whom; `on` is called with each kind."""

    def __init__(self) -> None:
        self.by_kind: Counter[str] = Counter()
        self.targets: dict[str, set[str]] = {}
        self.on: Callable[[str], None] = lambda kind: None

    def seen(self, method: str, path: str, target: str) -> None:
        last = path.split("/")[4] if path.count("/") >= 4 else ""
        kind = f"{method} {last}" if "/blobs/" not in path and not path.endswith("/urls") else "upload"
        self.by_kind[kind] += 1
        self.targets.setdefault(kind, set()).add(target)
        self.on(kind)


@pytest.fixture
async def balanced(fleet: RoleFleet, nats: NatsLayout) -> AsyncIterator[tuple[Balancer, Calls, RoleProcess]]:
    """A balancer over two replicas; the second of them, which only it leads to."""
    journal = f"[journal]\nservers = {list(nats.urls)}\nreplicas = 1\nmax_bytes = 1_000_000_000"
    first = fleet.start_control(journal)
    second = fleet.start_replica("control-2", journal)
    calls = Calls()
    balancer = await Balancer([each.ready["control_url"] for each in (first, second)], calls.seen).start()
    fleet.start_edge("e1")
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    yield balancer, calls, second
    await balancer.aclose()


async def deploy(fleet: RoleFleet, balancer: Balancer, folder: Path) -> Any:
    """What `cdn deploy --json` says, when it succeeds."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("CDN_", "XDG_"))}
    environ |= {
        "CDN_CONTROL_URL": balancer.url,
        "CDN_TOKEN": (fleet.root / "control" / "admin-token").read_text().strip(),
        "XDG_CACHE_HOME": str(fleet.root / "cache"),
    }
    words = [sys.executable, "-m", "cdn", "deploy", str(folder), "--site", "blog", "--json"]
    process = await asyncio.create_subprocess_exec(
        *words, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    assert process.returncode == 0, (out, err)
    return json.loads(out)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name[1:]).write_bytes(content)
    return folder


async def test_any_replica_goes_on_with_an_upload_also_after_the_one_that_opened_it_died(
    fleet: RoleFleet, balanced: tuple[Balancer, Calls, RoleProcess], tmp_path: Path
) -> None:
    balancer, calls, second = balanced
    folder = write(tmp_path / "bundle", {"/index.html": b"whole"})
    whole = await deploy(fleet, balancer, folder)
    assert whole["receipt"]["complete"]
    assert fleet.visit("e1", "blog").content == b"whole"
    opened = calls.by_kind["POST uploads"]

    def kill(kind: str) -> None:
        if kind == "upload" and second.process is not None:
            second.end(signal.SIGKILL)

    calls.on = kill
    write(folder, {**FILES, "/index.html": b"after"})
    done = await deploy(fleet, balancer, folder)
    assert done["receipt"]["complete"]
    assert second.process is None, "it was killed while blobs were on their way"
    assert calls.by_kind["POST uploads"] == opened + 1, "the upload was not opened again"
    for name, content in [("/", b"after"), *list(FILES.items())[::17]]:
        assert fleet.visit("e1", "blog", name).content == content

    second.start()
    await second.until_ready()
    balancer.targets[1] = second.ready["control_url"]
    calls.on, calls.targets = lambda kind: None, {}
    last = await deploy(fleet, balancer, write(folder, {"/index.html": b"last", "/more.html": b"more"}))
    assert last["receipt"]["complete"]
    assert len(set().union(*calls.targets.values())) == 2
    assert fleet.visit("e1", "blog").content == b"last"
