"""`cdn node`: rm. `cdn status` lists nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.result import Result
from cdn.cli.run import JsonOption, run
from cdn.cli.text import safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The machines that answer visitors.")


@app.callback()
def _group() -> None:
    pass


@app.command("rm")
def remove(
    node: Annotated[str, typer.Argument(metavar="NODE", help="The name that `cdn status` shows.")],
    is_json: JsonOption = False,
) -> None:
    """Forget a node that will not come back: receipts no longer list it. One that may still serve is refused."""

    async def work(client: ControlClient) -> Result:
        answer = await client.forget_node(node)
        return Result(answer, (f"node {safe(node)} is forgotten",))

    run(work, is_json=is_json)
