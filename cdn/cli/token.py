"""`cdn token`: create, list, revoke."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdn.cli.result import Result
from cdn.cli.run import DurationParser, JsonOption, run
from cdn.cli.text import columns, in_time, safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Tokens and what they may do.")


@app.command()
def create(
    scope: Annotated[
        list[str],
        typer.Option(
            "--scope",
            help="deploy:SITE, purge:SITE, read:SITE, admin:SITE, node:NODE, dns:NAME; with commas or repeated.",
            metavar="SCOPES",
        ),
    ],
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", help="When it ends by itself, from now, like 90d; never when left out.", metavar="DURATION"
        ),
    ] = None,
    note: Annotated[str, typer.Option("--note", help="What it is for.", metavar="TEXT")] = "",
    aws: Annotated[
        bool, typer.Option("--aws", help="With an access key too, for AWS clients that purge (CloudFront's API).")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Make a token and print it, this once."""
    scopes = [part.strip() for text in scope for part in text.split(",") if part.strip()]
    if not scopes:
        raise typer.BadParameter("name at least one scope, like deploy:blog")
    expires_s = None if expires is None else DurationParser(expires)

    async def work(client: ControlClient) -> Result:
        answer = await client.create_token(scopes, expires_s=expires_s, note=note, aws=aws)
        lines = (
            safe(answer["token"]),
            *_access_key(answer),
            f"id {safe(answer['id'])}, scopes {safe(', '.join(answer['scopes']))}, expires {_expiry(answer)}; "
            "the token is shown this once",
        )
        return Result(answer, lines)

    run(work, is_json=is_json)


@app.command("list")
def list_tokens(is_json: JsonOption = False) -> None:
    """List tokens, without their secrets."""

    async def work(client: ControlClient) -> Result:
        answer = await client.tokens()
        rows = [
            (each["id"], ", ".join(each["scopes"]), in_time(each["created_at"]), _expiry(each), each["note"])
            for each in answer["tokens"]
        ]
        return Result(answer, columns(("id", "scopes", "created", "expires", "note"), rows))

    run(work, is_json=is_json)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `cdn token list` shows.")],
    is_json: JsonOption = False,
) -> None:
    """End a token, at once."""

    async def work(client: ControlClient) -> Result:
        answer = await client.revoke_token(token_id)
        return Result(answer, (f"token {safe(token_id)} is revoked",))

    run(work, is_json=is_json)


def _access_key(answer: Mapping[str, Any]) -> tuple[str, ...]:
    key = answer.get("aws")
    if key is None:
        return ()
    return (
        f"AWS_ACCESS_KEY_ID={safe(key['access_key_id'])}",
        f"AWS_SECRET_ACCESS_KEY={safe(key['secret_access_key'])}",
    )


def _expiry(token: dict[str, float | None]) -> str:
    at = token["expires_at"]
    return "never" if at is None else in_time(at)
