"""A process that codes content for control, started by it on pipes. Nobody else has a use for it."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import BinaryIO

from cdn.cli.parent_death import die_with
from cdn.control.coding_work import HEAD_BYTES, CodingAnswer, framed, job_of, length_of, work
from cdn.errors import CdnError
from cdn.interpreter import module_command

COMMAND = module_command("cdn.cli.coding_process")
"""Starts one; the number of its control's process follows."""

NICENESS = 19
"""Whatever else the machine has to do goes first."""

MAX_MEMORY_BYTES = 1024**3
"""Address space: content of 16 MiB, its forms, and what the best level of each coding works with, twice over."""


def coding_command() -> tuple[str, ...]:
    """How this process starts those that code for it."""
    return (*COMMAND, str(os.getpid()))


def main(arguments: Sequence[str]) -> int:
    """Code what comes until nothing more does."""
    die_with(int(arguments[0]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group: control ends its processes
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    return serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(jobs: BinaryIO, answers: BinaryIO) -> int:
    """One job after the other. Content that makes it fail gets no forms; whatever else is wrong ends the process."""
    while head := jobs.read(HEAD_BYTES):
        job = job_of(jobs.read(length_of(head)))
        try:
            answer = work(job)
        except (CdnError, MemoryError) as exc:
            answer = CodingAnswer({}, (str(exc) or type(exc).__name__,))
        answers.write(framed(answer))
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
