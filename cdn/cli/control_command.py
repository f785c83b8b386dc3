"""`cdn control` runs the role; `restore` rebuilds one that was lost, `move` takes its journal to NATS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdn.cli.move import move
from cdn.cli.restore import restore
from cdn.cli.role import CheckOption, ReadyOption, VerboseOption
from cdn.cli.role import control as run_control

app = typer.Typer(add_completion=False, invoke_without_command=True)
app.command("restore")(restore)
app.command("move")(move)


@app.callback()
def control(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings, a TOML file.")] = None,
    is_check: CheckOption = False,
    is_verbose: VerboseOption = False,
    is_json: ReadyOption = False,
) -> None:
    """Run the control plane until it is stopped; config/control.toml shows every setting."""
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise typer.BadParameter("it is needed: config/control.toml shows every setting", param_hint="--config")
    run_control(config, is_check, is_verbose, is_json)
