"""`cdn geo`: update, show."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.result import Document, Result
from cdn.cli.run import JsonOption, run
from cdn.cli.text import in_bytes, safe
from cdn.errors import InvalidInput

if TYPE_CHECKING:
    from cdn.dns.geo_table import TableSummary
    from cdn.publish.client import ControlClient

MAX_NOTE_OCTETS = 1024
"""Control takes no longer one; a source that is longer is cut."""

DATABASE_SUFFIX = ".mmdb"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The table of places by which name servers choose the nearest node.",
)


@app.command()
def update(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            show_default=False,
            help="One or two databases in MaxMind's format (.mmdb; two: one for IPv4 and one for IPv6), or a table "
            "that was compiled before.",
        ),
    ] = None,
    *,
    default: Annotated[bool, typer.Option("--default", help="Go by the table that comes with the program.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Compile a database of places and send it to every name server. A city-level one takes about a minute."""
    if not files and not default:
        raise typer.BadParameter("give a FILE, or --default")
    if files and default:
        raise typer.BadParameter("give a FILE or --default, not both")

    async def work(client: ControlClient) -> Result:
        if not files:
            return _result(await client.reset_geography())
        with tempfile.TemporaryDirectory(prefix="cdn-geo-") as folder:
            table, summary = await asyncio.to_thread(_table_of, files, Path(folder))
            answer = await client.set_geography(table, digest=summary.digest, note=_note(summary.source))
        facts = {"places": summary.places, "ipv4_ranges": summary.ipv4_ranges, "ipv6_ranges": summary.ipv6_ranges}
        ranges = f"{summary.ipv4_ranges} ranges of IPv4 and {summary.ipv6_ranges} of IPv6 in {summary.places} places"
        return _result({**answer, **facts}, ranges)

    run(work, is_json=is_json)


@app.command()
def show(is_json: JsonOption = False) -> None:
    """Say by which table name servers go."""

    async def work(client: ControlClient) -> Result:
        return _result(await client.geography())

    run(work, is_json=is_json)


def _result(answer: Document, *more: str) -> Result:
    if not answer["digest"]:
        return Result(answer, ("name servers go by the table that comes with the program",))
    note = (safe(answer["note"]),) if answer["note"] else ()
    return Result(
        answer,
        (f"name servers go by {answer['digest']}, {in_bytes(answer['size_bytes'])}", *more, *note),
    )


def _table_of(files: list[Path], folder: Path) -> tuple[Path, TableSummary]:
    """The compiled table, made in `folder` where the files are databases. Raises InvalidInput."""
    from cdn.dns.geo_compile import compile_table

    try:
        if len(files) == 1 and files[0].suffix != DATABASE_SUFFIX:
            return files[0], _summary(files[0])
        table = folder / "table"
        return table, compile_table(files, table)
    except OSError as exc:
        raise InvalidInput(f"{os.fsdecode(exc.filename or files[0])} cannot be read: {exc.strerror}") from exc


def _summary(file: Path) -> TableSummary:
    """Of a table that was compiled before. Raises InvalidInput, OSError."""
    from cdn.dns.geo_files import checked_table

    try:
        return checked_table(file).summary
    except InvalidInput as exc:
        raise InvalidInput(f"{exc.message} (the name of a database ends in {DATABASE_SUFFIX})") from exc


def _note(source: str) -> str:
    return source.encode()[:MAX_NOTE_OCTETS].decode(errors="ignore")
