"""`cdn deploy`, `cdn deploys`, `cdn promote`, `cdn rollback`, `cdn rollforward`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.config import cache_dir
from cdn.cli.deploy_lines import DEPLOY_HEAD, deploy_row, difference_lines
from cdn.cli.preview_options import (
    PASSWORD_VARIABLE,
    ExpiresOption,
    PasswordOption,
    alias_option_of,
    expires_s_of,
    password_of,
)
from cdn.cli.result import Document, Result, result_with_receipt
from cdn.cli.run import DEFAULT_WAIT_S, JsonOption, NameParser, SiteOption, WaitOption, run
from cdn.cli.text import columns, counted, in_bytes, safe
from cdn.errors import NotFound
from cdn.sites.name import PRODUCTION

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient
    from cdn.publish.deploy import Published

_ID = re.compile("[0-9a-f]+")
"""What a deploy is called."""

LAST = "last"
"""Stands for the newest deploy."""

AliasOption = Annotated[
    str | None,
    typer.Option("--alias", help="Preview, at ALIAS--SITE; the site's own host when left out.", metavar="ALIAS"),
]


def _typed_source(text: str) -> Path:
    if not str(text).strip():
        raise typer.BadParameter("the folder is empty text: is a variable not set?")
    return Path(text)


def deploy(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR_OR_ARCHIVE", parser=_typed_source, help="A folder, .zip, .tar, .tar.gz or .tar.zst."
        ),
    ],
    *,
    site: SiteOption,
    alias: AliasOption = None,
    branch: Annotated[
        str | None,
        typer.Option("--branch", help="Preview of a source branch: feature/x is at feature-x--SITE.", metavar="BRANCH"),
    ] = None,
    message: Annotated[
        str | None,
        typer.Option(
            "--message",
            "-m",
            help="What this deploy is, for the list; the commit's subject if not given.",
            metavar="TEXT",
        ),
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option("--commit", help="What it was built from; as CI or git says if not given.", metavar="ID"),
    ] = None,
    password: PasswordOption = None,
    expires: ExpiresOption = None,
    wait_s: WaitOption = DEFAULT_WAIT_S,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read every file, also those not changed since the last deploy.")
    ] = False,
    is_check: Annotated[
        bool, typer.Option("--check", help="Say what is wrong with the bundle and its rules, and upload nothing.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Upload what is missing, activate, and print the receipt."""
    from cdn.publish.backoff import Backoff

    if is_check:
        _check(source, site, is_json=is_json)

    place = alias_option_of(alias, branch, site)
    if place in (None, PRODUCTION):
        _only_of_previews(password, expires)
        password = None
    secret, expires_s = password_of(password), expires_s_of(expires)

    async def work(client: ControlClient) -> Result:
        import asyncio

        from cdn.cli.progress import shown_progress
        from cdn.publish.deploy import Publication, publish
        from cdn.publish.source_revision import source_revision

        revision = await asyncio.to_thread(source_revision, source, os.environ)
        publication = Publication(
            source,
            site,
            place,
            message=revision.message if message is None else message,
            author=revision.author or None,
            wait_s=wait_s,
            digests_dir=cache_dir(os.environ) / "digests",
            rehash=rehash,
            commit=revision.commit if commit is None else commit,
            password=secret,
            expires_s=expires_s,
        )
        with shown_progress(is_json=is_json) as progress:
            published = await publish(client, publication, progress)
        return _result(published)

    run(work, is_json=is_json, backoff=Backoff())


def _check(source: Path, site: str, *, is_json: bool) -> None:
    """Ends the command: with status 0 when nothing keeps the bundle from being deployed."""

    async def work(client: ControlClient) -> Result:
        from cdn.cli.progress import shown_progress
        from cdn.publish.deploy import check

        with shown_progress(is_json=is_json) as progress:
            warnings = await check(client, source, site, progress)
        return Result({"warnings": warnings}, ("nothing keeps this from being deployed",))

    run(work, is_json=is_json)


def deploys(
    site: SiteOption,
    diff: Annotated[
        str | None,
        typer.Option(
            "--diff", help="Show what this deploy added, changed and removed; last: the newest.", metavar="ID|last"
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", help="With --diff: compare with this one, not the one before.", metavar="ID"),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """List a site's deploys, newest first, or compare two of them."""
    if against is not None and diff is None:
        raise typer.BadParameter("say which deploy to compare: --diff ID", param_hint="--against")

    async def work(client: ControlClient) -> Result:
        if diff is not None:
            found = await client.compare_deploys(site, await _diff_id(client, site, diff), against=against)
            return Result(found, difference_lines(found))
        answer = await client.deploys(site)
        rows = [deploy_row(each) for each in answer["deploys"]]
        if not rows:
            return Result(answer, (f"site {safe(site)} has no deploys yet: cdn deploy FOLDER --site {safe(site)}",))
        return Result(answer, columns(DEPLOY_HEAD, rows))

    run(work, is_json=is_json)


async def _diff_id(client: ControlClient, site: str, named: str) -> str:
    """Raises NotFound when the newest is asked for and there is none."""
    if named != LAST:
        return named
    listed = (await client.deploys(site))["deploys"]
    if not listed:
        raise NotFound(f"site {site} has no deploys yet")
    return str(listed[0]["id"])


def promote(
    what: Annotated[str, typer.Argument(metavar="ALIAS_OR_ID", parser=NameParser, help="A preview, or a deploy's id.")],
    *,
    site: SiteOption,
    alias: Annotated[
        str | None, typer.Option("--to", help="The alias to activate it on; production unless given.", metavar="ALIAS")
    ] = None,
    wait_s: WaitOption = DEFAULT_WAIT_S,
    is_json: JsonOption = False,
) -> None:
    """Activate a preview's deploy on production, without any upload, and print the receipt."""
    to = alias_option_of(alias, None, site)

    async def work(client: ControlClient) -> Result:
        deploy_id = _deploy_of(what, site, (await client.aliases(site))["aliases"])
        answer = await client.roll_back(site, to=deploy_id, alias=to, wait_s=wait_s)
        return _moved(answer)

    run(work, is_json=is_json)


def rollback(
    site: SiteOption,
    to: Annotated[
        str | None,
        typer.Option("--to", help="A deploy's id, also of a preview; the one before when left out.", metavar="ID"),
    ] = None,
    alias: AliasOption = None,
    wait_s: WaitOption = DEFAULT_WAIT_S,
    is_json: JsonOption = False,
) -> None:
    """Activate an earlier deploy, or with --to a preview's, and print the receipt."""
    place = alias_option_of(alias, None, site)

    async def work(client: ControlClient) -> Result:
        return _moved(await client.roll_back(site, to=to, alias=place, wait_s=wait_s))

    run(work, is_json=is_json)


def rollforward(
    site: SiteOption, alias: AliasOption = None, wait_s: WaitOption = DEFAULT_WAIT_S, is_json: JsonOption = False
) -> None:
    """Undo a rollback: activate the deploy that was active before it, and print the receipt."""
    place = alias_option_of(alias, None, site)

    async def work(client: ControlClient) -> Result:
        return _moved(await client.roll_forward(site, alias=place, wait_s=wait_s))

    run(work, is_json=is_json)


def _only_of_previews(password: str | None, expires: str | None) -> None:
    """A password that stands in the environment is meant for previews. Raises typer.BadParameter."""
    for name, given in (("--password", password), ("--expires", expires)):
        if given is not None and (name != "--password" or given != os.environ.get(PASSWORD_VARIABLE)):
            raise typer.BadParameter("only previews have it: name one with --alias or --branch", param_hint=name)


def _deploy_of(what: str, site: str, aliases: list[Document]) -> str:
    """The id of the deploy that is active on the alias `what`, or `what` itself. Raises NotFound."""
    found = next((each for each in aliases if each["alias"] == what), None)
    if found is None:
        if not _ID.fullmatch(what):
            raise NotFound(f"The site {site!r} has no deploy {what!r}, and no alias of that name.")
        return what
    if found["deploy"] is None:
        raise NotFound(f"nothing is active on the alias {what!r} of {site!r}")
    return str(found["deploy"])


def _moved(answer: Document) -> Result:
    line = f"{safe(answer['url'])} now answers from deploy {safe(answer['deploy']['id'])}"
    return result_with_receipt(answer, (line, *_unprepared(answer)), answer["receipt"])


def _result(published: Published) -> Result:
    answer = published.answer
    document = {
        **answer,
        "uploaded": {"blobs": published.uploaded_count, "size_bytes": published.uploaded_bytes},
        "seconds": dict(published.seconds),
        "warnings": published.warnings,
        "left_out": published.left_out,
    }
    lines = (
        f"{counted(published.file_count, 'file')}, {in_bytes(published.size_bytes)}; "
        f"uploaded {counted(published.uploaded_count, 'blob')}, {in_bytes(published.uploaded_bytes)}; "
        f"{sum(published.seconds.values()):.2f} s",
        f"deploy {safe(answer['deploy']['id'])} is active at {safe(answer['url'])}",
        *_unprepared(answer),
    )
    return result_with_receipt(document, lines, answer["receipt"])


def _unprepared(answer: Document) -> tuple[str, ...]:
    return tuple(f"node {safe(each['node'])} was not prepared: {safe(each['reason'])}" for each in answer["unprepared"])
