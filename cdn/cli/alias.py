"""`cdn alias`: list, set, lock, unlock, rm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdn.cli.deploy_lines import ALIAS_HEAD, alias_lines, alias_row
from cdn.cli.preview_options import ExpiresOption, PasswordOption, expires_s_of, password_of
from cdn.cli.result import Result, result_with_receipt
from cdn.cli.run import DEFAULT_WAIT_S, JsonOption, NameParser, SiteOption, WaitOption, run
from cdn.cli.text import columns, safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Aliases of a site: previews at ALIAS--SITE, and production, the site's own host.",
)

AliasArgument = Annotated[
    str, typer.Argument(metavar="ALIAS", parser=NameParser, help="A preview's name, or production.")
]


@app.command("list")
def list_aliases(site: SiteOption, is_json: JsonOption = False) -> None:
    """List a site's aliases: what they answer from, who may see them and until when."""

    async def work(client: ControlClient) -> Result:
        answer = await client.aliases(site)
        if not answer["aliases"]:
            return Result(answer, (f"site {safe(site)} has no aliases yet: cdn deploy FOLDER --site {safe(site)}",))
        return Result(answer, columns(ALIAS_HEAD, [alias_row(each) for each in answer["aliases"]]))

    run(work, is_json=is_json)


@app.command("set")
def set_alias(
    alias: AliasArgument,
    site: SiteOption,
    *,
    password: PasswordOption = None,
    no_password: Annotated[bool, typer.Option("--no-password", help="Everybody may see it again.")] = False,
    expires: ExpiresOption = None,
    no_expires: Annotated[bool, typer.Option("--no-expires", help="It stays until it is removed.")] = False,
    wait_s: WaitOption = DEFAULT_WAIT_S,
    is_json: JsonOption = False,
) -> None:
    """Say who may see a preview, and until when; also before there is a deploy on it."""
    if no_password:
        password = None  # it may come from the environment
    if expires is not None and no_expires:
        raise typer.BadParameter("give --expires or --no-expires, not both", param_hint="--no-expires")
    asked: dict[str, Any] = {}
    if password is not None or no_password:
        asked["password"] = password_of(password)
    if expires is not None or no_expires:
        asked["expires_s"] = expires_s_of(expires)
    if not asked:
        raise typer.BadParameter("say what shall change: --password, --no-password, --expires or --no-expires")
    _change(site, alias, asked, wait_s, is_json=is_json)


@app.command()
def lock(
    alias: AliasArgument,
    site: SiteOption,
    *,
    reason: Annotated[
        str, typer.Option("--reason", "-m", help="Told to everybody who is refused.", metavar="TEXT")
    ] = "",
    wait_s: WaitOption = DEFAULT_WAIT_S,
    is_json: JsonOption = False,
) -> None:
    """Let no other deploy be activated: deploys, rollbacks and promotions to it are refused until it is unlocked."""
    _change(site, alias, {"lock": reason}, wait_s, is_json=is_json)


@app.command()
def unlock(
    alias: AliasArgument, site: SiteOption, *, wait_s: WaitOption = DEFAULT_WAIT_S, is_json: JsonOption = False
) -> None:
    """Let deploys be activated again."""
    _change(site, alias, {"lock": None}, wait_s, is_json=is_json)


@app.command()
def rm(
    alias: AliasArgument, site: SiteOption, *, wait_s: WaitOption = DEFAULT_WAIT_S, is_json: JsonOption = False
) -> None:
    """Remove a preview: nothing of it is reachable any more. Its deploys stay in the list."""

    async def work(client: ControlClient) -> Result:
        answer = await client.remove_alias(site, alias, wait_s=wait_s)
        return result_with_receipt(answer, (f"alias {safe(alias)} of {safe(site)} is removed",), answer["receipt"])

    run(work, is_json=is_json)


def _change(site: str, alias: str, asked: dict[str, Any], wait_s: float, *, is_json: bool) -> None:
    async def work(client: ControlClient) -> Result:
        answer = await client.set_alias(site, alias, asked, wait_s=wait_s)
        return result_with_receipt(answer, alias_lines(answer["alias"]), answer["receipt"])

    run(work, is_json=is_json)
