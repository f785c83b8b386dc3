"""`cdn` as a process of its own: what it loads, and that nothing ends in a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CDN_")}
    return {**kept, "XDG_CONFIG_HOME": str(tmp_path), "PYTHONWARNINGS": "error", **more}


class NothingHere(BaseHTTPRequestHandler):
    """Answers 404 to everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def refusing_url() -> Iterator[str]:
    """A server that has nothing, so that a command ends quickly."""
    with ThreadingHTTPServer(("127.0.0.1", 0), NothingHere) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def loaded_by(words: list[str], tmp_path: Path, url: str = "http://127.0.0.1:1") -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cdn.cli.main", *words],
        env=environ(tmp_path, CDN_TOKEN="t", CDN_CONTROL_URL=url),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize("words", [["deploy", "--help"], ["purge", "--help"]])
def test_help_loads_no_network_library(tmp_path: Path, words: list[str]) -> None:
    loaded = loaded_by(words, tmp_path)
    assert "cdn.cli.run" in loaded
    assert not loaded & {"aiohttp", "asyncio", "boto3", "msgspec", "uvloop", "cdn.cli.up"}


def test_a_deploy_loads_only_the_uploaders_side(tmp_path: Path, refusing_url: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("x")
    loaded = loaded_by(["deploy", str(tmp_path / "site"), "--site", "blog", "--json"], tmp_path, refusing_url)
    assert "cdn.publish.deploy" in loaded
    assert not loaded & {"aiohttp.web", "boto3", "botocore", "rich", "cdn.control", "cdn.edge", "cdn.cli.up"}


def test_interrupting_ends_with_130_and_without_a_traceback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "cdn.cli.main", "status"],
            env=environ(tmp_path, CDN_TOKEN="t", CDN_CONTROL_URL=f"http://127.0.0.1:{server.getsockname()[1]}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        server.settimeout(60)
        connection, _ = server.accept()  # it waits for an answer that never comes
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err == "interrupted: run the command again to go on where it stopped\n"


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m cdn.cli.main site create --help | true",
        shell=True,
        env=environ(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""


def test_the_version(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cdn", "--version"],
        env=environ(tmp_path),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("cdn ")
