"""The journal is locked, the disk is full: clear errors, no corruption, and all well again without a restart."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.calls import Calls, OutcomeUnknown, Refused
from tests.e2e.running import Answer, RunningCdn
from tests.e2e.small_disk import small_disk

FILES = {"/index.html": b"home", "/warm.txt": b"warm", "/cold.txt": b"cold", "/other.txt": b"other"}
RECOVERY_S = 20.0


def refused(call: Callable[[], Any]) -> Refused:
    with pytest.raises(Refused) as problem:
        call()
    return problem.value


def assert_unavailable(problem: Refused, words: str) -> None:
    assert problem.status == 503, problem
    assert problem.problem["type"] == "urn:cdn:problem:unavailable"
    assert int(problem.fields["retry-after"]) >= 1
    assert words in problem.problem["detail"]


def is_whole(database: Path) -> bool:
    with sqlite3.connect(database) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return bool(verdict == "ok")


def test_a_locked_journal_is_said_and_goes_on_when_it_is_free(start_cdn: Callable[..., RunningCdn]) -> None:
    cdn = start_cdn()
    with Calls.of(cdn.control_url, cdn.folder) as calls:
        calls.create_site("locked")
        calls.deploy("locked", FILES)
        host = "locked.cdn.localhost"
        cdn.visit(host, "/warm.txt")
        other = sqlite3.connect(cdn.folder / "data" / "journal.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with ThreadPoolExecutor(1) as side:
            purging = side.submit(refused, lambda: calls.purge("locked", everything=True))
            while not purging.done():
                answer = cdn.visit(host, "/warm.txt")
                assert (answer.content, "; hit" in answer.cache_status) == (b"warm", True)
            assert_unavailable(purging.result(), "journal cannot be used now")
            assert "locked" in purging.result().problem["detail"]
        # What reads goes on, and a refused purge has changed nothing.
        assert calls.call("GET", "/v1/sites/locked")["name"] == "locked"
        assert "; hit" in cdn.visit(host, "/warm.txt").cache_status
        other.execute("ROLLBACK")
        other.close()
        assert calls.purge("locked", everything=True)["complete"]
        assert "; hit" not in cdn.visit(host, "/warm.txt").cache_status
        assert calls.deploy("locked", {"/index.html": b"new"})["receipt"]["complete"]
        assert cdn.visit(host).content == b"new"


def test_a_full_disk_is_said_serves_what_it_has_and_recovers(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 24) as disk:
        cdn = RunningCdn(disk.folder)
        cdn.start()
        try:
            with Calls.of(cdn.control_url, cdn.folder) as calls:
                fill_and_recover(cdn, calls, disk.fill, disk.free)
            cdn.kill()
            disk.fill()
            cdn.start()
            assert cdn.visit("brief.cdn.localhost", "/warm.txt").content == b"warm", "a start needs no room"
            disk.free()
            cdn.kill()
            for name in ("journal.db", "nodes.db", "edge/replica.db", "edge/content/index.sqlite"):
                assert is_whole(cdn.folder / "data" / name), name
            cdn.start()
            assert cdn.visit("full.cdn.localhost").content == b"after"
            assert cdn.visit("brief.cdn.localhost", "/warm.txt").content == b"warm"
        finally:
            cdn.kill()


def fill_and_recover(cdn: RunningCdn, calls: Calls, fill: Callable[[], None], free: Callable[[], None]) -> None:
    host, brief = "full.cdn.localhost", "brief.cdn.localhost"
    calls.create_site("full")
    calls.create_site("brief", edge_ttl_s=1, stale_while_revalidate_s=0)
    for name in ("full", "brief"):
        calls.deploy(name, FILES)
        for target in ("/", "/warm.txt", "/other.txt"):
            cdn.visit(f"{name}.cdn.localhost", target)
    fill()
    noise = random.Random(7).randbytes(300_000)
    assert_unavailable(refused(lambda: calls.deploy("full", {"/index.html": noise})), "Make room on the disk")
    assert_unavailable(refused(lambda: calls.upload("full", noise)), "has no room for")
    # The journal's own file may have a little room left: it takes purges until it says that it is full.
    last_purge = purge_until_refused(calls)
    assert_unavailable(last_purge, "journal cannot be used now")
    # Everything that is there goes on being served, and what is purged or cold comes from the store.
    for target in ("/warm.txt", "/cold.txt", "/other.txt"):
        assert cdn.visit(host, target).content == FILES[target], target
    while "; hit" in (answer := cdn.visit(brief, "/warm.txt")).cache_status:
        assert int(answer.fields["age"]) < 3, answer
    assert (answer.status, answer.content) == (200, b"warm"), answer
    listed = calls.call("GET", "/v1/sites/full/deploys")["deploys"]
    free()
    done = until_done(lambda: calls.deploy("full", {"/index.html": b"after", "/big.bin": noise}))
    assert done["receipt"]["complete"], done
    assert cdn.visit(host).content == b"after"
    assert cdn.visit(host, "/big.bin").content == noise
    assert len(calls.call("GET", "/v1/sites/full/deploys")["deploys"]) == len(listed) + 1
    receipt = until_done(lambda: calls.purge("full", everything=True))
    assert receipt["complete"], receipt
    assert "; hit" not in cdn.visit(host, "/big.bin").cache_status
    until_kept(cdn, host, "/big.bin")


def purge_until_refused(calls: Calls) -> Refused:
    for number in range(2000):
        try:
            calls.purge("full", urls=[f"/unused-{number}-{position}" for position in range(200)], wait_s=0)
        except Refused as problem:
            return problem
    return pytest.fail("a full disk took 2000 purges")


def until_done(call: Callable[[], Any]) -> Any:
    """The disk has room again: within RECOVERY_S the caller who comes again as told is served."""
    deadline = time.monotonic() + RECOVERY_S
    while True:
        try:
            return call()
        except (Refused, OutcomeUnknown):
            if time.monotonic() >= deadline:
                raise


def until_kept(cdn: RunningCdn, host: str, target: str) -> Answer:
    """The disk tier stores again."""
    deadline = time.monotonic() + RECOVERY_S
    while "; hit" not in (answer := cdn.visit(host, target)).cache_status:
        assert time.monotonic() < deadline, answer
    return answer
