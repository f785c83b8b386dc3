"""Options about who may see a preview, and until when."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cdn.cli.run import DurationParser

MAX_PASSWORD_LETTERS = 4096
"""Of one line of standard input; control says how long a password may be."""

PASSWORD_VARIABLE = "CDN_PREVIEW_PASSWORD"  # noqa: S105 - where it is, not what it is

PasswordOption = Annotated[
    str | None,
    typer.Option(
        "--password",
        envvar=PASSWORD_VARIABLE,
        show_envvar=False,
        help="What visitors of the preview have to give; - reads one line of standard input. "
        "CDN_PREVIEW_PASSWORD says it too.",
        metavar="TEXT",
    ),
]
ExpiresOption = Annotated[
    str | None,
    typer.Option("--expires", help="When the preview is over, from now, like 7d.", metavar="DURATION"),
]


def password_of(given: str | None) -> str | None:
    """The password that the option says. Raises typer.BadParameter."""
    if given == "-":
        given = sys.stdin.readline(MAX_PASSWORD_LETTERS).rstrip("\r\n")
    if given == "":
        raise typer.BadParameter("the password is empty: is a variable not set?", param_hint="--password")
    return given


def expires_s_of(given: str | None) -> float | None:
    """The seconds that the option says. Raises typer.BadParameter."""
    return None if given is None else DurationParser(given)


def alias_option_of(alias: str | None, branch: str | None, site: str) -> str | None:
    """The alias that --alias or --branch names, checked before anything is read or sent. Raises typer.BadParameter."""
    from cdn.errors import InvalidInput
    from cdn.sites.name import alias_of_branch, check_alias, check_pair

    if alias is not None and branch is not None:
        raise typer.BadParameter("give --alias or --branch, not both", param_hint="--branch")
    try:
        if branch is not None:
            return alias_of_branch(branch, site)
        if alias is not None:
            check_pair(check_alias(alias), site)
    except InvalidInput as exc:
        raise typer.BadParameter(exc.message, param_hint="--branch" if alias is None else "--alias") from exc
    return alias
