"""`cdn hook`: create, list, rotate, rm, deliveries."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdn.cli.hook_lines import delivery_lines, delivery_rows, hook_rows, made_lines, refused_rows
from cdn.cli.result import Result
from cdn.cli.run import DurationParser, JsonOption, NameParser, SiteOption, run
from cdn.cli.text import columns, safe
from cdn.errors import InvalidInput, NotFound
from cdn.purge.hook import OutboundEvent

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

MAX_SECRET_BYTES = 1024
"""Of a file that holds a secret."""

LISTED = 20
"""Deliveries shown unless told otherwise: a screen."""

OUTBOUND_EVENTS = tuple(event.value for event in OutboundEvent)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Hooks: messages of others that purge or activate, and messages of ours about what happened.",
)


class Sender(Enum):
    """Who signs, and how."""

    GITHUB = "github"
    GITLAB = "gitlab"
    BITBUCKET = "bitbucket"
    STRIPE = "stripe"
    STANDARD = "standard"
    TOKEN = "token"  # noqa: S105 - a word


HookArgument = Annotated[
    str | None,
    typer.Argument(metavar="HOOK", parser=NameParser, help="Its id; may be left out where the site has one hook only."),
]
Templates = list[str]


@app.command()
def create(  # noqa: PLR0917 - options
    site: SiteOption,
    sender: Annotated[
        Sender | None,
        typer.Option("--from", help="Receive messages of this vendor, or signed like them.", show_default=False),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--to", metavar="URL", help="Send messages there.", show_default=False)
    ] = None,
    events: Annotated[
        Templates | None,
        typer.Option(
            "--event",
            metavar="NAME",
            help="Only these events, like push; with --to, like deploy.live. All when left out.",
        ),
    ] = None,
    branches: Annotated[
        Templates | None, typer.Option("--branch", metavar="PATTERN", help="Only of these branches, like release/*.")
    ] = None,
    conditions: Annotated[
        Templates | None,
        typer.Option("--when", metavar="/POINTER=VALUE", help="Only where it says so, like /action=published."),
    ] = None,
    purge_urls: Annotated[
        Templates | None,
        typer.Option("--purge-url", metavar="TEMPLATE", help="Purge this URL; {/POINTER} is filled in."),
    ] = None,
    purge_prefixes: Annotated[
        Templates | None, typer.Option("--purge-prefix", metavar="TEMPLATE", help="Purge what begins like this.")
    ] = None,
    purge_tags: Annotated[
        Templates | None, typer.Option("--purge-tag", metavar="TEMPLATE", help="Purge what has this cache tag.")
    ] = None,
    purges_all: Annotated[bool, typer.Option("--purge-all", help="Purge everything of the site.")] = False,
    is_soft: Annotated[bool, typer.Option("--soft", help="Make stale instead of unusable.")] = False,
    resyncs: Annotated[
        bool, typer.Option("--resync", help="Purge the objects of the site's bucket that the message names.")
    ] = False,
    deploy: Annotated[
        str | None, typer.Option("--activate-deploy", metavar="TEMPLATE", help="Activate the deploy with this id.")
    ] = None,
    commit: Annotated[
        str | None, typer.Option("--activate-commit", metavar="TEMPLATE", help="The newest deploy of this commit.")
    ] = None,
    alias: Annotated[
        str | None, typer.Option("--activate-alias", metavar="TEMPLATE", help="What is active on this alias.")
    ] = None,
    on: Annotated[
        str | None, typer.Option("--on", metavar="ALIAS", help="Activate it there; production when left out.")
    ] = None,
    field: Annotated[
        str | None, typer.Option("--field", metavar="NAME", help="With --from token: the field that holds it.")
    ] = None,
    in_query: Annotated[
        bool, typer.Option("--in-query", help="With --from token: it may come as ?token=, which logs show.")
    ] = False,
    event_pointer: Annotated[
        str | None, typer.Option("--event-pointer", metavar="/POINTER", help="Where messages name their event.")
    ] = None,
    branch_pointer: Annotated[
        str | None, typer.Option("--branch-pointer", metavar="/POINTER", help="Where messages name their branch.")
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option("--tolerance", metavar="DURATION", help="How far a signed time may be off. [default: 5m]"),
    ] = None,
    secret_file: Annotated[
        str | None,
        typer.Option("--secret-file", metavar="FILE", help="The secret that the sender made; - reads it from stdin."),
    ] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="What it is for.")] = "",
    is_json: JsonOption = False,
) -> None:
    """Make a hook: give --from and what to do, or --to and what to tell of. Prints its secret, this once."""
    if (sender is None) == (url is None):
        raise typer.BadParameter("give one of --from (messages that come) and --to (messages that are sent)")
    purge = {"urls": purge_urls, "prefixes": purge_prefixes, "tags": purge_tags, "everything": purges_all}
    activation = {"deploy": deploy, "commit": commit, "alias": alias}
    content: dict[str, Any]
    if sender is None:
        if any((*purge.values(), *activation.values(), resyncs, branches, conditions, secret_file, on, is_soft)):
            raise typer.BadParameter("with --to there is only --event and --note")
        for unknown in set(events or ()) - set(OUTBOUND_EVENTS):
            raise typer.BadParameter(f"{unknown!r} is not sent: {', '.join(OUTBOUND_EVENTS)} are", param_hint="--event")
        content = {"outbound": _present(url=url, events=events, note=note)}
    else:
        inbound = _present(
            scheme=sender.value,
            action=_action(_present(**purge), _present(**activation), resyncs=resyncs, is_soft=is_soft, on=on),
            events=events,
            branches=branches,
            only_if=dict(map(_condition, conditions or ())),
            field=field,
            in_query=in_query,
            event_pointer=event_pointer,
            branch_pointer=branch_pointer,
            tolerance_s=None if tolerance is None else int(DurationParser(tolerance)),
            note=note,
        )
        content = {"inbound": inbound, **_secret(secret_file)}

    async def work(client: ControlClient) -> Result:
        answer = await client.create_hook(site, content)
        return Result(answer, made_lines(answer, client.endpoint.locate))

    run(work, is_json=is_json)


@app.command("list")
def list_hooks(site: SiteOption, is_json: JsonOption = False) -> None:
    """List a site's hooks, without their secrets."""

    async def work(client: ControlClient) -> Result:
        answer = await client.hooks(site)
        if not answer["hooks"]:
            return Result(answer, (f"{safe(site)} has no hooks; make one: cdn hook create --site {safe(site)} --help",))
        return Result(answer, columns(("id", "kind", "events", "does", "note"), hook_rows(answer["hooks"])))

    run(work, is_json=is_json)


@app.command()
def rotate(
    site: SiteOption,
    hook: HookArgument = None,
    keep: Annotated[
        str, typer.Option("--keep", metavar="DURATION", help="How long the secret before still counts; 0s ends it.")
    ] = "1d",
    secret_file: Annotated[
        str | None,
        typer.Option("--secret-file", metavar="FILE", help="The secret that the sender made; - reads it from stdin."),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Give a hook another secret, and print it, this once."""
    content = {"keep_s": DurationParser(keep), **_secret(secret_file)}

    async def work(client: ControlClient) -> Result:
        answer = await client.rotate_hook(site, await _the_hook(client, site, hook), content)
        return Result(answer, made_lines(answer, client.endpoint.locate))

    run(work, is_json=is_json)


@app.command()
def rm(site: SiteOption, hook: HookArgument = None, is_json: JsonOption = False) -> None:
    """Remove a hook: it receives and sends nothing more."""

    async def work(client: ControlClient) -> Result:
        answer = await client.remove_hook(site, await _the_hook(client, site, hook))
        return Result(answer, (f"hook {safe(answer['hook'])} is removed",))

    run(work, is_json=is_json)


@app.command()
def deliveries(
    site: SiteOption,
    hook: HookArgument = None,
    *,
    shown: Annotated[
        str | None, typer.Option("--show", metavar="ID", help="One message: every try, and what is sent.")
    ] = None,
    replay: Annotated[str | None, typer.Option("--replay", metavar="ID", help="Send this message again.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, metavar="N", help="List so many.")] = LISTED,
    is_json: JsonOption = False,
) -> None:
    """What came to a hook and what became of it, or what was sent and whether it was taken."""

    async def work(client: ControlClient) -> Result:
        hook_id = await _the_hook(client, site, hook)
        if replay is not None:
            answer = await client.replay_delivery(site, hook_id, replay)
            return Result(answer, (f"delivery {safe(replay)} is sent again, in its order",))
        if shown is not None:
            answer = await client.delivery(site, hook_id, shown)
            return Result(answer, delivery_lines(answer))
        answer = await client.deliveries(site, hook_id, limit=limit)
        lines: tuple[str, ...] = ("nothing came, and nothing was sent",)
        if answer["deliveries"]:
            lines = columns(("id", "at", "event", "state", "tries", "what became of it"), delivery_rows(answer))
        if answer["refused"]:
            lines = (*lines, "", "refused:", *columns(("at", "from", "why"), refused_rows(answer)))
        return Result(answer, lines)

    run(work, is_json=is_json)


async def _the_hook(client: ControlClient, site: str, hook: str | None) -> str:
    """The one that is named, or the only one. Raises NotFound, InvalidInput."""
    if hook is not None:
        return hook
    ids = [each["id"] for each in (await client.hooks(site))["hooks"]]
    if not ids:
        raise NotFound(f"The site {site!r} has no hooks.")
    if len(ids) > 1:
        raise InvalidInput(f"The site {site!r} has {len(ids)} hooks: say which one.", details=tuple(ids))
    return str(ids[0])


def _action(
    purge: dict[str, Any], activation: dict[str, Any], *, resyncs: bool, is_soft: bool, on: str | None
) -> dict[str, Any]:
    if sum((bool(purge), bool(activation), resyncs)) != 1:
        raise typer.BadParameter("say what to do: give one of --purge-..., --activate-... and --resync")
    if on is not None and not activation:
        raise typer.BadParameter("--on belongs to --activate-...")
    if is_soft and activation:
        raise typer.BadParameter("--soft belongs to --purge-... and --resync")
    if activation:
        return {"do": "activate", **activation, **_present(on=on)}
    return {"do": "resync" if resyncs else "purge", **purge, **_present(soft=is_soft)}


def _condition(text: str) -> tuple[str, str]:
    pointer, mark, value = text.partition("=")
    if not mark or not pointer.startswith("/"):
        raise typer.BadParameter(f"--when {text!r}: give it as /POINTER=VALUE, like /action=published")
    return pointer, value


def _present(**values: object) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in values.items() if value}


def _secret(file: str | None) -> dict[str, str]:
    """What the file says, without the line's end. Raises InvalidInput."""
    if file is None:
        return {}
    try:
        raw = sys.stdin.buffer.read(MAX_SECRET_BYTES + 1) if file == "-" else _read(Path(file))
        text = raw.decode("ascii")
    except (OSError, UnicodeDecodeError) as exc:
        raise typer.BadParameter(f"--secret-file {file}: it cannot be read as one line of ASCII") from exc
    if len(raw) > MAX_SECRET_BYTES or not text.strip():
        raise typer.BadParameter(f"--secret-file {file}: it is empty, or longer than a secret is")
    return {"secret": text.rstrip("\r\n")}


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_SECRET_BYTES + 1)
