"""The access log of a real node: no line is lost when it is rotated, nor more than a moment of them by `kill -9`."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.roles import ZONE, RoleFleet
from tests.e2e.running import RunningCdn, write_bundle
from tests.e2e.test_workers import workers_of

FILES = {"/index.html": b"x" * 1000, "/other.html": b"y"}
HOST = f"blog.{ZONE}"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RoleFleet]:
    made = RoleFleet(tmp_path, 'url = "store"', {})
    yield made
    made.close()


def lines_of(*paths: Path) -> list[dict[str, object]]:
    """Every line of these files. Fails when one is not whole."""
    found: list[dict[str, object]] = []
    for path in paths:
        raw = path.read_bytes()
        assert not raw or raw.endswith(b"\n")
        found += [json.loads(line) for line in raw.splitlines()]
    return found


def ask(url: str, targets: list[str]) -> None:
    """One after the other on one connection."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    for target in targets:
        connection.request("GET", target, headers={"Host": HOST, "User-Agent": "e2e"})
        connection.getresponse().read()
    connection.close()


def until(condition: Callable[[], bool]) -> None:
    never = threading.Event()
    for _ in range(3000):
        if condition():
            return
        never.wait(0.01)
    raise AssertionError("it never came to be")


def with_site(cdn: RunningCdn, folder: Path) -> RunningCdn:
    cdn.run("site", "create", "blog")
    cdn.run("deploy", str(write_bundle(folder, FILES)), "--site", "blog")
    return cdn


def test_rotation_under_load_loses_no_line_of_any_worker(tmp_path: Path, start_cdn: Callable[..., RunningCdn]) -> None:
    path = tmp_path / "access.log"
    cdn = with_site(start_cdn("--access-log", str(path), "--workers", "2"), tmp_path / "bundle")
    assert cdn.process is not None
    sent = [[f"/?{client}-{number}" for number in range(150)] for client in range(4)]
    clients = [threading.Thread(target=ask, args=(cdn.http_url, targets)) for targets in sent]
    for client in clients:
        client.start()
    moved: list[Path] = []
    while any(client.is_alive() for client in clients) or len(moved) < 3:
        moved.append(tmp_path / f"access.log.{len(moved)}")
        path.rename(moved[-1])
        cdn.process.send_signal(signal.SIGHUP)
        until(path.exists)
    for client in clients:
        client.join()
    assert cdn.stop() == 0
    lines = lines_of(path, *moved)
    assert Counter(line["target"] for line in lines) == Counter(target for targets in sent for target in targets)
    assert {(line["host"], line["site"], line["user_agent"]) for line in lines} == {(HOST, "blog", "e2e")}
    assert {line["status"] for line in lines} == {200}


def test_kill_9_loses_nothing_that_is_a_moment_old_and_the_next_process_goes_on(
    tmp_path: Path, start_cdn: Callable[..., RunningCdn]
) -> None:
    path = tmp_path / "access.log"
    cdn = with_site(start_cdn("--access-log", str(path)), tmp_path / "bundle")
    ask(cdn.http_url, [f"/?{number}" for number in range(100)])
    until(lambda: path.read_bytes().count(b"\n") == 100)
    cdn.kill()
    cdn.start()
    ask(cdn.http_url, ["/?again"])
    assert cdn.stop() == 0
    assert [line["target"] for line in lines_of(path)] == [*(f"/?{number}" for number in range(100)), "/?again"]


def test_up_is_told_how_much_of_visitors_is_kept(tmp_path: Path, start_cdn: Callable[..., RunningCdn]) -> None:
    path = tmp_path / "access.log"
    kept = ("--access-log-addresses", "network", "--no-access-log-queries", "--workers", "2")
    cdn = with_site(start_cdn("--access-log", str(path), *kept), tmp_path / "bundle")
    ask(cdn.http_url, [f"/?{number}" for number in range(20)])
    assert cdn.stop() == 0
    assert {(line["address"], line["target"]) for line in lines_of(path)} == {("127.0.0.0", "/")}


def test_what_workers_count_is_what_was_asked(tmp_path: Path, fleet: RoleFleet) -> None:
    fleet.start_control()
    log = tmp_path / "logs" / "access.log"
    log.parent.mkdir()
    edge = fleet.start_edge("e1", 'workers = 2\n[access_log]\nfile = "logs/access.log"\naddresses = "none"')
    fleet.call("POST", "/v1/sites", {"name": "blog"})
    fleet.deploy("blog", FILES)
    for _ in range(20):
        ask(edge.ready["http_url"], ["/", "/", "/other.html", "/absent"])
    until(lambda: log.read_bytes().count(b"\n") == 80)
    lines = lines_of(log)
    shown = Counter((line["protocol"], f"{str(line['status'])[0]}xx", line["outcome"]) for line in lines)
    names = {
        f'cdn_edge_requests_total{{protocol="{protocol}",status="{status}",outcome="{outcome}"}}': float(count)
        for (protocol, status, outcome), count in shown.items()
    }
    assert sum(shown.values()) == 80
    assert shown["HTTP/1.1", "4xx", "hit"] == 20
    until(lambda: edge.metrics().get("cdn_edge_access_log_lines_total") == 80)
    metrics = edge.metrics()
    assert {name: metrics[name] for name in metrics if name.startswith("cdn_edge_requests_total")} == names
    assert metrics["cdn_edge_answer_seconds_count"] == metrics["cdn_edge_head_seconds_count"] == 80
    assert metrics['cdn_edge_sent_bytes_total{protocol="HTTP/1.1"}'] == sum(int(str(line["bytes"])) for line in lines)
    assert metrics['cdn_edge_access_log_dropped_total{reason="slow"}'] == 0, "there before the first one"
    assert "address" not in lines[0]
    worker = workers_of(edge)[0]
    subprocess.run(["kill", "-9", str(worker)], check=True)
    until(lambda: edge.metrics()["cdn_edge_workers_died_total"] == 1 and edge.metrics()["cdn_edge_workers"] == 2)
    assert edge.metrics()["cdn_edge_answer_seconds_count"] == 80, "what a worker counted goes on counting"


def test_a_log_that_cannot_be_written_is_said_before_anything_serves(tmp_path: Path) -> None:
    words = ("--data", str(tmp_path / "data"), "--access-log", str(tmp_path / "absent" / "access.log"))
    ways = ("--control", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "off", "--dns", "off")
    done = subprocess.run(
        [sys.executable, "-m", "cdn", "up", *words, *ways], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "the access log cannot be written to" in done.stderr
    assert "give a file in a folder that exists" in done.stderr


def test_without_a_file_a_hang_up_ends_the_process_as_usual(start_cdn: Callable[..., RunningCdn]) -> None:
    cdn = start_cdn("--access-log", "-")
    assert cdn.process is not None
    cdn.process.send_signal(signal.SIGHUP)
    assert cdn.process.wait(30) == -signal.SIGHUP
