"""`cdn site`: create, update, list, show, rm."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.result import Document, Result, result_with_receipt
from cdn.cli.run import DEFAULT_WAIT_S, JsonOption, NameArgument, WaitOption, run
from cdn.cli.site_settings import (
    AddHeaderOption,
    BrowserTtlOption,
    EdgeTtlOption,
    HeaderOption,
    KeepOption,
    NoHeadersOption,
    NoKeepOption,
    OriginOption,
    RetentionOption,
    StaleIfErrorOption,
    StaleWhileRevalidateOption,
    header_rules,
    setting_lines,
    settings_from_options,
)
from cdn.cli.text import columns, in_time, safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Sites: create, change, list and remove them.")


@app.command()
def create(
    name: NameArgument,
    *,
    origin: OriginOption = None,
    edge_ttl: EdgeTtlOption = None,
    browser_ttl: BrowserTtlOption = None,
    retention: RetentionOption = None,
    keep: KeepOption = None,
    header: HeaderOption = None,
    stale_if_error: StaleIfErrorOption = None,
    stale_while_revalidate: StaleWhileRevalidateOption = None,
    is_json: JsonOption = False,
) -> None:
    """Create a site; it answers under its own host name from the first deploy on."""
    settings = settings_from_options(
        origin=origin,
        edge_ttl=edge_ttl,
        browser_ttl=browser_ttl,
        retention=retention,
        keep=keep,
        header=header,
        stale_if_error=stale_if_error,
        stale_while_revalidate=stale_while_revalidate,
    )

    async def work(client: ControlClient) -> Result:
        site = await client.create_site(name, settings)
        lines = (
            f"site {safe(site['name'])} is at {safe(site['url'])}",
            f"upload it: cdn deploy FOLDER --site {safe(site['name'])}",
        )
        return Result(site, lines)

    run(work, is_json=is_json)


@app.command()
def update(
    name: NameArgument,
    *,
    origin: OriginOption = None,
    edge_ttl: EdgeTtlOption = None,
    browser_ttl: BrowserTtlOption = None,
    retention: RetentionOption = None,
    keep: KeepOption = None,
    no_keep: NoKeepOption = False,
    header: HeaderOption = None,
    add_header: AddHeaderOption = None,
    no_headers: NoHeadersOption = False,
    stale_if_error: StaleIfErrorOption = None,
    stale_while_revalidate: StaleWhileRevalidateOption = None,
    is_json: JsonOption = False,
) -> None:
    """Change settings of a site; what is not named stays as it is.

    --keep and --header replace all patterns and all rules that there are; --add-header adds to them.
    """
    if (keep and no_keep) or ((header or add_header) and no_headers):
        raise typer.BadParameter("--no-keep goes without --keep, and --no-headers without --header and --add-header")
    settings = settings_from_options(
        origin=origin,
        edge_ttl=edge_ttl,
        browser_ttl=browser_ttl,
        retention=retention,
        keep=keep,
        header=header,
        stale_if_error=stale_if_error,
        stale_while_revalidate=stale_while_revalidate,
    )
    if no_keep:
        settings["keep"] = []
    if no_headers:
        settings["header_rules"] = []
    added = header_rules(add_header or [])
    if not (settings or added):
        raise typer.BadParameter("name at least one setting to change")

    async def work(client: ControlClient) -> Result:
        if added:
            present = settings.get("header_rules") or (await client.site(name))["settings"]["header_rules"]
            settings["header_rules"] = [*present, *added]
        site = await client.change_site(name, settings)
        shown = setting_lines({key: site["settings"][key] for key in settings})
        return Result(site, (f"site {safe(site['name'])} is changed", *shown))

    run(work, is_json=is_json)


@app.command("list")
def list_sites(is_json: JsonOption = False) -> None:
    """List the sites this token may see."""

    async def work(client: ControlClient) -> Result:
        answer = await client.sites()
        rows = [_row(site) for site in answer["sites"]]
        if not rows:
            return Result(answer, ("there are no sites yet: cdn site create NAME",))
        return Result(answer, columns(("site", "url", "domains", "active deploy", "created"), rows))

    run(work, is_json=is_json)


@app.command()
def show(name: NameArgument, is_json: JsonOption = False) -> None:
    """Show a site: where it answers, what it answers from, and its settings."""

    async def work(client: ControlClient) -> Result:
        site = await client.site(name)
        active = site["active"] or f"none yet: cdn deploy FOLDER --site {site['name']}"
        facts = [
            ("site", site["name"]),
            ("url", site["url"]),
            ("domains", ", ".join(site["domains"]) or "-"),
            ("active deploy", active),
            ("created", in_time(site["created_at"])),
        ]
        return Result(site, (*columns(facts[0], facts[1:]), "settings", *setting_lines(site["settings"])))

    run(work, is_json=is_json)


@app.command("rm")
def remove(
    name: NameArgument,
    wait_s: WaitOption = DEFAULT_WAIT_S,
    is_yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; a script is never asked.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Remove a site: purges it, revokes its tokens, releases its domains. There is no way back."""
    if not is_yes and not is_json and _is_terminal():
        typer.confirm(f"Remove site {safe(name)} with its deploys, domains and tokens for good?", abort=True)

    async def work(client: ControlClient) -> Result:
        answer = await client.remove_site(name, wait_s=wait_s)
        lines = [f"site {safe(name)} is removed"]
        lines += [f"released domain {safe(domain)}" for domain in answer["domains"]]
        lines += [f"revoked token {safe(token)}" for token in answer["tokens"]]
        return result_with_receipt(answer, tuple(lines), answer["receipt"])

    run(work, is_json=is_json)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _row(site: Document) -> tuple[str, ...]:
    domains = ", ".join(site["domains"]) or "-"
    return (site["name"], site["url"], domains, site["active"] or "-", in_time(site["created_at"]))
