"""The suite's server and client as processes."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.node import Node
from tests.conformance.verdict import Verdict, read_verdicts

CLIENT = Path(__file__).with_name("client.mjs")
CLIENT_TIMEOUT_S = 900.0
END_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Cache:
    """What is tested: `base_url` without a slash at its end, and the address that its host name stands for."""

    base_url: str
    address: str


@contextmanager
def suite_server(node: Node, suite: Path, folder: Path) -> Iterator[int]:
    """The port of the suite's server, which runs until the block ends."""
    settings = {"protocol": "http", "port": "0", "pidfile": str(folder / "suite.pid")}
    process = subprocess.Popen(
        [node.program, "server/server.mjs"],
        cwd=suite,
        env={**os.environ, **{f"npm_config_{name}": value for name, value in settings.items()}},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.fullmatch(r"Listening on http://.*:(\d+)/\n", process.stdout.readline())
        assert found, "the suite's server did not start"
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(END_TIMEOUT_S)
    drain.join()
    process.stdout.close()


def run_client(node: Node, suite: Path, cache: Cache) -> tuple[Verdict, ...]:
    """Every test of the suite."""
    done = subprocess.run(
        [node.program, "--no-warnings", str(CLIENT), str(suite), cache.base_url, cache.address],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=CLIENT_TIMEOUT_S,
    )
    return read_verdicts(done.stdout.splitlines()[-1])
