"""What a clumsy operator does to the folder and the command line of `cdn up`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.e2e.calls import packed
from tests.e2e.running import RunningCdn

StartCdn = Callable[..., RunningCdn]


def started_again(cdn: RunningCdn, *options: str) -> subprocess.CompletedProcess[str]:
    """`cdn up` over the same folder that is expected to end by itself."""
    words = [sys.executable, "-m", "cdn", "up", "--data", str(cdn.folder / "data"), "--json"]
    words += ["--control", "127.0.0.1:0", "--http", "127.0.0.1:0", "--dns", "off", "--https", "off", *options]
    return subprocess.run(words, env=cdn.environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("is_emptied", [True, False])
def test_a_lost_journal_is_not_taken_for_a_new_one(start_cdn: StartCdn, is_emptied: bool) -> None:
    """It would answer 404 for every site and call that normal."""
    cdn = start_cdn()
    assert cdn.call("POST", "/v1/sites", {"name": "kept"}).status == 201
    assert cdn.stop() == 0
    path = cdn.folder / "data" / "journal.db"
    journal = path.read_bytes()
    if is_emptied:
        path.write_bytes(b"")
    else:
        path.unlink()
    ended = started_again(cdn)
    assert ended.returncode == 1
    assert "its journal with all sites is gone" in ended.stderr
    assert "Traceback" not in ended.stderr
    path.write_bytes(journal)
    cdn.start()
    assert cdn.call("GET", "/v1/sites/kept").status == 200


def test_tokens_that_are_unreadable_are_made_anew(start_cdn: StartCdn) -> None:
    cdn = start_cdn()
    assert cdn.call("POST", "/v1/sites", {"name": "kept"}).status == 201
    cdn.stop()
    for name in ("admin-token", "node-token"):
        (cdn.folder / "data" / name).write_bytes(b"\xff\xfe\x00")
    cdn.start()
    assert cdn.call("GET", "/v1/sites/kept").status == 200
    assert cdn.call("POST", "/v1/sites/kept/deploys?wait=10", packed({"index.html": b"hi"})).status == 201
    assert cdn.visit("kept.cdn.localhost").content == b"hi"


def test_a_zone_that_names_nothing_is_refused(start_cdn: StartCdn) -> None:
    cdn = start_cdn()
    for zone in ("", "..", "a b", "127.0.0.1"):
        ended = started_again(cdn, "--zone", zone)
        assert ended.returncode == 2, zone
        assert "--zone" in ended.stderr
