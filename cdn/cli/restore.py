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
    from cdn.cli.data_folder import DataFolder
    from cdn.cli.new_journal import NewJournal
    from cdn.control.restoration import Restored

EndEpochOption = Annotated[
    str | None,
    typer.Option("--end-epoch", metavar="EPOCH", help="This epoch of the journal on NATS is given up for good."),
]
"""Shared with `cdn control move`."""


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """What the command was told."""

    store_url: str | None
    s3_endpoint: str | None
    data_dir: Path | None
    config: Path | None
    epoch: str | None
    accepts_loss: bool
    ends_epoch: str | None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the control plane is going to be, and its object store. `next_step` says how it is started then."""

    folder: DataFolder
    store_url: str
    s3_endpoint: str | None
    journal: NewJournal
    next_step: str
    is_shared: bool


def restore(  # noqa: PLR0917 - options
    store: Annotated[
        str | None,
        typer.Option("--store", envvar="CDN_STORE", metavar="URL", help="s3://BUCKET/PREFIX, or a folder."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="The data folder that is to be; one without a journal.")
    ] = None,
    s3_endpoint: Annotated[
        str | None,
        typer.Option("--s3-endpoint", envvar="CDN_S3_ENDPOINT", metavar="URL", help="An S3 that is not AWS."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="The settings of `cdn control`, in place of --store and --data."),
    ] = None,
    epoch: Annotated[
        str | None,
        typer.Option("--epoch", help="Which one to restore, where the store does not say which was the last."),
    ] = None,
    accepts_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Restore what comes before archived records that are damaged or gone."),
    ] = False,
    ends_epoch: EndEpochOption = None,
    is_json: JsonOption = False,
) -> None:
    """Rebuild a lost control plane from its object store, under a new epoch. Start it as usual afterwards."""
    for given, option in ((store, "--store"), (data, "--data")):
        if given is None and config is None:
            raise typer.BadParameter("it is needed, unless --config names the settings", param_hint=option)
    if config is not None and (data is not None or s3_endpoint is not None):
        raise typer.BadParameter("the settings say so already: leave it out", param_hint="--data, --s3-endpoint")
    if config is None and ends_epoch is not None:
        raise typer.BadParameter("it is for a journal on NATS, which --config names", param_hint="--end-epoch")
    order = RestoreOrder(store, s3_endpoint, data, config, epoch, accepts_loss, ends_epoch)
    raise typer.Exit(perform(lambda: _restore(order), is_json=is_json))


async def _restore(order: RestoreOrder) -> Result:
    from cdn.cli.data_folder import OWN_FOLDER
    from cdn.control.restoration import restore as restored_from
    from cdn.errors import Conflict, InvalidInput
    from cdn.origin.opening import open_store

    to = destination(order.config, order.ends_epoch) if order.config is not None else _folder_of(order)
    url, folder = to.store_url, to.folder
    if "://" not in url and not Path(url).is_dir():
        raise InvalidInput(f"there is no folder {url}: give the one with the bytes", field="store")
    async with contextlib.AsyncExitStack() as stack:
        try:
            stack.enter_context(folder.locked())
            await _require_no_journal(to)
            object_store = open_store(url, to.s3_endpoint)
            stack.push_async_callback(object_store.aclose)
            chosen = OWN_FOLDER if url == str(folder.path / "store") and order.config is None else url

            async def begin(epoch: str, after: int) -> None:
                folder.settle_store(chosen, to.s3_endpoint)
                await to.journal.begin(epoch, after)

            restored = await restored_from(object_store, begin, epoch=order.epoch, accepts_loss=order.accepts_loss)
            await to.journal.remember(restored.nodes)
        except OSError as exc:
            where = exc.filename or folder.path
            raise Conflict(f"{where}: {exc.strerror}: give another folder with {folder.option}") from exc
    return Result(document_of(restored), tuple(lines_of(restored, to.next_step)))


def destination(config: Path, ends_epoch: str | None) -> Destination:
    """What the settings of `cdn control` say. Raises InvalidInput."""
    import os

    from cdn.cli.new_journal import JournalInFolder, JournalOnNats
    from cdn.cli.role_settings import read_control_role
    from cdn.errors import InvalidInput

    role = read_control_role(config, os.environ)
    folder, store, next_step = role.folder, role.store, f"`cdn control --config {config}`"
    if role.journal is None:
        if ends_epoch is not None:
            raise InvalidInput("--end-epoch is for a journal on NATS, and the settings have no servers in [journal]")
        way_out = f"give another folder with {folder.option}"
        in_folder = JournalInFolder(folder, way_out)
        return Destination(folder, store.url, store.endpoint_url, in_folder, next_step, is_shared=False)
    on_nats = JournalOnNats(role.journal, ends_epoch)
    next_step += ", and its other replicas"
    return Destination(folder, store.url, store.endpoint_url, on_nats, next_step, is_shared=True)


def _folder_of(order: RestoreOrder) -> Destination:
    """The data folder and the store that options named."""
    from cdn.cli.data_folder import DataFolder
    from cdn.cli.new_journal import JournalInFolder

    assert order.data_dir is not None, "one of the options is needed"
    assert order.store_url is not None, "one of the options is needed"
    folder = DataFolder(order.data_dir.absolute())
    url = order.store_url if "://" in order.store_url else str(Path(order.store_url).absolute())
    journal = JournalInFolder(folder, "give another folder with --data")
    next_step = f"`cdn up --data {folder.path}` or with `cdn control`"
    return Destination(folder, url, order.s3_endpoint, journal, next_step, is_shared=False)


async def _require_no_journal(to: Destination) -> None:
    """Raises Conflict."""
    from cdn.errors import Conflict
    from cdn.journal.sqlite import SqliteJournal

    if to.is_shared and await SqliteJournal.has_records(to.folder.journal):
        raise Conflict(
            f"{to.folder.path} has a journal, which is not lost: `cdn control move` takes all of it to NATS. Move "
            f"{to.folder.journal} away if it is not the one"
        )
    await to.journal.require_room()


def document_of(restored: Restored) -> Document:
    """What `--json` prints."""
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
        "zones": restored.zones,
        "nodes": [node.node_id for node in restored.nodes],
        "missing": restored.missing,
    }


def lines_of(restored: Restored, next_step: str) -> list[str]:
    """What is said to people."""
    sites, domains = counted(restored.sites, "site"), counted(restored.domains, "domain")
    done = "moved" if restored.is_whole else "restored"
    source = "record" if restored.is_whole else "archived record"
    lines = [
        f"{done} {sites}, {domains} and {counted(restored.tokens, 'token')}, from a snapshot at "
        f"{restored.snapshot_sequence} and {counted(restored.records, source)} after it",
        f"sequence {restored.position.sequence} of epoch {restored.former.epoch} is where the new epoch "
        f"{restored.position.epoch} goes on",
    ]
    if restored.missing is not None:
        lines.append(f"lost: {safe(restored.missing)}")
    tokens = "tokens work as before"
    if not restored.is_whole:
        tokens += ", and a new admin token is made at the start"
    lines += [
        "nothing is lost: the journal was there to its end" if restored.is_whole else _bound(restored.complete_until),
        f"nodes load all of it anew and validate what they have stored; {tokens}",
        f"next: start it as before, with {next_step}",
    ]
    return lines


def _bound(complete_until: float | None) -> str:
    """What may be lost, as one sentence."""
    window = "what was written in the last second before the loss, or while the object store took nothing, may be lost"
    if complete_until is None:
        return f"loss bound: {window}"
    until = datetime.fromtimestamp(complete_until, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"loss bound: everything up to {until} is there; {window}"
