"""`cdn control move`: the journal of one control goes to NATS JetStream, where several replicas share it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from cdn.cli.restore import EndEpochOption, destination, document_of, lines_of
from cdn.cli.result import Result
from cdn.cli.run import JsonOption, perform


def move(
    config: Annotated[
        Path, typer.Option("--config", metavar="FILE", help="The settings of `cdn control`, with the new [journal].")
    ],
    ends_epoch: EndEpochOption = None,
    is_json: JsonOption = False,
) -> None:
    """Take the journal of the data folder to NATS, under a new epoch, while control is stopped. Nothing is lost."""
    raise typer.Exit(perform(lambda: _move(config, ends_epoch), is_json=is_json))


async def _move(config: Path, ends_epoch: str | None) -> Result:
    from cdn.control.node_directory import NodeDirectory
    from cdn.control.restoration import restore
    from cdn.errors import Conflict, NotFound
    from cdn.journal.sqlite import SqliteJournal
    from cdn.origin.opening import open_store

    to = destination(config, ends_epoch)
    if not to.is_shared:
        raise Conflict(f"{config} names no NATS servers in [journal]: there is nothing to move to")
    folder = to.folder
    async with contextlib.AsyncExitStack() as stack:
        try:
            stack.enter_context(folder.locked())
            if not await SqliteJournal.has_records(folder.journal):
                raise NotFound(f"{folder.path} has no journal: {folder.option} names the folder that control used")
            await to.journal.require_room()
            folder.settle_store(to.store_url, to.s3_endpoint)
            object_store = open_store(to.store_url, to.s3_endpoint)
            stack.push_async_callback(object_store.aclose)
            journal = await SqliteJournal.open(folder.journal)
            stack.push_async_callback(journal.aclose)
            moved = await restore(object_store, to.journal.begin, journal=journal)
            directory = await NodeDirectory.open(folder.nodes)
            stack.push_async_callback(directory.aclose)
            await to.journal.remember(directory.kept())
        except OSError as exc:
            raise Conflict(f"{exc.filename or folder.path}: {exc.strerror}") from exc
    return Result(document_of(moved), tuple(lines_of(moved, to.next_step)))
