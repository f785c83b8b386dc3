"""Ports of peers that cannot choose one by themselves, and waiting until something listens."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time

PATIENCE_S = 60.0


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    """Until it accepts connections. Raises RuntimeError when `process` ends before, or after a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with status {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{name} did not answer within {PATIENCE_S:g} s")
