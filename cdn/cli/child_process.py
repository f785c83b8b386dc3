"""The life of a process that serves under a supervisor: it ends when that one says so, and never outlives it."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from cdn.cli.parent_death import die_with
from cdn.cli.service import USUAL_GARBAGE_THRESHOLDS, log_to_stderr
from cdn.errors import CdnError


def run_child(supervisor: int, called: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Serve until the supervisor, a process by this number, says otherwise or is gone. The exit status; `called` is
    what the process is in a message about why it ended."""
    die_with(supervisor)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they reach the whole group: the supervisor ends its processes
    log_to_stderr(is_verbose=False)
    gc.set_threshold(*USUAL_GARBAGE_THRESHOLDS)
    try:
        uvloop.run(serve())
    except (CdnError, OSError) as exc:
        print(f"cdn: {called} of process {supervisor} ended: {exc}", file=sys.stderr)
        return 1
    return 0
