"""The object store goes away and comes back: clear errors, stale answers where rules allow, no restart needed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.calls import Calls, Refused
from tests.e2e.running import Answer, RunningCdn
from tests.e2e.store_server import StoreServer
from tests.servers.seaweed import ServerMissing

FILES = {"/index.html": b"home", "/warm.txt": b"warm", "/cold.txt": b"cold", "/other.txt": b"other"}
RECOVERY_S = 20.0
"""By then a node must be back at work after its store is."""
AT_A_TIME = 24
"""Visitors and uploaders of a test that wait beside it."""
AT_ONCE_S = 1.0
"""A warm answer does not wait for the store; generous for a machine that does other things."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    server = StoreServer(tmp_path_factory.mktemp("store") / "weed")
    try:
        server.start()
    except ServerMissing as exc:
        pytest.fail(str(exc), pytrace=False)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def cdn(store: StoreServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCdn]:
    running = RunningCdn(tmp_path_factory.mktemp("up"), options=store.options, environ=store.environ)
    running.start()
    yield running
    running.kill()


def prepared_site(cdn: RunningCdn, name: str, **settings: object) -> str:
    """A deployed site, all of it warm but /cold.txt; its host."""
    host = f"{name}.cdn.localhost"
    with Calls.of(cdn.control_url, cdn.folder) as calls:
        calls.create_site(name, **settings)
        assert calls.deploy(name, FILES)["receipt"]["complete"]
    for target in ("/", "/warm.txt", "/other.txt"):
        assert cdn.visit(host, target).status == 200
        assert "; hit" in cdn.visit(host, target).cache_status
    return host


def refusal(cdn: RunningCdn, site: str) -> Refused:
    """What a deploy of new content gets."""
    with Calls.of(cdn.control_url, cdn.folder, timeout_s=300) as calls:
        with pytest.raises(Refused) as refused:
            calls.deploy(site, {"/index.html": b"new", "/warm.txt": b"warm"})
        return refused.value


def assert_store_problem(refused: Refused) -> None:
    assert refused.status == 503, refused
    assert refused.problem["type"] == "urn:cdn:problem:unavailable"
    assert "s3://sites/cdn/" in refused.problem["detail"]
    assert int(refused.fields["retry-after"]) >= 1


def until_good(cdn: RunningCdn, host: str, target: str) -> Answer:
    """Visits until the node answers again, for RECOVERY_S at most."""
    deadline = time.monotonic() + RECOVERY_S
    while (answer := cdn.visit(host, target)).status != 200:
        assert time.monotonic() < deadline, answer
    return answer


def test_the_store_stops_and_comes_back(store: StoreServer, cdn: RunningCdn) -> None:
    host = prepared_site(cdn, "stopped", stale_while_revalidate_s=0)
    brief = prepared_site(cdn, "brief", edge_ttl_s=1, stale_while_revalidate_s=0, stale_if_error_s=600)
    strict = prepared_site(cdn, "strict", edge_ttl_s=1, stale_while_revalidate_s=0, stale_if_error_s=0)
    with Calls.of(cdn.control_url, cdn.folder) as calls:
        before = calls.call("GET", "/v1/sites/stopped/deploys")
        store.stop()
        with ThreadPoolExecutor(AT_A_TIME) as side:  # each of these waits for the S3 client to give up
            deploying = side.submit(refusal, cdn, "stopped")
            # Warm content does not need the store.
            warm = cdn.visit(host, "/warm.txt")
            assert (warm.content, "; hit" in warm.cache_status) == (b"warm", True), warm
            # A purge does not need it either, and after a hard one nothing from before stands in.
            assert calls.purge("stopped", urls=["/other.txt"])["complete"]
            purged = side.submit(cdn.visit, host, "/other.txt")
            cold = side.submit(cdn.visit, host, "/cold.txt")
            # After a soft one it does.
            assert calls.purge("stopped", urls=["/"], soft=True)["complete"]
            soft = side.submit(cdn.visit, host, "/")
            # What has expired stands in where the site allows it.
            expired = side.submit(until_stale, cdn, brief)
            forbidden = side.submit(until_failed, cdn, strict)
            assert_store_problem(deploying.result())
            for refused in (purged.result(), cold.result(), forbidden.result()):
                assert refused.status == 502, refused
                assert "detail=store-down" in refused.cache_status
                assert refused.fields["cache-control"] == "no-store"
                assert "retry-after" in refused.fields
            assert (soft.result().status, soft.result().content) == (200, b"home")
            assert "soft-purged-store-down" in soft.result().cache_status
            assert (expired.result().status, expired.result().content) == (200, b"warm")
            assert int(expired.result().fields["age"]) >= 1
        # A hard purge on top of a soft one: the stale answer is over.
        assert calls.purge("stopped", everything=True)["complete"]
        assert cdn.visit(host).status == 502
        assert calls.call("GET", "/v1/sites/stopped/deploys") == before, "nothing of the refused deploy is recorded"

        store.start_again()
        assert until_good(cdn, host, "/other.txt").content == b"other"
        assert until_good(cdn, host, "/cold.txt").content == b"cold"
        assert until_good(cdn, strict, "/warm.txt").content == b"warm"
        assert calls.deploy("stopped", {"/index.html": b"new"})["receipt"]["complete"]
        assert cdn.visit(host).content == b"new"


def until_stale(cdn: RunningCdn, host: str) -> Answer:
    """The first answer after the edge's lifetime of one second is over."""
    while "expired" not in (answer := cdn.visit(host, "/warm.txt")).cache_status:
        assert answer.status == 200, answer
    return answer


def until_failed(cdn: RunningCdn, host: str) -> Answer:
    """As `until_stale`, where nothing may stand in."""
    while (answer := cdn.visit(host, "/warm.txt")).status == 200:
        assert int(answer.fields["age"]) < 3, answer
    return answer


def test_the_store_hangs_and_goes_on(store: StoreServer, cdn: RunningCdn) -> None:
    host = prepared_site(cdn, "held")
    with Calls.of(cdn.control_url, cdn.folder) as calls, ThreadPoolExecutor(AT_A_TIME) as side:
        with store.held():
            waiting = [side.submit(cdn.visit, host, "/cold.txt") for _ in range(20)]
            deploying = side.submit(later_deploy, cdn)
            asked_at = time.monotonic()
            for _ in range(20):
                assert cdn.visit(host, "/warm.txt").content == b"warm"
            assert calls.purge("held", urls=["/other.txt"])["complete"]
            # Soft: the store is asked behind the visitor's back, and nobody waits for it.
            assert calls.purge("held", urls=["/warm.txt"], soft=True)["complete"]
            stale = cdn.visit(host, "/warm.txt")
            assert (stale.content, "soft-purged" in stale.cache_status) == (b"warm", True), stale
            assert time.monotonic() - asked_at < 20 * AT_ONCE_S
            assert not any(each.done() for each in waiting)
        for each in waiting:
            assert each.result().content == b"cold"
        assert all("fwd=" in each.result().cache_status for each in waiting)
        assert sum("collapsed" in each.result().cache_status for each in waiting) == 19
        deploying.result()
        assert cdn.visit(host).content == b"new"
        assert cdn.visit(host, "/warm.txt").content == b"still warm"


def later_deploy(cdn: RunningCdn) -> None:
    with Calls.of(cdn.control_url, cdn.folder, timeout_s=300) as calls:
        assert calls.deploy("held", {"/index.html": b"new", "/warm.txt": b"still warm"})["receipt"]["complete"]


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_store_that_hangs_for_long_counts_as_down(store: StoreServer, cdn: RunningCdn) -> None:
    host = prepared_site(cdn, "hung", edge_ttl_s=1, stale_while_revalidate_s=0)
    with Calls.of(cdn.control_url, cdn.folder) as calls, ThreadPoolExecutor(AT_A_TIME) as side:
        with store.held():
            deploying = side.submit(refusal, cdn, "hung")
            cold = side.submit(cdn.visit, host, "/cold.txt")
            stale = side.submit(until_stale, cdn, host)
            assert calls.purge("hung", urls=["/other.txt"])["complete"]
            purged = side.submit(cdn.visit, host, "/other.txt")
            assert stale.result().content == b"warm"
            assert cold.result().status == 502
            assert purged.result().status == 502
            assert_store_problem(deploying.result())
        assert until_good(cdn, host, "/other.txt").content == b"other"
        assert until_good(cdn, host, "/cold.txt").content == b"cold"
        assert calls.deploy("hung", {"/index.html": b"new"})["receipt"]["complete"]
