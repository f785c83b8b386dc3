"""A process that answers questions for `cdn dns`, started by it on the descriptors that it is handed. Nobody else has a
use for it."""

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
from cdn.dns.answering_child import AnsweringChild
from cdn.errors import CdnError

COMMAND = (sys.executable, "-m", "cdn.cli.answering_process")
"""Starts one; the number of its supervisor's process and those of descriptors follow (`answering_pool.descriptors`)."""


def answering_command() -> tuple[str, ...]:
    """How this process starts those that answer."""
    return (*COMMAND, str(os.getpid()))


def main(arguments: Sequence[str]) -> int:
    """Answer until the supervisor says otherwise, or is gone."""
    supervisor = int(arguments[0])
    relay, udp, tcp = ([socket.socket(fileno=int(each)) for each in part.split(",")] for part in arguments[1:])
    die_with(supervisor)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group: the supervisor ends its processes
    log_to_stderr(is_verbose=False)
    gc.set_threshold(*USUAL_GARBAGE_THRESHOLDS)
    try:
        uvloop.run(AnsweringChild.run(udp, tcp, relay[0]))
    except (CdnError, OSError) as exc:
        print(f"cdn: an answering process of {supervisor} ended: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
