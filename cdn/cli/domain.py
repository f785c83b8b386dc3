"""`cdn domain`: add, check, list, show, rm, certificate."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.domain_lines import certificate_rows, domain_lines, head_line, record_lines
from cdn.cli.result import Document, ExitStatus, Result, receipt_lines, result_with_receipt
from cdn.cli.run import DEFAULT_WAIT_S, DurationParser, JsonOption, NameParser, SiteOption, WaitOption, run
from cdn.cli.text import columns, in_time, safe
from cdn.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

LOOK_S = 20.0
"""How long one call of a longer wait takes: then what has changed is told."""

MAX_PEM_BYTES = 512 * 1024
"""A chain of ten certificates takes a tenth of it; what is longer is another file."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Custom domains of sites, and their certificates.")
certificate_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Certificates of domains.")
app.add_typer(certificate_app, name="certificate")


class RedirectTo(Enum):
    """Which of a name and its www visitors end up at."""

    APEX = "apex"
    WWW = "www"
    NONE = "none"


DomainArgument = Annotated[
    str,
    typer.Argument(
        metavar="DOMAIN",
        parser=NameParser,
        help="A host name, like www.example.com, or a wildcard like '*.example.com'.",
    ),
]
OwnerOption = Annotated[
    str | None,
    typer.Option("--site", parser=NameParser, help="Its site; looked up when left out.", metavar="NAME"),
]
LiveOption = Annotated[
    float | None,
    typer.Option(
        "--wait",
        parser=DurationParser,
        show_default=False,
        metavar="DURATION",
        help="Wait until it is answered over HTTPS, at most so long, like 5m. Exit status 3 when it was too short.",
    ),
]


@app.command()
def add(
    domain: DomainArgument,
    site: SiteOption,
    *,
    www: Annotated[
        bool | None,
        typer.Option("--www/--no-www", show_default=False, help="The name with (or without) www. too."),
    ] = None,
    redirect_to: Annotated[
        RedirectTo | None,
        typer.Option("--redirect-to", show_default=False, help="Which of the two visitors end up at; adds both."),
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Ask for no TXT record; needs a token with the scope admin.")
    ] = False,
    wait_s: LiveOption = None,
    is_json: JsonOption = False,
) -> None:
    """Answer a domain from a site: says which DNS records to set, and with --wait when it is done."""
    with_twin = www or (www is None and redirect_to is not None)

    async def work(client: ControlClient) -> Result:
        answer = await client.add_domain(
            site,
            domain,
            with_twin=with_twin,
            redirect=None if redirect_to is None else redirect_to.value,
            is_verified=verified,
            wait_s=DEFAULT_WAIT_S if wait_s is None else min(wait_s, DEFAULT_WAIT_S),
        )
        if wait_s is not None:
            return await _until_live(client, answer, wait_s, is_json=is_json)
        offers_twin = www is None and not with_twin and not await _has(client, answer["site"], answer["twin"])
        return _added(answer, offers_twin=offers_twin)

    run(work, is_json=is_json)


@app.command()
def check(
    domain: DomainArgument, site: OwnerOption = None, wait_s: LiveOption = None, is_json: JsonOption = False
) -> None:
    """Look at a domain now: each step with its evidence. Exit status 0 only when it is answered over HTTPS."""

    async def work(client: ControlClient) -> Result:
        owner, name = await _owned(client, domain, site)
        answer = await _looked(client, owner, name, wait_s or 0.0, _teller(is_json=is_json))
        return Result(answer, domain_lines(answer), _status([answer]))

    run(work, is_json=is_json)


@app.command("list")
def list_domains(
    site: Annotated[
        str | None, typer.Option("--site", parser=NameParser, help="Only this site's.", metavar="NAME")
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """List domains and claims."""

    async def work(client: ControlClient) -> Result:
        answer = await client.domains(site)
        rows = [_row(entry) for entry in answer["domains"]]
        if not rows:
            return Result(answer, ("there are no domains yet: cdn domain add DOMAIN --site NAME",))
        return Result(answer, columns(("domain", "site", "stage", "certificate until", "sends to"), rows))

    run(work, is_json=is_json)


@app.command()
def show(domain: DomainArgument, site: OwnerOption = None, is_json: JsonOption = False) -> None:
    """Show how far a domain is, the DNS records it needs, and what was seen when it was last looked at."""

    async def work(client: ControlClient) -> Result:
        owner, name = await _owned(client, domain, site)
        answer = await client.domain(owner, name)
        return Result(answer, (*domain_lines(answer), f"look now: cdn domain check {_typed(name)}"))

    run(work, is_json=is_json)


@app.command("rm")
def remove(
    domain: DomainArgument, site: OwnerOption = None, wait_s: WaitOption = DEFAULT_WAIT_S, is_json: JsonOption = False
) -> None:
    """Release a domain, or give up the claim on it."""

    async def work(client: ControlClient) -> Result:
        owner, name = await _owned(client, domain, site)
        answer = await client.remove_domain(owner, name, wait_s=wait_s)
        return result_with_receipt(answer, (f"{safe(name)} is released",), answer["receipt"])

    run(work, is_json=is_json)


@certificate_app.command("set")
def set_certificate(
    domain: DomainArgument,
    certificate: Annotated[
        Path, typer.Option("--certificate", metavar="FILE", help="The chain in PEM form, the domain's own first.")
    ],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Its private key in PEM form.")],
    site: OwnerOption = None,
    is_json: JsonOption = False,
) -> None:
    """Serve a domain with a certificate of your own. It is neither renewed nor replaced for you."""

    async def work(client: ControlClient) -> Result:
        owner, name = await _owned(client, domain, site)
        chain, private = await asyncio.to_thread(_pem, certificate), await asyncio.to_thread(_pem, key)
        answer = await client.set_certificate(owner, name, chain, private)
        until = in_time(answer["certificate"]["not_after"])
        return Result(answer, (f"{safe(name)} is served with your certificate, which ends {until}",))

    run(work, is_json=is_json)


@certificate_app.command("rm")
def release_certificate(domain: DomainArgument, site: OwnerOption = None, is_json: JsonOption = False) -> None:
    """Get certificates automatically again."""

    async def work(client: ControlClient) -> Result:
        owner, name = await _owned(client, domain, site)
        answer = await client.release_certificate(owner, name)
        line = f"yours is served until another has come for {safe(name)}: {_check_command(name)}"
        return Result(answer, (line,))

    run(work, is_json=is_json)


@certificate_app.command("list")
def list_certificates(is_json: JsonOption = False) -> None:
    """List certificates, the one that ends first at the top."""

    async def work(client: ControlClient) -> Result:
        answer = await client.certificates()
        rows = certificate_rows(answer["certificates"])
        if not rows:
            return Result(answer, ("there are no certificates yet",))
        return Result(answer, columns(("name", "site", "until", "state", "from"), rows))

    run(work, is_json=is_json)


def _added(answer: Document, *, offers_twin: bool) -> Result:
    """What was recorded; a claim is done with that, and a domain once every node answers it."""
    lines = [line for each in (answer, *answer["others"]) for line in _told(each)]
    name, twin = answer["domain"], answer["twin"]
    if offers_twin and twin is not None:
        site = safe(answer["site"])
        lines.append(
            f"visitors try {safe(twin)} too: cdn domain add {_typed(name)} --site {site} --redirect-to apex adds it, "
            "and sends them to the name without www"
        )
    claimed = [each["domain"] for each in (answer, *answer["others"]) if not each["verified"]]
    if claimed:
        lines.append(f"when they are set: {' && '.join(map(_check_command, claimed))}")
    receipt = answer["receipt"]
    if receipt is None or not answer["verified"]:
        return Result(answer, tuple(lines))
    return result_with_receipt(answer, tuple(lines), receipt)


def _told(domain: Document) -> tuple[str, ...]:
    if domain["verified"]:
        return (f"{safe(domain['domain'])} is answered from site {safe(domain['site'])}",)
    return (head_line(domain), *record_lines(domain))


async def _until_live(client: ControlClient, added: Document, wait_s: float, *, is_json: bool) -> Result:
    """The domain, and its twin if that was added too, once both are live or the time is over."""
    until, tell = time.monotonic() + wait_s, _teller(is_json=is_json)
    for each in (added, *added["others"]):
        for line in record_lines(each):
            tell(line)
    looked = [
        await _looked(client, each["site"], each["domain"], until - time.monotonic(), tell)
        for each in (added, *added["others"])
    ]
    answer = {**added, **looked[0], "others": looked[1:]}
    lines = [line for each in looked for line in domain_lines(each)]
    receipt = added["receipt"]
    if receipt is not None and added["verified"]:
        lines += receipt_lines(receipt)
    return Result(answer, tuple(lines), _status(looked))


async def _looked(
    client: ControlClient, site: str, domain: str, wait_s: float, tell: Callable[[str], None]
) -> Document:
    """The domain after a look, and after as many more as fit into the time; what changes meanwhile is told."""
    until, said = time.monotonic() + wait_s, ""
    while True:
        left_s = max(0.0, until - time.monotonic())
        answer = await client.check_domain(site, domain, wait_s=min(left_s, LOOK_S))
        if _is_live(answer) or left_s <= LOOK_S:
            return answer
        line = answer["fault"] or answer["waits_for"]
        if line and line != said:
            tell(f"{head_line(answer)}: {safe(line)}")
            said = line


def _teller(*, is_json: bool) -> Callable[[str], None]:
    """Says on stderr, to people only, what happens while a command waits."""
    return (lambda line: None) if is_json else (lambda line: print(line, file=sys.stderr, flush=True))


def _status(domains: list[Document]) -> ExitStatus:
    return ExitStatus.DONE if all(map(_is_live, domains)) else ExitStatus.NOT_COMPLETE


def _is_live(domain: Document) -> bool:
    return bool(domain["stage"] == "live")


def _row(entry: Document) -> tuple[str, ...]:
    certificate = entry["certificate"]
    until = "-" if certificate is None else in_time(certificate["not_after"])
    return (entry["domain"], entry["site"], entry["stage"], until, entry["redirect_to"] or "-")


async def _has(client: ControlClient, site: str, domain: str | None) -> bool:
    return domain is not None and any(each["domain"] == domain for each in (await client.domains(site))["domains"])


async def _owned(client: ControlClient, domain: str, site: str | None) -> tuple[str, str]:
    """The site of a domain or claim, and the name as control knows it. Raises NotFound, InvalidInput."""
    name = _known_form(domain)
    if site is not None:
        return site, name
    sites = [str(entry["site"]) for entry in (await client.domains())["domains"] if entry["domain"] == name]
    if not sites:
        raise NotFound(f"no site of yours has the domain {domain}")
    if len(sites) > 1:
        raise InvalidInput(f"several sites of yours claim {domain}, say which with --site: {', '.join(sites)}")
    return sites[0], name


def _typed(name: str) -> str:
    """As it is typed in a shell, where the star of a wildcard stands for files."""
    return shlex.quote(safe(name))


def _check_command(name: str) -> str:
    return f"cdn domain check {_typed(name)} --wait 5m"


def _known_form(domain: str) -> str:
    """As control lists it, where it is a name at all; what is none is looked for as it stands."""
    from cdn.sites.domain import normalise_domain

    wildcard, bare = ("*.", domain[2:]) if domain.startswith("*.") else ("", domain)
    try:
        return wildcard + normalise_domain(bare)
    except InvalidInput:
        return domain.lower().rstrip(".") or domain


def _pem(file: Path) -> str:
    """Raises InvalidInput."""
    try:
        with file.open("rb") as source:
            raw = source.read(MAX_PEM_BYTES + 1)
    except OSError as exc:
        raise InvalidInput(f"{file} cannot be read: {exc.strerror}") from exc
    if len(raw) > MAX_PEM_BYTES:
        raise InvalidInput(f"{file} has more than {MAX_PEM_BYTES} bytes: it is no file of certificates")
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"{file} is not in PEM form: convert it with openssl x509 or openssl pkey") from exc
