"""`cdn zone`: import, list, show, rm, sign."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.result import Document, Result
from cdn.cli.run import JsonOption, run
from cdn.cli.text import columns, counted, in_time, safe
from cdn.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

STDIN = "-"

ACTIVE = "active"
"""The stage of a key whose DS record belongs in the zone above."""

PUBLISHED = "published"
"""The stage of a key that does not sign yet: its DS record would be entered too early."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help="DNS zones that name servers answer for.")


def _typed_zone(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("the zone is empty text: is a variable not set?")
    return text


ZoneArgument = Annotated[str, typer.Argument(metavar="ZONE", parser=_typed_zone, help="Its name, like example.com.")]


@app.command("import")
def import_zone(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A zone file (RFC 1035); - is standard input.")],
    name: Annotated[
        str | None,
        typer.Option("--name", help="The zone's name; that of its SOA record when left out.", metavar="ZONE"),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Answer for a zone, or put this file in the place of what there was.

    It is checked first: with a fault in it nothing changes.
    """

    async def work(client: ControlClient) -> Result:
        text = await asyncio.to_thread(_text_of, file)
        zone = name or await _name_in(client, file, text)
        answer = await client.import_zone(zone, text, file=_shown(file))
        done = "is replaced" if answer["replaced"] else "is imported"
        line = f"zone {safe(answer['zone'])} {done}: {counted(answer['records'], 'record')}, recorded as "
        warnings = (safe(each) for each in answer.get("warnings", ()))
        return Result(answer, (f"{line}{answer['sequence']}", *warnings, "who has it already: cdn status"))

    run(work, is_json=is_json)


@app.command("list")
def list_zones(is_json: JsonOption = False) -> None:
    """List zones, the CDN's own first."""

    async def work(client: ControlClient) -> Result:
        answer = await client.zones()
        rows = [(zone["zone"], *_described(zone)) for zone in answer["zones"]]
        return Result(answer, columns(("zone", "records", "signed", "imported"), rows))

    run(work, is_json=is_json)


@app.command()
def show(zone: ZoneArgument, is_json: JsonOption = False) -> None:
    """Print a zone as a zone file, which can be imported again."""

    async def work(client: ControlClient) -> Result:
        answer = await client.zone(zone)
        if answer["own"]:
            return Result(answer, (f"{safe(answer['zone'])} is the CDN's own: its names are those of sites",))
        return Result(answer, tuple(safe(line) for line in answer["text"].splitlines()))

    run(work, is_json=is_json)


@app.command("rm")
def remove(zone: ZoneArgument, is_json: JsonOption = False) -> None:
    """Answer for a zone no longer."""

    async def work(client: ControlClient) -> Result:
        answer = await client.remove_zone(zone)
        return Result(answer, (f"zone {safe(answer['zone'])} is removed",))

    run(work, is_json=is_json)


@app.command()
def sign(
    zone: ZoneArgument,
    *,
    on: Annotated[bool, typer.Option("--on", help="Make a key, and sign with it.")] = False,
    off: Annotated[bool, typer.Option("--off", help="Sign no longer. The DS record has to be gone first.")] = False,
    roll: Annotated[bool, typer.Option("--roll", help="The next step towards a new key.")] = False,
    ds: Annotated[bool, typer.Option("--ds", help="Print only the DS records that the zone above shall have.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Sign a zone (DNSSEC), or show how it is signed and what has to be done next."""
    asked = [action for action, is_asked in (("on", on), ("off", off), ("roll", roll)) if is_asked]
    if len(asked) + ds > 1:
        raise typer.BadParameter("give one of --on, --off, --roll and --ds")

    async def work(client: ControlClient) -> Result:
        answer = await (client.change_signing(zone, asked[0]) if asked else client.signing(zone))
        if not ds:
            return Result(answer, _signing_lines(answer))
        if not (lines := _ds_lines(answer, lambda stage: stage == ACTIVE)):
            raise Conflict(_without_ds(answer))
        return Result(answer, lines)

    run(work, is_json=is_json)


def _described(zone: Document) -> tuple[str, str, str]:
    is_signed = "yes" if zone["signed"] else "no"
    return ("sites", is_signed, "-") if zone["own"] else (str(zone["records"]), is_signed, in_time(zone["set_at"]))


def _signing_lines(signing: Document) -> tuple[str, ...]:
    zone = safe(signing["zone"])
    if not signing["signed"]:
        return (f"{zone} is not signed: cdn zone sign {zone} --on",)
    rows = [(key["id"], str(key["key_tag"]), key["stage"], in_time(key["created_at"])) for key in signing["keys"]]
    step = (safe(signing["next_step"]),) if signing["next_step"] else ()
    ds_lines = _ds_lines(signing, lambda stage: stage != PUBLISHED)
    return (*columns(("key", "tag", "stage", "made"), rows), *ds_lines, *step)


def _without_ds(signing: Document) -> str:
    zone = safe(signing["zone"])
    if signing["signed"]:
        return f"{zone} shall have no DS record: signing is being switched off"
    return f"{zone} is not signed: cdn zone sign {zone} --on"


def _ds_lines(signing: Document, is_meant: Callable[[str], bool]) -> tuple[str, ...]:
    """Of the keys whose stage is meant."""
    return tuple(safe(key["ds"]) for key in signing["keys"] if is_meant(key["stage"]))


async def _name_in(client: ControlClient, file: str, raw: bytes) -> str:
    """The name of the zone that a file has the SOA record of. Raises InvalidInput for faults of the file, too."""
    from cdn.dns.zone_file import read_zone_file

    own = next(zone["zone"] for zone in (await client.zones())["zones"] if zone["own"])
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise InvalidInput(f"{_shown(file)}, line {line}: the text is not UTF-8") from exc
    return (await asyncio.to_thread(read_zone_file, text, file=_shown(file), cdn_zone=own)).zone


def _text_of(file: str) -> bytes:
    """Raises InvalidInput when it cannot be read."""
    from cdn.dns.zone_file import MAX_ZONE_FILE_BYTES

    try:
        if file == STDIN:
            raw = sys.stdin.buffer.read(MAX_ZONE_FILE_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(MAX_ZONE_FILE_BYTES + 1)
    except OSError as exc:
        raise InvalidInput(f"{_shown(file)} cannot be read: {exc.strerror}") from exc
    if len(raw) > MAX_ZONE_FILE_BYTES:
        raise InvalidInput(f"{_shown(file)} has more than {MAX_ZONE_FILE_BYTES} bytes: that is no zone file")
    return raw


def _shown(file: str) -> str:
    return "standard input" if file == STDIN else file
