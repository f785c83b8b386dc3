"""Where a control plane that is rebuilt or moved gets its journal: a file of its data folder, or NATS JetStream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from cdn.cli.data_folder import DataFolder
from cdn.control.archive_layout import KeptNode
from cdn.control.node_directory import NodeDirectory
from cdn.control.restored_nodes import put_restored
from cdn.control.shared_directory import EXPIRES_AFTER_S
from cdn.errors import Conflict
from cdn.journal.jetstream import JetStreamJournal
from cdn.journal.jetstream_node_feed import JetStreamNodeFeed
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.nats_link import NatsLink
from cdn.journal.sqlite import SqliteJournal


class NewJournal(Protocol):
    """A place where a journal can begin. All methods may raise Unavailable."""

    async def require_room(self) -> None:
        """Before anything is written anywhere. Raises Conflict when a journal is there."""
        ...

    async def begin(self, epoch: str, after: int) -> None:
        """Begin `epoch`, whose first record will have the sequence `after + 1`. Raises Conflict."""
        ...

    async def remember(self, nodes: Iterable[KeptNode]) -> None:
        """Receipts name these nodes until they have said where they stand."""
        ...


class JournalInFolder:
    """For one control, in its data folder. `way_out` says how another folder is given."""

    def __init__(self, folder: DataFolder, way_out: str) -> None:
        self._folder = folder
        self._way_out = way_out

    async def require_room(self) -> None:
        """See `NewJournal.require_room`."""
        if await SqliteJournal.has_records(self._folder.journal):
            raise Conflict(
                f"{self._folder.path} has a journal, which is never written over: start control with it, or "
                f"{self._way_out}"
            )

    async def begin(self, epoch: str, after: int) -> None:
        """See `NewJournal.begin`."""
        await SqliteJournal.begin_epoch(self._folder.journal, epoch, after=after)

    async def remember(self, nodes: Iterable[KeptNode]) -> None:
        """See `NewJournal.remember`."""
        await NodeDirectory.restore(self._folder.nodes, nodes)


@dataclass(slots=True)
class JournalOnNats:
    """For several replicas. `ends_epoch` may have records there and is given up; None: there must be none."""

    settings: JetStreamSettings
    ends_epoch: str | None = None
    _instead_of: str | None = None

    async def require_room(self) -> None:
        """See `NewJournal.require_room`."""
        standing = await JetStreamJournal.standing(self.settings)
        self._instead_of = None if standing is None else standing.epoch
        if self.ends_epoch is not None and self.ends_epoch != self._instead_of:
            counts = "none" if standing is None else standing.epoch
            raise Conflict(f"the epoch that counts on NATS is {counts}, not {self.ends_epoch}: look again")
        if standing is not None and standing.sequence and self.ends_epoch is None:
            raise Conflict(
                f"the journal {self.settings.name!r} on NATS is not lost: its epoch {standing.epoch} ends at record "
                f"{standing.sequence}. Start control with it; or give the new one another name in [journal]; or end "
                f"that epoch for good with --end-epoch {standing.epoch}"
            )

    async def begin(self, epoch: str, after: int) -> None:
        """See `NewJournal.begin`. The stream of the former epoch, where there is one, is sealed and kept."""
        await JetStreamJournal.begin_epoch(self.settings, instead_of=self._instead_of, after=after, new_epoch=epoch)

    async def remember(self, nodes: Iterable[KeptNode]) -> None:
        """See `NewJournal.remember`."""
        link = await NatsLink.open(self.settings.nats, name="cdn-restore")
        try:
            feed = await JetStreamNodeFeed.open(link, self.settings, expires_after_s=EXPIRES_AFTER_S)
            await put_restored(feed, nodes)
        finally:
            await link.aclose()
