"""`cdn dns`: the name servers' role in a process of its own, from one settings file."""

from __future__ import annotations

import os

import typer

from cdn.cli.role import CheckOption, ConfigOption, ReadyOption, VerboseOption


def dns(
    config: ConfigOption, is_check: CheckOption = False, is_verbose: VerboseOption = False, is_json: ReadyOption = False
) -> None:
    """Answer DNS questions until it is stopped; config/dns.toml shows every setting."""
    from cdn.cli.dns_role import RunningDns
    from cdn.cli.dns_settings import read_dns_role
    from cdn.cli.service import log_to_stderr, read_settings, serve

    log_to_stderr(is_verbose=is_verbose)
    role = read_settings(lambda: read_dns_role(config, os.environ), is_json=is_json)
    if is_check:
        print(f"{config} can be used")
        return

    def announce(running: RunningDns) -> None:
        running.announce(is_json=is_json)

    way_out = "give another folder with data_dir in [dns]"
    raise typer.Exit(serve(lambda _: RunningDns.start(role), announce, way_out=way_out))
