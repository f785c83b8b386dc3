"""`cdn deploy`, `cdn deploys`, `cdn rollback`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.config import cache_dir
from cdn.cli.result import Document, Result, result_with_receipt
from cdn.cli.run import DEFAULT_WAIT_S, JsonOption, SiteOption, WaitOption, run
from cdn.cli.text import columns, counted, in_bytes, in_time, safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient
    from cdn.publish.deploy import Published

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
    message: Annotated[
        str, typer.Option("--message", "-m", help="What this deploy is, for the list.", metavar="TEXT")
    ] = "",
    wait_s: WaitOption = DEFAULT_WAIT_S,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read every file, also those not changed since the last deploy.")
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Upload what is missing, activate, and print the receipt."""
    from cdn.publish.backoff import Backoff

    _check_alias(alias, site)

    async def work(client: ControlClient) -> Result:
        from cdn.cli.progress import shown_progress
        from cdn.publish.deploy import Publication, publish

        publication = Publication(
            source,
            site,
            alias,
            message=message,
            wait_s=wait_s,
            digests_dir=cache_dir(os.environ) / "digests",
            rehash=rehash,
        )
        with shown_progress(is_json=is_json) as progress:
            published = await publish(client, publication, progress)
        return _result(published)

    run(work, is_json=is_json, backoff=Backoff())


def deploys(site: SiteOption, is_json: JsonOption = False) -> None:
    """List a site's deploys, newest first."""

    async def work(client: ControlClient) -> Result:
        answer = await client.deploys(site)
        rows = [_row(each) for each in answer["deploys"]]
        if not rows:
            return Result(answer, (f"site {safe(site)} has no deploys yet: cdn deploy FOLDER --site {safe(site)}",))
        return Result(
            answer, columns(("id", "made for", "active on", "when", "files", "size", "author", "message"), rows)
        )

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
    _check_alias(alias, site)

    async def work(client: ControlClient) -> Result:
        answer = await client.roll_back(site, to=to, alias=alias, wait_s=wait_s)
        line = f"{safe(answer['url'])} now answers from deploy {safe(answer['deploy']['id'])}"
        return result_with_receipt(answer, (line, *_unprepared(answer)), answer["receipt"])

    run(work, is_json=is_json)


def _check_alias(alias: str | None, site: str) -> None:
    """Before anything is read or sent. Raises typer.BadParameter."""
    if alias is None:
        return
    from cdn.errors import InvalidInput
    from cdn.sites.name import check_alias, check_pair

    try:
        check_pair(check_alias(alias), site)
    except InvalidInput as exc:
        raise typer.BadParameter(exc.message, param_hint="--alias") from exc


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


def _row(deploy: Document) -> tuple[str, ...]:
    return (
        deploy["id"],
        deploy["alias"],
        ", ".join(deploy["active_on"]) or "-",
        in_time(deploy["prepared_at"]),
        str(deploy["file_count"]),
        in_bytes(deploy["size_bytes"]),
        deploy["author"],
        deploy["message"] or "-",
    )
