"""`cdn domain`: add, list, rm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.result import Result, result_with_receipt
from cdn.cli.run import DEFAULT_WAIT_S, JsonOption, SiteOption, WaitOption, run
from cdn.cli.text import columns, safe
from cdn.errors import NotFound

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Custom domains of sites.")

DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", help="A host name, like www.example.com.")]


@app.command()
def add(
    domain: DomainArgument, site: SiteOption, wait_s: WaitOption = DEFAULT_WAIT_S, is_json: JsonOption = False
) -> None:
    """Answer a domain from a site."""

    async def work(client: ControlClient) -> Result:
        answer = await client.add_domain(site, domain, wait_s=wait_s)
        line = f"{safe(answer['domain'])} is answered from site {safe(answer['site'])}"
        return result_with_receipt(answer, (line,), answer["receipt"])

    run(work, is_json=is_json)


@app.command("list")
def list_domains(
    site: Annotated[str | None, typer.Option("--site", help="Only this site's.", metavar="NAME")] = None,
    is_json: JsonOption = False,
) -> None:
    """List domains."""

    async def work(client: ControlClient) -> Result:
        answer = await client.domains(site)
        rows = [(entry["domain"], entry["site"]) for entry in answer["domains"]]
        if not rows:
            return Result(answer, ("there are no domains yet: cdn domain add DOMAIN --site NAME",))
        return Result(answer, columns(("domain", "site"), rows))

    run(work, is_json=is_json)


@app.command("rm")
def remove(
    domain: DomainArgument,
    site: Annotated[
        str | None, typer.Option("--site", help="Its site; looked up when left out.", metavar="NAME")
    ] = None,
    wait_s: WaitOption = DEFAULT_WAIT_S,
    is_json: JsonOption = False,
) -> None:
    """Release a domain."""

    async def work(client: ControlClient) -> Result:
        owner = site or await _owner(client, domain)
        answer = await client.remove_domain(owner, domain, wait_s=wait_s)
        return result_with_receipt(answer, (f"{safe(domain)} is released",), answer["receipt"])

    run(work, is_json=is_json)


async def _owner(client: ControlClient, domain: str) -> str:
    wanted = domain.lower().rstrip(".")
    for entry in (await client.domains())["domains"]:
        if entry["domain"] == wanted:
            return str(entry["site"])
    raise NotFound(f"no site of yours has the domain {domain}")
