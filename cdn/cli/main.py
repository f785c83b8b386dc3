"""The command `cdn`. Subcommands live in modules of their own, imported when they are named."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cdn import __version__
from cdn.cli.result import ExitStatus
from cdn.cli.text import safe

COMMANDS = {
    "up": ("cdn.cli.up", "up"),
    "site": ("cdn.cli.site", "app"),
    "deploy": ("cdn.cli.deploy", "deploy"),
    "deploys": ("cdn.cli.deploy", "deploys"),
    "rollback": ("cdn.cli.deploy", "rollback"),
    "domain": ("cdn.cli.domain", "app"),
    "purge": ("cdn.cli.purge", "purge"),
    "status": ("cdn.cli.status", "status"),
    "explain": ("cdn.cli.explain", "explain"),
    "token": ("cdn.cli.token", "app"),
}
"""Where each command is: a module and a name in it, a function or a group of commands."""


GARBAGE_THRESHOLD = 100_000
"""Objects made before cycles among them are looked for: a command is short, and what it makes mostly stays. A server
goes back to the usual number, because there the length of a pause counts."""


class CommandGroup(TyperGroup):
    """Imports a command only when it is named: `cdn deploy` does not load what `cdn up` needs."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, None when there is no such one."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, name = place
        command = getattr(import_module(module), name)
        if not isinstance(command, typer.Typer):
            group = typer.Typer(add_completion=False)
            group.command(cmd_name)(command)
            command = group
        made = typer.main.get_command(command)
        made.name = cmd_name
        return made


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A static-site and asset CDN: bundles in, websites out, purges acknowledged.",
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"cdn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line of this process. Ends with SystemExit; never shows a traceback."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    try:
        app(prog_name="cdn")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(ExitStatus.INTERRUPTED)
    except Exception as exc:  # noqa: BLE001 - the last line of defence: a sentence for the user, whatever it was
        print(f"cdn: unexpected {type(exc).__name__}: {safe(str(exc))}; please report this", file=sys.stderr)
        sys.exit(ExitStatus.FAILED)


if __name__ == "__main__":
    main()
