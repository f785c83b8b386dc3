"""`cdn receipt`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.result import Result, result_with_receipt
from cdn.cli.run import DurationParser, JsonOption, run

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient


def receipt(
    sequence: Annotated[int, typer.Argument(metavar="SEQUENCE", help="What `recorded as` gave.")],
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait",
            parser=DurationParser,
            show_default=False,
            metavar="DURATION",
            help="How long to wait for every node, like 1m; not at all unless given.",
        ),
    ] = 0.0,
    is_json: JsonOption = False,
) -> None:
    """Show how far a deploy, purge or other change has come on every node."""

    async def work(client: ControlClient) -> Result:
        answer = await client.receipt(sequence, wait_s=wait_s)
        return result_with_receipt(answer, (), answer)

    run(work, is_json=is_json)
