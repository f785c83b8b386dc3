"""`cdn site`: create, update, list, show, rm."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.help import CommandWithParts
from cdn.cli.result import Document, Result, result_with_receipt
from cdn.cli.run import DEFAULT_WAIT_S, JsonOption, NameArgument, WaitOption, run
from cdn.cli.site_settings import (
    BUNDLE,
    AddHeaderOption,
    BrowserTtlOption,
    ClientDirectivesOption,
    CompressesOption,
    ConnectTimeoutOption,
    EdgeTtlOption,
    EdgeTtlOverridesOption,
    HeaderOption,
    HstsOption,
    HstsPreloadOption,
    HstsSubdomainsOption,
    HttpsOption,
    KeepDeploysOption,
    KeepOption,
    NegativeTtlOption,
    NoHeadersOption,
    NoKeepOption,
    NoRegionsOption,
    OnDetachOption,
    OriginOption,
    PassOption,
    QueryOption,
    ReadTimeoutOption,
    RegionOption,
    RetentionOption,
    RetriesOption,
    RulesModeOption,
    SetCookieOption,
    SettingOptions,
    StaleIfErrorOption,
    StaleWhileRevalidateOption,
    UpstreamHostOption,
    header_rules,
    setting_lines,
)
from cdn.cli.text import columns, in_time, safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Sites: create, change, list and remove them.")


@app.command(cls=CommandWithParts)
def create(
    name: NameArgument,
    *,
    origin: OriginOption = None,
    edge_ttl: EdgeTtlOption = None,
    browser_ttl: BrowserTtlOption = None,
    retention: RetentionOption = None,
    keep: KeepOption = None,
    keep_deploys: KeepDeploysOption = None,
    header: HeaderOption = None,
    stale_if_error: StaleIfErrorOption = None,
    stale_while_revalidate: StaleWhileRevalidateOption = None,
    query: QueryOption = None,
    edge_ttl_overrides: EdgeTtlOverridesOption = None,
    negative_ttl: NegativeTtlOption = None,
    pass_time: PassOption = None,
    upstream_host: UpstreamHostOption = None,
    connect_timeout: ConnectTimeoutOption = None,
    read_timeout: ReadTimeoutOption = None,
    upstream_retries: RetriesOption = None,
    stores_set_cookie: SetCookieOption = None,
    compresses: CompressesOption = None,
    obeys_client_directives: ClientDirectivesOption = None,
    region: RegionOption = None,
    on_detach: OnDetachOption = None,
    rules_mode: RulesModeOption = None,
    https: HttpsOption = None,
    hsts: HstsOption = None,
    hsts_subdomains: HstsSubdomainsOption = None,
    hsts_preload: HstsPreloadOption = None,
    is_json: JsonOption = False,
) -> None:
    """Create a site: of bundles that are deployed to it, or with --origin in front of an HTTP server or a bucket.

    It answers under its own host name: from the first deploy on, or at once.
    """
    settings = SettingOptions(
        origin=origin,
        edge_ttl=edge_ttl,
        browser_ttl=browser_ttl,
        retention=retention,
        keep=keep,
        keep_deploys=keep_deploys,
        header=header,
        stale_if_error=stale_if_error,
        stale_while_revalidate=stale_while_revalidate,
        query=query,
        edge_ttl_overrides=edge_ttl_overrides,
        negative_ttl=negative_ttl,
        pass_time=pass_time,
        upstream_host=upstream_host,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        upstream_retries=upstream_retries,
        stores_set_cookie=stores_set_cookie,
        compresses=compresses,
        obeys_client_directives=obeys_client_directives,
        region=region,
        on_detach=on_detach,
        rules_mode=rules_mode,
        https=https,
        hsts=hsts,
        hsts_subdomains=hsts_subdomains,
        hsts_preload=hsts_preload,
    ).settings()

    async def work(client: ControlClient) -> Result:
        site = await client.create_site(name, settings)
        shown, origin = safe(site["name"]), site["settings"]["origin"]
        if origin == BUNDLE:
            then = f"upload it: cdn deploy FOLDER --site {shown}"
        else:
            then = f"it is answered from {safe(origin)}; when that changes: cdn purge --site {shown} --url /PATH"
        return Result(site, (f"site {shown} is at {safe(site['url'])}", then))

    run(work, is_json=is_json)


@app.command(cls=CommandWithParts)
def update(
    name: NameArgument,
    *,
    origin: OriginOption = None,
    edge_ttl: EdgeTtlOption = None,
    browser_ttl: BrowserTtlOption = None,
    retention: RetentionOption = None,
    keep: KeepOption = None,
    keep_deploys: KeepDeploysOption = None,
    no_keep: NoKeepOption = False,
    header: HeaderOption = None,
    add_header: AddHeaderOption = None,
    no_headers: NoHeadersOption = False,
    stale_if_error: StaleIfErrorOption = None,
    stale_while_revalidate: StaleWhileRevalidateOption = None,
    query: QueryOption = None,
    edge_ttl_overrides: EdgeTtlOverridesOption = None,
    negative_ttl: NegativeTtlOption = None,
    pass_time: PassOption = None,
    upstream_host: UpstreamHostOption = None,
    connect_timeout: ConnectTimeoutOption = None,
    read_timeout: ReadTimeoutOption = None,
    upstream_retries: RetriesOption = None,
    stores_set_cookie: SetCookieOption = None,
    compresses: CompressesOption = None,
    obeys_client_directives: ClientDirectivesOption = None,
    region: RegionOption = None,
    on_detach: OnDetachOption = None,
    rules_mode: RulesModeOption = None,
    https: HttpsOption = None,
    hsts: HstsOption = None,
    hsts_subdomains: HstsSubdomainsOption = None,
    hsts_preload: HstsPreloadOption = None,
    no_regions: NoRegionsOption = False,
    is_json: JsonOption = False,
) -> None:
    """Change settings of a site; what is not named stays as it is.

    --keep and --header replace all patterns and all rules that there are; --add-header adds to them.
    """
    if region and no_regions:
        raise typer.BadParameter("--no-regions goes without --region")
    if (keep and no_keep) or ((header or add_header) and no_headers):
        raise typer.BadParameter("--no-keep goes without --keep, and --no-headers without --header and --add-header")
    settings = SettingOptions(
        origin=origin,
        edge_ttl=edge_ttl,
        browser_ttl=browser_ttl,
        retention=retention,
        keep=keep,
        keep_deploys=keep_deploys,
        header=header,
        stale_if_error=stale_if_error,
        stale_while_revalidate=stale_while_revalidate,
        query=query,
        edge_ttl_overrides=edge_ttl_overrides,
        negative_ttl=negative_ttl,
        pass_time=pass_time,
        upstream_host=upstream_host,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        upstream_retries=upstream_retries,
        stores_set_cookie=stores_set_cookie,
        compresses=compresses,
        obeys_client_directives=obeys_client_directives,
        region=region,
        on_detach=on_detach,
        rules_mode=rules_mode,
        https=https,
        hsts=hsts,
        hsts_subdomains=hsts_subdomains,
        hsts_preload=hsts_preload,
    ).settings()
    if no_keep:
        settings["keep"] = []
    if no_headers:
        settings["header_rules"] = []
    if no_regions:
        settings["region"] = []
    added = header_rules(add_header or [])
    if not (settings or added):
        raise typer.BadParameter("name at least one setting to change")

    async def work(client: ControlClient) -> Result:
        if added:
            present = settings.get("header_rules") or (await client.site(name))["settings"]["header_rules"]
            settings["header_rules"] = [*present, *added]
        site = await client.change_site(name, settings)
        lines = [f"site {safe(site['name'])} is changed", *setting_lines(site["settings"], settings)]
        if site["purged"]:
            sequence = site["position"]["sequence"]
            lines.append(f"everything stored of it is purged, recorded as {sequence}: cdn receipt {sequence} --wait 1m")
        return Result(site, tuple(lines))

    run(work, is_json=is_json)


@app.command("list")
def list_sites(is_json: JsonOption = False) -> None:
    """List the sites this token may see."""

    async def work(client: ControlClient) -> Result:
        answer = await client.sites()
        rows = [_row(site) for site in answer["sites"]]
        if not rows:
            return Result(answer, ("there are no sites yet: cdn site create NAME",))
        return Result(answer, columns(("site", "url", "domains", "answers from", "created"), rows))

    run(work, is_json=is_json)


@app.command()
def show(name: NameArgument, is_json: JsonOption = False) -> None:
    """Show a site: where it answers, what it answers from, and its settings."""

    async def work(client: ControlClient) -> Result:
        site = await client.site(name)
        origin = site["settings"]["origin"]
        active = site["active"] or f"none yet: cdn deploy FOLDER --site {site['name']}"
        facts = [
            ("site", site["name"]),
            ("url", site["url"]),
            ("domains", ", ".join(site["domains"]) or "-"),
            ("active deploy", active) if origin == BUNDLE else ("origin", origin),
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
    origin = site["settings"]["origin"]
    source = (site["active"] or "-") if origin == BUNDLE else origin
    return (site["name"], site["url"], domains, source, in_time(site["created_at"]))
