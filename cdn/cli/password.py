"""`cdn password`: the hash of a password, for [[auth]] in cdn.toml."""

from __future__ import annotations

import getpass
import os
import secrets
import sys
from typing import Annotated

import typer

from cdn.cli.result import ExitStatus, Result
from cdn.cli.run import JsonOption, perform
from cdn.errors import InvalidInput

PASSWORD_VARIABLE = "CDN_PASSWORD"  # noqa: S105 - the name of a variable
SALT_BYTES = 16


def password(
    generate: Annotated[
        bool, typer.Option("--generate", help="Make a password too, and print it before its hash.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Print the hash of a password, to put into cdn.toml.

    The password is typed twice and not shown; a program gives it in the variable CDN_PASSWORD, or on a line of its
    standard input.
    """

    async def work() -> Result:
        from cdn.sites.password import hash_password

        given = secrets.token_urlsafe(18) if generate else _given_password()
        hashed = hash_password(given, secrets.token_bytes(SALT_BYTES))
        document = {"hash": hashed, **({"password": given} if generate else {})}
        return Result(document, ((given, hashed) if generate else (hashed,)))

    status = perform(work, is_json=is_json)
    if status is not ExitStatus.DONE:
        raise typer.Exit(status)


def _given_password() -> str:
    """Raises InvalidInput."""
    given = os.environ.get(PASSWORD_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != first:
        raise InvalidInput("the two are not the same: try again")
    return first
