"""A worker as a process: started by its node, on the descriptors that it is handed. Nobody else has a use for it."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvloop

from cdn.cli.service import USUAL_GARBAGE_THRESHOLDS, log_to_stderr
from cdn.edge.worker import Worker
from cdn.errors import CdnError

_PR_SET_PDEATHSIG = 1

COMMAND = (sys.executable, "-m", "cdn.cli.worker_process")
"""Starts a worker; the number of its node's process and of two descriptors follow: where it listens, and its relay."""


def worker_command() -> tuple[str, ...]:
    """How this process starts its workers."""
    return (*COMMAND, str(os.getpid()))


def main(arguments: Sequence[str]) -> int:
    """Serve until the node says otherwise, or is gone."""
    node, listening, relay = (int(argument) for argument in arguments)
    _die_with(node)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group: the node drains its workers
    log_to_stderr(is_verbose=False)
    gc.set_threshold(*USUAL_GARBAGE_THRESHOLDS)
    try:
        uvloop.run(Worker.run(socket.socket(fileno=listening), socket.socket(fileno=relay)))
    except (CdnError, OSError) as exc:
        print(f"cdn: a worker of process {node} ended: {exc}", file=sys.stderr)
        return 1
    return 0


def _die_with(node: int) -> None:
    """No worker outlives its node, not even a stopped one: it would keep the port, and know nothing.

    Where the system has no such wish (only Linux has), the end of the relay says the same, to a worker that runs.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        if os.getppid() != node:
            os._exit(1)  # it died before it could be told


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
