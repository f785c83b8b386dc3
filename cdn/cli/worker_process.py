"""A worker as a process: started by its node, on the descriptors that it is handed. Nobody else has a use for it."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvloop

from cdn.cli.parent_death import die_with
from cdn.cli.service import USUAL_GARBAGE_THRESHOLDS, log_to_stderr
from cdn.edge.worker import Worker
from cdn.errors import CdnError

COMMAND = (sys.executable, "-m", "cdn.cli.worker_process")
"""Starts a worker; the number of its node's process and of two descriptors follow: where it listens, and its relay."""


def worker_command() -> tuple[str, ...]:
    """How this process starts its workers."""
    return (*COMMAND, str(os.getpid()))


def main(arguments: Sequence[str]) -> int:
    """Serve until the node says otherwise, or is gone."""
    node, listening, relay = (int(argument) for argument in arguments)
    die_with(node)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
