"""A process that answers questions for `cdn dns`, started by it on the descriptors that it is handed. Nobody else has a
use for it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

from cdn.cli.child_process import run_child
from cdn.dns.answering_child import AnsweringChild
from cdn.interpreter import module_command

COMMAND = module_command("cdn.cli.answering_process")
"""Starts one; the number of its supervisor's process and those of descriptors follow (`answering_pool.descriptors`)."""


def answering_command() -> tuple[str, ...]:
    """How this process starts those that answer."""
    return (*COMMAND, str(os.getpid()))


def main(arguments: Sequence[str]) -> int:
    """Answer until the supervisor says otherwise, or is gone."""
    relay, udp, tcp = ([socket.socket(fileno=int(each)) for each in part.split(",")] for part in arguments[1:])
    return run_child(int(arguments[0]), "an answering process", lambda: AnsweringChild.run(udp, tcp, relay[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
