"""A worker as a process: started by its node, on the descriptors that it is handed. Nobody else has a use for it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

from cdn.cli.child_process import run_child
from cdn.edge.worker import Worker
from cdn.interpreter import module_command

COMMAND = module_command("cdn.cli.worker_process")
"""Starts a worker; the number of its node's process and of two descriptors follow: where it listens, and its relay;
and where it listens for https, if it does."""


def worker_command() -> tuple[str, ...]:
    """How this process starts its workers."""
    return (*COMMAND, str(os.getpid()))


def main(arguments: Sequence[str]) -> int:
    """Serve until the node says otherwise, or is gone."""
    node, *descriptors = (int(argument) for argument in arguments)
    sockets = [socket.socket(fileno=each) for each in descriptors]
    return run_child(node, "a worker", lambda: Worker.run(*sockets))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
