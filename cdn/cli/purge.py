"""`cdn purge`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdn.cli.result import Result, result_with_receipt
from cdn.cli.run import DEFAULT_WAIT_S, JsonOption, SiteOption, WaitOption, run
from cdn.cli.text import safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

MAX_NAMED = 5
"""URLs, prefixes and tags of each that the answer repeats; the rest is counted."""


def purge(
    *,
    site: SiteOption,
    url: Annotated[
        list[str] | None, typer.Option("--url", help="A URL or a path; may be repeated.", metavar="URL")
    ] = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option("--prefix", help="Every path that begins so, like /blog/; may be repeated.", metavar="PREFIX"),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="Everything with this cache tag; may be repeated.", metavar="TAG")
    ] = None,
    is_everything: Annotated[bool, typer.Option("--all", help="Everything of the site.")] = False,
    is_soft: Annotated[
        bool, typer.Option("--soft", help="Make stale instead: may be served while it is validated.")
    ] = False,
    wait_s: WaitOption = DEFAULT_WAIT_S,
    is_json: JsonOption = False,
) -> None:
    """Purge stored responses of a site on every node, and print the receipt."""
    request: dict[str, Any] = {
        "urls": url or [],
        "prefixes": prefix or [],
        "tags": tag or [],
        "everything": is_everything,
        "soft": is_soft,
    }
    is_narrow = bool(url or prefix or tag)
    if not (is_narrow or is_everything):
        raise typer.BadParameter("say what to purge: --url, --prefix, --tag or --all")
    if is_narrow and is_everything:
        raise typer.BadParameter("--all covers everything of the site: leave out --url, --prefix and --tag, or --all")

    async def work(client: ControlClient) -> Result:
        bare = [each for each in url or [] if "?" not in each]
        # Asked first: after the purge a failure would say of what is done that it is not.
        has_more = bool(bare) and not is_json and await _stores_queries(client, site)
        receipt = await client.purge(site, request, wait_s=wait_s)
        named = _named(url, prefix, tag) or "everything"
        lines = [f"{'soft purge' if is_soft else 'purge'} of site {safe(site)}: {named}"]
        if has_more:
            lines.append(f"without a query only; with every query, and whatever begins so: --prefix {safe(bare[0])}")
        return result_with_receipt(receipt, tuple(lines), receipt)

    run(work, is_json=is_json)


async def _stores_queries(client: ControlClient, site: str) -> bool:
    """Whether the site may hold responses to one path with several queries."""
    settings = (await client.site(site))["settings"]
    return bool(settings["origin"] != "bundle" and settings["query"] != "drop")


def _named(urls: list[str] | None, prefixes: list[str] | None, tags: list[str] | None) -> str:
    """What is purged, the first few of each kind."""
    kinds = (("URL", urls), ("prefix", prefixes), ("tag", tags))
    return "; ".join(_some(kind, values) for kind, values in kinds if values)


def _some(kind: str, values: list[str]) -> str:
    more = f" and {len(values) - MAX_NAMED} more" if len(values) > MAX_NAMED else ""
    return f"{kind} {', '.join(map(safe, values[:MAX_NAMED]))}{more}"
