"""Runs one command against control and ends the process as it deserves."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdn.cli.config import endpoint_from
from cdn.cli.duration import parse_duration
from cdn.cli.result import ExitStatus, Result
from cdn.cli.text import safe
from cdn.errors import CdnError, InvalidInput

if TYPE_CHECKING:
    from cdn.publish.backoff import Backoff
    from cdn.publish.client import ControlClient

MAX_DETAIL_LINES = 50
"""Details of an error shown to a person; --json has them all."""


DEFAULT_WAIT_S = 10.0
"""How long commands wait for every node unless told otherwise."""


def _typed_duration(text: str | float) -> float:
    try:
        return parse_duration(str(text))
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SiteOption = Annotated[str, typer.Option("--site", help="The site's name.", metavar="NAME")]
WaitOption = Annotated[
    float,
    typer.Option(
        "--wait",
        parser=_typed_duration,
        show_default="10s",
        metavar="DURATION",
        help="How long to wait for every node; exit status 3 when that was too short.",
    ),
]
DurationParser = _typed_duration


def run(
    work: Callable[[ControlClient], Coroutine[Any, Any, Result]], *, is_json: bool, backoff: Backoff | None = None
) -> None:
    """Does `work` with a client for the configured control plane, prints its result, and exits with its status."""
    raise typer.Exit(perform(lambda: _with_client(work, backoff), is_json=is_json))


def perform(work: Callable[[], Coroutine[Any, Any, Result]], *, is_json: bool) -> ExitStatus:
    """Runs a coroutine to its result, prints the result or the error, and says how it ended. Never raises."""
    import uvloop

    try:
        result: Result = uvloop.run(work())
    except CdnError as error:
        print_error(error, is_json=is_json)
        return ExitStatus.FAILED
    except KeyboardInterrupt:
        print("interrupted: run the command again to go on where it stopped", file=sys.stderr)
        return ExitStatus.INTERRUPTED
    lines = (json.dumps(result.document),) if is_json else result.lines
    for line in lines:
        print(line)
    return result.status


async def _with_client(work: Callable[[ControlClient], Coroutine[Any, Any, Result]], backoff: Backoff | None) -> Result:
    from cdn.publish.backoff import Backoff
    from cdn.publish.client import ControlClient

    patience = backoff or Backoff(attempts=3)  # a person is looking: about half a second
    async with ControlClient.open(endpoint_from(os.environ), patience) as client:
        return await work(client)


def print_error(error: CdnError, *, is_json: bool) -> None:
    """One sentence on stderr, with a line per detail; with --json the same as a document on stdout."""
    field, details = (error.field, error.details) if isinstance(error, InvalidInput) else (None, ())
    if is_json:
        document = {"message": error.message, "kind": type(error).__name__, "field": field, "details": details}
        print(json.dumps({"error": document}))
    print(f"cdn: {safe(error.message)}", file=sys.stderr)
    if field is not None:
        print(f"  field: {safe(field)}", file=sys.stderr)
    for detail in details[:MAX_DETAIL_LINES]:
        print(f"  {safe(detail)}", file=sys.stderr)
    if len(details) > MAX_DETAIL_LINES:
        print(f"  and {len(details) - MAX_DETAIL_LINES} more", file=sys.stderr)
