"""A process that serves until it is told to stop: what `cdn up`, `cdn control` and `cdn edge` have in common."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import typer
import uvloop

from cdn.cli.result import ExitStatus
from cdn.cli.run import print_error
from cdn.cli.sd_notify import ServiceManager
from cdn.cli.text import safe
from cdn.errors import CdnError

KEPT_SOCKETS = "visitors"
"""The name under which a service manager keeps the listening sockets for the next process."""

USUAL_GARBAGE_THRESHOLDS = (700, 10, 10)
"""Those of Python, which the command raises for short runs."""


SWITCH_INTERVAL_S = 0.0005
"""How long a thread that has synced a record waits for a busy event loop to let it go on. A commit waits several times:
with the 5 ms of Python it takes tens of milliseconds on a node that is answering visitors."""


class Running(Protocol):
    """What has started and can be stopped."""

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """Listening sockets that may outlive this process."""
        ...

    async def withdraw(self) -> None:
        """Stop being chosen: say that it goes, while everything is still answered."""
        ...

    async def aclose(self) -> None:
        """Finish what is under way, keep what has to be kept, and end."""
        ...


@runtime_checkable
class Ending(Protocol):
    """What may come to an end of its own, and goes on when it is started anew."""

    async def until_ended(self) -> CdnError:
        """Why, once it has."""
        ...


@runtime_checkable
class Reopening(Protocol):
    """What may write a log whose file is moved away while it runs."""

    @property
    def may_reopen(self) -> bool:
        """Whether it does."""
        ...

    def reopen(self) -> None:
        """Open a new file under the same name."""
        ...


R = TypeVar("R", bound=Running)
S = TypeVar("S")


def log_to_stderr(*, is_verbose: bool) -> None:
    """Warnings, and with `is_verbose` what is usual as well."""
    logging.basicConfig(
        level=logging.INFO if is_verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def read_settings(read: Callable[[], S], *, is_json: bool) -> S:
    """The settings, or the end of the process with a line for every fault."""
    try:
        return read()
    except CdnError as exc:
        print_error(exc, is_json=is_json)
        raise typer.Exit(ExitStatus.FAILED) from exc


def serve(
    start: Callable[[Sequence[socket.socket] | None], Coroutine[Any, Any, R]],
    announce: Callable[[R], None],
    *,
    way_out: str,
) -> ExitStatus:
    """Run until SIGTERM or Ctrl-C. Errors become one sentence and a status.

    `start` is given the sockets that a service manager kept from the process before; None when there is no manager.
    `announce` is called once everything serves. `way_out` says what to change when a folder cannot be used.
    """
    _raise_descriptor_limit()
    gc.set_threshold(*USUAL_GARBAGE_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        uvloop.run(_serve(start, announce))
    except CdnError as exc:
        print_error(exc, is_json=False)
        return ExitStatus.FAILED
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        print(f"cdn: {safe(where + (exc.strerror or str(exc)))}: {way_out}", file=sys.stderr)
        return ExitStatus.FAILED
    return ExitStatus.DONE


async def _serve(
    start: Callable[[Sequence[socket.socket] | None], Coroutine[Any, Any, R]], announce: Callable[[R], None]
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    manager = ServiceManager.from_environ(os.environ)
    async with manager.watching():
        running = await start(manager.sockets)
        gc.freeze()  # what the start made stays: the collector need not walk all of it again and again
        try:
            reopen = _reopening(running)
            if reopen is not None:  # otherwise the signal ends the process, as it does when a terminal is closed
                loop.add_signal_handler(signal.SIGHUP, reopen)
            announce(running)
            if running.sockets:
                manager.keep(KEPT_SOCKETS, running.sockets)
            manager.ready()
            ended = await _until(stopping, running)
            manager.stopping()
            await running.withdraw()
        finally:
            await running.aclose()
    if ended is not None:
        raise ended


def _reopening(running: Running) -> Callable[[], None] | None:
    """What is to be done when a log was moved away; None where there is none."""
    return running.reopen if isinstance(running, Reopening) and running.may_reopen else None


async def _until(stopping: asyncio.Event, running: Running) -> CdnError | None:
    """Return when the process is told to stop, or with the reason when it cannot go on."""
    told = asyncio.create_task(stopping.wait())
    if not isinstance(running, Ending):
        await told
        return None
    ending = asyncio.create_task(running.until_ended())
    await asyncio.wait({told, ending}, return_when=asyncio.FIRST_COMPLETED)
    reason = None if told.done() else ending.result()
    for task in (told, ending):
        task.cancel()
    await asyncio.gather(told, ending, return_exceptions=True)
    return reason


def _raise_descriptor_limit() -> None:
    """As many connections as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
