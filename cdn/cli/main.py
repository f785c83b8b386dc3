"""The command `cdn`. Subcommands live in modules of their own, imported when they are named."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from cdn import __version__
from cdn.cli.help import make_plain
from cdn.cli.result import ExitStatus
from cdn.cli.text import safe

COMMANDS = {
    "up": ("cdn.cli.up", "up"),
    "control": ("cdn.cli.control_command", "app"),
    "edge": ("cdn.cli.role", "edge"),
    "dns": ("cdn.cli.dns_command", "dns"),
    "site": ("cdn.cli.site", "app"),
    "deploy": ("cdn.cli.deploy", "deploy"),
    "deploys": ("cdn.cli.deploy", "deploys"),
    "promote": ("cdn.cli.deploy", "promote"),
    "rollback": ("cdn.cli.deploy", "rollback"),
    "rollforward": ("cdn.cli.deploy", "rollforward"),
    "alias": ("cdn.cli.alias", "app"),
    "domain": ("cdn.cli.domain", "app"),
    "purge": ("cdn.cli.purge", "purge"),
    "takedown": ("cdn.cli.takedown", "takedown"),
    "gc": ("cdn.cli.gc", "collect"),
    "receipt": ("cdn.cli.receipt", "receipt"),
    "status": ("cdn.cli.status", "status"),
    "node": ("cdn.cli.node", "app"),
    "explain": ("cdn.cli.explain", "explain"),
    "token": ("cdn.cli.token", "app"),
    "password": ("cdn.cli.password", "password"),
    "hook": ("cdn.cli.hook", "app"),
    "zone": ("cdn.cli.zone", "app"),
    "geo": ("cdn.cli.geo", "app"),
}
"""Where each command is: a module and a name in it, a function or a group of commands."""

ALSO = {"hooks": "hook"}
"""Other words for them, which the help does not list."""


GARBAGE_THRESHOLD = 100_000
"""Objects made before cycles among them are looked for: a command is short, and what it makes mostly stays. A server
goes back to the usual number, because there the length of a pause counts."""


class CommandGroup(TyperGroup):
    """Imports a command only when it is named: `cdn deploy` does not load what `cdn up` needs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]  # the names, for "did you mean"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Notes whether a program is reading."""
        ctx.obj = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. With --json, wrong usage is a document on stdout too."""
        try:
            return super().invoke(ctx)
        except TyperException as exc:
            if ctx.obj:
                print(_usage_document(exc))
            raise

    def get_params(self, ctx: Any) -> Any:
        """The options, shown without a type where they are flags."""
        return _plain(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, None when there is no such one."""
        place = COMMANDS.get(ALSO.get(cmd_name, cmd_name))
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
        for each in _with_inner(made):
            _plain(each.get_params(ctx))
            make_plain(each)
        return made


def _with_inner(command: Any) -> Iterator[Any]:
    """The command, and those within it at whatever depth."""
    yield command
    for each in getattr(command, "commands", {}).values():
        yield from _with_inner(each)


def _usage_document(error: Any) -> str:
    """What `print_error` would print, of wrong usage."""
    context = getattr(error, "ctx", None)
    hint = None if context is None else f"see: {context.command_path} --help"
    document = {"message": error.format_message(), "kind": "Usage", "field": None, "details": [], "hint": hint}
    return json.dumps({"error": document})


def _plain(parameters: Any) -> Any:
    """The parameters; flags lose their type, since `--json <bool>` reads as if it took a value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A static-site and asset CDN: bundles in, websites out, purges acknowledged.",
    epilog=(
        "CDN_CONTROL_URL and CDN_TOKEN say which control plane to call and as whom; without them it is the one that "
        "`cdn up` started last for this user. A DURATION is a number with s, m, h, d or w, like 90s, 5m or 7d. "
        "Exit status: 0 done, 1 refused, 2 wrong usage, 3 recorded but not yet on every node."
    ),
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
    finally:
        gc.freeze()  # the process ends: looking for cycles among everything it made would take a tenth of a second


if __name__ == "__main__":
    main()
