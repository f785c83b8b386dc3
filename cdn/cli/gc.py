"""`cdn gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdn.cli.result import ExitStatus, Result
from cdn.cli.run import DurationParser, JsonOption, run
from cdn.cli.text import counted, in_bytes, safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient


def collect(
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    grace_s: Annotated[
        float | None,
        typer.Option(
            "--grace",
            parser=DurationParser,
            metavar="DURATION",
            help="Remove what has been useless for this long, like 1h; a day unless control is set otherwise.",
        ),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Remove from the store what no deploy names any more. Control does so by itself a few times a day."""

    async def work(client: ControlClient) -> Result:
        request: dict[str, Any] = {"dry_run": is_dry}
        if grace_s is not None:
            request["grace_s"] = grace_s
        swept = await client.sweep_store(request)
        verb = "would be removed" if is_dry else "removed"
        lines = [
            f"{counted(swept['removed'], 'object')} {verb}, {in_bytes(swept['removed_bytes'])}, "
            f"of {swept['objects']} of {counted(swept['sites'], 'site')}",
        ]
        if swept["waiting"]:
            lines.append(f"{counted(swept['waiting'], 'object')} nothing names, but not for long enough: --grace 0s")
        if swept["pinned"]:
            lines.append(f"{counted(swept['pinned'], 'object')} an open upload has announced")
        lines += [f"not swept: {safe(fault)}" for fault in swept["faults"]]
        return Result(swept, tuple(lines), ExitStatus.FAILED if swept["faults"] else ExitStatus.DONE)

    run(work, is_json=is_json)
