"""`cdn control` and `cdn edge`: one role in a process of its own, from one settings file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[Path, typer.Option("--config", metavar="FILE", help="Settings, a TOML file.")]
CheckOption = Annotated[bool, typer.Option("--check", help="Only say whether the settings can be used.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Log what is usual as well, on stderr.")]
ReadyOption = Annotated[bool, typer.Option("--json", help="Print one JSON document when ready.")]


def control(
    config: ConfigOption, is_check: CheckOption = False, is_verbose: VerboseOption = False, is_json: ReadyOption = False
) -> None:
    """Run the control plane until it is stopped; config/control.toml shows every setting."""
    from cdn.cli.role_settings import read_control_role
    from cdn.cli.roles import RunningControl
    from cdn.cli.service import log_to_stderr, read_settings, serve

    log_to_stderr(is_verbose=is_verbose)
    role = read_settings(lambda: read_control_role(config, os.environ), is_json=is_json)
    if is_check:
        print(f"{config} can be used")
        return

    def announce(running: RunningControl) -> None:
        running.announce(is_json=is_json)

    way_out = "give another folder with data_dir in [control]"
    raise typer.Exit(serve(lambda _: RunningControl.start(role), announce, way_out=way_out))


def edge(
    config: ConfigOption, is_check: CheckOption = False, is_verbose: VerboseOption = False, is_json: ReadyOption = False
) -> None:
    """Run an edge node until it is stopped; config/edge.toml shows every setting."""
    from cdn.cli.role_settings import read_edge_role
    from cdn.cli.roles import RunningEdge
    from cdn.cli.service import log_to_stderr, read_settings, serve

    log_to_stderr(is_verbose=is_verbose)
    role = read_settings(lambda: read_edge_role(config, os.environ), is_json=is_json)
    if is_check:
        print(f"{config} can be used")
        return

    def announce(running: RunningEdge) -> None:
        running.announce(is_json=is_json)

    way_out = "give another folder with data_dir in [edge]"
    raise typer.Exit(serve(lambda kept: RunningEdge.start(role, kept), announce, way_out=way_out))
