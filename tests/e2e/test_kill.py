"""`kill -9` at any moment loses nothing that was acknowledged, and the node starts again warm (DESIGN I11, I1)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import secrets
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.e2e.calls import Calls
from tests.e2e.promises import ZONE, Activations, OwnSite
from tests.e2e.running import RunningCdn
from tests.e2e.storm import CALLERS, Caller, Storm

STEADY = {f"/page-{number}.html": f"page {number}".encode() * 100 for number in range(12)}
STEADY_LARGE = {"/film.bin": os.urandom(2 * 1024 * 1024 + 77)}
STEADY_HOST = f"steady.{ZONE}"


def test_nothing_acknowledged_is_lost_in_5_kills(tmp_path: Path) -> None:
    survive(tmp_path, rounds=5)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_nothing_acknowledged_is_lost_in_50_kills(tmp_path: Path) -> None:
    survive(tmp_path, rounds=50)


def survive(folder: Path, rounds: int) -> None:
    """Start, check what was promised, call, kill; again and again over one folder. CDN_KILL_SEED replays a run."""
    seed = int(os.environ.get("CDN_KILL_SEED") or secrets.randbits(32))
    print(f"replay with CDN_KILL_SEED={seed}")
    rng = random.Random(seed)
    running = RunningCdn(folder)
    running.start()
    try:
        callers = begin(running)
        for number in range(rounds):
            operations = Storm(running, callers).rage(rng)
            if rng.random() < 0.4:
                running.launch()
                kill_during_start(running, rng.uniform(0.0, 0.9))
            running.start()
            check(running, callers)
            print(f"round {number + 1}: {operations} operations begun")
        running.kill()
        check_at_rest(running)
        check_warm_without_store(running)
    finally:
        running.kill()


def begin(running: RunningCdn) -> list[Caller]:
    """A site per caller, one for all of them, and one that nobody touches and whose files are all warm."""
    with Calls.of(running.control_url, running.folder) as calls:
        calls.create_site("shared")
        shared = Activations("shared")
        shared.deploy(calls, "first")
        callers = []
        for number in range(CALLERS):
            own = OwnSite.create(calls, f"own-{number}")
            own.activations.deploy(calls, "first")
            callers.append(Caller(number, own, shared))
        calls.create_site("steady")
        assert calls.deploy("steady", STEADY | STEADY_LARGE)["receipt"]["complete"]
    for target in STEADY | STEADY_LARGE:
        assert "fwd=uri-miss" in running.visit(STEADY_HOST, target).cache_status
    check_warm(running)
    return callers


def kill_during_start(running: RunningCdn, after_s: float) -> None:
    """The start itself may be interrupted as well."""
    assert running.process is not None
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.process.wait(after_s)
        pytest.fail("cdn up ended by itself")
    running.kill()


def check(running: RunningCdn, callers: list[Caller]) -> None:
    check_warm(running)
    with Calls.of(running.control_url, running.folder) as calls:
        callers[0].shared.check(running, calls)
        for caller in callers:
            caller.check(running, calls)


def check_warm(running: RunningCdn) -> None:
    for target, content in (STEADY | STEADY_LARGE).items():
        answer = running.visit(STEADY_HOST, target)
        assert answer.content == content, target
        assert "; hit" in answer.cache_status, f"{target} was warm before the kill: {answer.cache_status}"


def check_at_rest(running: RunningCdn) -> None:
    """Every blob is what its name says, every database whole."""
    data = running.folder / "data"
    blobs = [path for path in data.glob("store/objects/sites/*/blobs/*/*") if path.is_file()]
    assert blobs
    for blob in blobs:
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, blob
    for name in ("journal.db", "nodes.db", "edge/replica.db", "edge/content/index.sqlite"):
        with sqlite3.connect(data / name) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        connection.close()
        assert verdict == "ok", f"{name}: {verdict}"


def check_warm_without_store(running: RunningCdn) -> None:
    """Warm means without asking the store: it has no blobs now."""
    for folder in (running.folder / "data" / "store" / "objects" / "sites").glob("*/blobs"):
        folder.rename(folder.with_name("away"))
    running.start()
    check_warm(running)
    with Calls.of(running.control_url, running.folder) as calls:
        calls.purge("steady", everything=True)
    assert running.visit(STEADY_HOST, "/page-1.html").status == 502
