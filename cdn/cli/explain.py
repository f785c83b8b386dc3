"""`cdn explain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdn.cli.result import Document, Result
from cdn.cli.run import JsonOption, run
from cdn.cli.text import safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient


def explain(
    url: Annotated[str, typer.Argument(metavar="URL", help="The URL as a visitor would ask for it.")],
    node: Annotated[str | None, typer.Option("--node", help="Ask this node only.", metavar="NODE")] = None,
    is_json: JsonOption = False,
) -> None:
    """Say why a URL is answered as it is: site, deploy, route, key, decision, floors."""

    async def work(client: ControlClient) -> Result:
        answer = await client.explain(url, node=node)
        return Result(answer, tuple(explanation_lines(answer)))

    run(work, is_json=is_json)


def explanation_lines(answer: Document) -> Iterator[str]:
    """What control and each node say, as indented lines that are safe for a terminal."""
    yield safe(answer["url"])
    if answer["site"] is None:
        yield f"  no site has the host {safe(answer['host'])}"
    else:
        yield f"  site {safe(answer['site'])}, alias {safe(str(answer['alias']))}, deploy {safe(str(answer['deploy']))}"
    yield f"  control is at sequence {answer['position']['sequence']}"
    for node in answer["nodes"]:
        yield f"node {safe(node['node'])}"
        if node["failure"] is not None:
            yield f"  {safe(node['failure'])}"
        else:
            yield from _tree(node["result"], 1)


def _tree(value: Any, depth: int) -> Iterator[str]:
    """JSON as indented lines."""
    indent = "  " * depth
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, dict | list) and inner:
                yield f"{indent}{safe(str(name))}:"
                yield from _tree(inner, depth + 1)
            else:
                yield f"{indent}{safe(str(name))}: {_scalar(inner)}"
    elif isinstance(value, list):
        for inner in value:
            yield from _tree(inner, depth)
    else:
        yield f"{indent}{_scalar(value)}"


def _scalar(value: Any) -> str:
    match value:
        case None | [] | {}:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return safe(str(value))
