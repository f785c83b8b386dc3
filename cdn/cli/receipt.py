"""`cdn receipt`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.result import Document, Result, result_with_receipt
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
    is_all: Annotated[bool, typer.Option("--all", help="List every node, however many there are.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Show how far a deploy, purge or other change has come on every node."""

    async def work(client: ControlClient) -> Result:
        answer = await client.receipt(sequence, wait_s=wait_s)
        if is_all and len(answer["nodes"]) < sum(answer.get("counts", {}).values()):
            answer = await _with_all_nodes(client, sequence)
        return result_with_receipt(answer, (), answer)

    run(work, is_json=is_json)


async def _with_all_nodes(client: ControlClient, sequence: int) -> Document:
    """The receipt as it stands now, its pages put together: each node as it was when its page was made."""
    answer = await client.receipt(sequence, wait_s=0, listed="all")
    nodes, after = list(answer["nodes"]), answer["more_after"]
    while after is not None:
        page = await client.receipt(sequence, wait_s=0, listed="all", after=after)
        nodes, after = [*nodes, *page["nodes"]], page["more_after"]
    return {**answer, "nodes": nodes, "more_after": None}
