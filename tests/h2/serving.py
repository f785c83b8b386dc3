"""The server under test: a process of its own, so that its memory and its words can be watched."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.h2.frame_client import FrameClient

LOOKS = 5000
"""How often the state is looked at before a test gives up: some seconds."""


@dataclass(slots=True)
class Serving:
    """Ports and clients. `tls` is 0 where the server speaks none."""

    plain: int
    tls: int = 0
    root: str = ""
    log: Path | None = None
    process: subprocess.Popen[str] | None = None
    _clients: list[FrameClient] = field(default_factory=list)

    @classmethod
    def launch(cls, folder: Path) -> Serving:
        """Our listener. Return when it listens."""
        log = folder / "served.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.h2.served", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        said = json.loads(line)
        return cls(said["plain"], said["tls"], said["root"], log, process)

    @classmethod
    def reference(cls) -> Serving | None:
        """Another server, by which the tests themselves are checked: `CDN_H2_REFERENCE=PORT` of one without TLS."""
        port = os.environ.get("CDN_H2_REFERENCE")
        return cls(int(port)) if port else None

    def connect(self, transport: str = "plain", *, receive_bytes: int | None = None) -> FrameClient:
        """A connection on which nothing was sent; it is closed with the test."""
        secure = transport == "tls"
        context = client_context(self.root, "h2") if secure else None
        client = FrameClient.connect(self.tls if secure else self.plain, context, receive_bytes=receive_bytes)
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()

    def state(self) -> dict[str, Any]:
        """What the application tells of its process."""
        client = self.connect().start()
        said: dict[str, Any] = json.loads(client.ask("/state").content)
        client.close()
        return said

    def wait_until(self, is_so: Callable[[dict[str, Any]], bool]) -> None:
        """Look at the state until it is so."""
        for _ in range(LOOKS):
            if is_so(state := self.state()):
                return
        raise AssertionError(f"it never came to be: {state}")

    def memory_bytes(self) -> int:
        """What the process holds in memory, without files that it has mapped."""
        assert self.process is not None
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return 1024 * sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Anonymous:"))

    def words(self) -> str:
        """What it logged."""
        return self.log.read_text() if self.log is not None else ""

    def stop(self) -> None:
        if self.process is None:
            return
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()


def client_context(root: str, *protocols: str) -> ssl.SSLContext:
    """A client that trusts the tests' authority."""
    context = ssl.create_default_context(cafile=root)
    context.set_alpn_protocols(list(protocols))
    return context
