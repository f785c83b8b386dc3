"""`cdn takedown`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.result import ExitStatus, Result, receipt_lines, result_with_receipt
from cdn.cli.run import DEFAULT_WAIT_S, JsonOption, NameParser, WaitOption, run
from cdn.cli.text import columns, counted, in_time, safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

_DIGEST = re.compile(r"[0-9a-f]{64}")


def takedown(
    what: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="The URL of a file, or its SHA-256 (with --site or --everywhere)."),
    ] = None,
    *,
    site: Annotated[
        str | None, typer.Option("--site", parser=NameParser, metavar="NAME", help="With a SHA-256: of which site.")
    ] = None,
    is_everywhere: Annotated[
        bool, typer.Option("--everywhere", help="The same content on every site, now and from now on.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the list.")] = "",
    is_lift: Annotated[bool, typer.Option("--lift", help="Let it be uploaded and deployed again.")] = False,
    is_list: Annotated[bool, typer.Option("--list", help="Show what is taken down.")] = False,
    wait_s: WaitOption = DEFAULT_WAIT_S,
    is_json: JsonOption = False,
) -> None:
    """Take content down: nodes answer 410, the store loses it, and nobody uploads it or rolls back to it again."""
    if is_list:
        run(_listed, is_json=is_json)
    if what is None:
        raise typer.BadParameter("give the URL of a file, or --list")
    is_digest = _DIGEST.fullmatch(what) is not None
    if is_digest and (site is None) == (not is_everywhere):
        raise typer.BadParameter("of which site is this content? Give --site NAME or --everywhere")
    if site is not None and not is_digest:
        raise typer.BadParameter("a URL says which site is meant: leave --site out")
    if is_lift and not is_digest:
        raise typer.BadParameter("to lift it give the SHA-256 that --list shows: the URL leads there no more")
    given = {"digest": what, "site": site} if is_digest else {"url": what, "everywhere": is_everywhere}

    async def lift(client: ControlClient) -> Result:
        answer = await client.lift_takedown(what, site=site, wait_s=wait_s)
        lines = (f"{what} may be uploaded again; deploy it to bring it back",)
        return result_with_receipt(answer, lines, answer["receipt"])

    async def take_down(client: ControlClient) -> Result:
        answer = await client.take_down({**given, "reason": reason}, wait_s=wait_s)
        where = "everywhere" if answer["site"] is None else f"from site {safe(answer['site'])}"
        path = f" ({safe(answer['path'])})" if answer["path"] else ""
        removed = f"{counted(answer['removed'], 'object')} left the store"
        lines = (f"taken down {where}: {answer['digest']}{path}; {removed}", *receipt_lines(answer["receipt"]))
        is_done = answer["receipt"]["complete"]
        return Result(answer, lines, ExitStatus.DONE if is_done else ExitStatus.NOT_COMPLETE)

    run(lift if is_lift else take_down, is_json=is_json)


async def _listed(client: ControlClient) -> Result:
    answer = await client.takedowns()
    rows = [
        (one["digest"], safe(one["site"] or "everywhere"), in_time(one["at"]), safe(one["reason"]) or "-")
        for one in answer["takedowns"]
    ]
    lines = columns(("digest", "site", "since", "reason"), rows) if rows else ("nothing is taken down",)
    return Result(answer, tuple(lines))
