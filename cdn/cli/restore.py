"""`cdn control restore`: a lost control plane from its object store alone."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdn.cli.result import Document, Result
from cdn.cli.run import JsonOption, perform
from cdn.cli.text import counted, safe

if TYPE_CHECKING:
    from cdn.control.restoration import Restored


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """What the command was told."""

    store_url: str
    s3_endpoint: str | None
    data_dir: Path
    epoch: str | None
    accepts_loss: bool


def restore(  # noqa: PLR0917 - options
    store: Annotated[
        str,
        typer.Option("--store", envvar="CDN_STORE", metavar="URL", help="s3://BUCKET/PREFIX, or a folder."),
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="The data folder that is to be; one without a journal.")
    ],
    s3_endpoint: Annotated[
        str | None,
        typer.Option("--s3-endpoint", envvar="CDN_S3_ENDPOINT", metavar="URL", help="An S3 that is not AWS."),
    ] = None,
    epoch: Annotated[
        str | None,
        typer.Option("--epoch", help="Which one to restore, where the store does not say which was the last."),
    ] = None,
    accepts_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Restore what comes before archived records that are damaged or gone."),
    ] = False,
    is_json: JsonOption = False,
) -> None:
    """Rebuild a lost control plane from its object store, under a new epoch. Start it as usual afterwards."""
    order = RestoreOrder(store, s3_endpoint, data.absolute(), epoch, accepts_loss)
    raise typer.Exit(perform(lambda: _restore(order), is_json=is_json))


async def _restore(order: RestoreOrder) -> Result:
    from cdn.cli.data_folder import OWN_FOLDER, DataFolder
    from cdn.control.node_directory import NodeDirectory
    from cdn.control.restoration import restore as restored_from
    from cdn.errors import Conflict, InvalidInput
    from cdn.journal.sqlite import SqliteJournal
    from cdn.origin.opening import open_store

    folder = DataFolder(order.data_dir)
    url = order.store_url if "://" in order.store_url else str(Path(order.store_url).absolute())
    if "://" not in url and not Path(url).is_dir():
        raise InvalidInput(f"there is no folder {url}: give the one with the bytes", field="store")
    async with contextlib.AsyncExitStack() as stack:
        try:
            stack.enter_context(folder.locked())
            if await SqliteJournal.has_records(folder.journal):
                raise Conflict(
                    f"{order.data_dir} has a journal, which is never written over: start control with it, or give "
                    "another folder with --data"
                )
            object_store = open_store(url, order.s3_endpoint)
            stack.push_async_callback(object_store.aclose)
            chosen = OWN_FOLDER if url == str(order.data_dir / "store") else url

            async def begin(epoch: str, after: int) -> None:
                folder.settle_store(chosen, order.s3_endpoint)
                await SqliteJournal.begin_epoch(folder.journal, epoch, after=after)

            restored = await restored_from(object_store, begin, epoch=order.epoch, accepts_loss=order.accepts_loss)
            await NodeDirectory.restore(folder.nodes, restored.nodes)
        except OSError as exc:
            where = exc.filename or order.data_dir
            raise Conflict(f"{where}: {exc.strerror}: give another folder with --data") from exc
    document = _document(restored)
    return Result(document, tuple(_lines(restored, order.data_dir)))


def _document(restored: Restored) -> Document:
    return {
        "epoch": restored.position.epoch,
        "sequence": restored.position.sequence,
        "former_epoch": restored.former.epoch,
        "complete_until": restored.complete_until,
        "snapshot_sequence": restored.snapshot_sequence,
        "records": restored.records,
        "sites": restored.sites,
        "domains": restored.domains,
        "tokens": restored.tokens,
        "nodes": [node.node_id for node in restored.nodes],
        "missing": restored.missing,
    }


def _lines(restored: Restored, data_dir: Path) -> list[str]:
    sites, domains = counted(restored.sites, "site"), counted(restored.domains, "domain")
    lines = [
        f"restored {sites}, {domains} and {counted(restored.tokens, 'token')}, from a snapshot at "
        f"{restored.snapshot_sequence} and {counted(restored.records, 'archived record')} after it",
        f"sequence {restored.position.sequence} of epoch {restored.former.epoch} is where the new epoch "
        f"{restored.position.epoch} goes on",
    ]
    if restored.missing is not None:
        lines.append(f"lost: {safe(restored.missing)}")
    lines += [
        _bound(restored.complete_until),
        "nodes load all of it anew and validate what they have stored; tokens work as before, and a new admin token is "
        "made at the start",
        f"next: start it as before, with `cdn up --data {data_dir}` or with `cdn control`",
    ]
    return lines


def _bound(complete_until: float | None) -> str:
    """What may be lost, as one sentence."""
    window = "what was written in the last second before the loss, or while the object store took nothing, may be lost"
    if complete_until is None:
        return f"loss bound: {window}"
    until = datetime.fromtimestamp(complete_until, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"loss bound: everything up to {until} is there; {window}"
