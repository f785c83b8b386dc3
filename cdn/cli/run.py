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
from cdn.cli.hint import hint_for
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


def _typed_name(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("the name is empty: is a variable not set?")
    return text


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", parser=_typed_name, help="The site's name.")]
SiteOption = Annotated[str, typer.Option("--site", parser=_typed_name, help="The site's name.", metavar="NAME")]
WaitOption = Annotated[
    float,
    typer.Option(
        "--wait",
        parser=_typed_duration,
        show_default=False,
        metavar="DURATION",
        help="How long to wait for every node, like 30s or 2m; 10s unless given. Exit status 3 when it was too short.",
    ),
]
DurationParser = _typed_duration
NameParser = _typed_name


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
    except UnicodeEncodeError as exc:  # arguments may be any octets, and those that are no text come as lone surrogates
        print_error(InvalidInput(f"{exc.object!r} is not Unicode text"), is_json=is_json)
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
    """One sentence on stderr, a line per detail that adds to it, and the way out; with --json a document on stdout too.

    The field is a name of the API: the sentence says it in words, so only programs are given it.
    """
    field, details = (error.field, error.details) if isinstance(error, InvalidInput) else (None, ())
    hint = hint_for(error, os.environ)
    if is_json:
        document = {"message": error.message, "kind": type(error).__name__, "field": field, "details": details}
        print(json.dumps({"error": {**document, "hint": hint}}))
    print(f"cdn: {safe(error.message)}", file=sys.stderr)
    details = tuple(detail for detail in details if not _repeats(error.message, detail))
    for detail in details[:MAX_DETAIL_LINES]:
        print(f"  {safe(detail)}", file=sys.stderr)
    if len(details) > MAX_DETAIL_LINES:
        print(f"  and {len(details) - MAX_DETAIL_LINES} more", file=sys.stderr)
    if hint is not None:
        print(f"  {safe(hint)}", file=sys.stderr)


def _repeats(message: str, detail: str) -> bool:
    """Whether a detail (`urls[0]: It is no URL.`) says what the message says already."""
    return detail in message or detail.endswith(f": {message}")
