"""Control put together over its data folder: what `cdn up` and `cdn control` share."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from cdn.cli.address import Address
from cdn.cli.coding_process import coding_command
from cdn.cli.data_folder import DataFolder, StoreChoice
from cdn.cli.issuing_part import issuing_part
from cdn.cli.issuing_role import IssuingRole
from cdn.cli.listening import naming, reachable
from cdn.control import replica_roll
from cdn.control.acme_settings import IssuingSettings
from cdn.control.follow_connection import PATIENCE_HEARTBEATS
from cdn.control.listener import SHUTDOWN_TIMEOUT_S, Withdrawal, listening
from cdn.control.node_directory import NodeDirectory
from cdn.control.office_turn import OfficeTurn
from cdn.control.plane import ControlPlane
from cdn.control.replicas import Replicas
from cdn.control.settings import ControlSettings
from cdn.control.shared_directory import EXPIRES_AFTER_S, SharedNodeDirectory
from cdn.dns.zone_file import read_zone_file
from cdn.errors import Conflict
from cdn.journal.jetstream import JetStreamJournal
from cdn.journal.jetstream_blob_losses import JetStreamBlobLosses
from cdn.journal.jetstream_line import NatsLine
from cdn.journal.jetstream_node_feed import JetStreamNodeFeed
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.journal.jetstream_tenure import JetStreamNodeTable, JetStreamOffices
from cdn.journal.journal import Journal
from cdn.journal.sqlite import SqliteJournal
from cdn.journal.tenure import MemoryOffices, Offices
from cdn.origin.opening import open_store
from cdn.origin.store import ObjectStore
from cdn.tls.mutual import ServerTls
from cdn.tls.sealed import KeyRing
from cdn.tls.zone_key_roll import ZoneKeyRoll

SNAPSHOT_OFFICE_S = 60.0
"""How long one replica writes the snapshots before another may; it holds on by writing the next one."""

ARCHIVE_OFFICE_S = 0.6
"""How long after its last word another replica may archive in the place of one: with it, a record that is written when
the archiving replica dies is in the store after about a second too."""

ARCHIVE_RENEWALS = 4
"""How often within that time it says so, and the others ask."""

NAME_OFFICE_S = IssuingSettings().office_s
"""How long one replica has a name after its last word."""


@dataclass(frozen=True, slots=True)
class _Names:
    """Who looks after which name: `offices` are all replicas', `holder` is this one in them."""

    offices: Offices
    holder: str


_Parts = tuple[Journal, NodeDirectory, Replicas | None, _Names]


@dataclass(frozen=True, slots=True)
class ControlPart:
    """Control, answering. `address` is where, with the port that it has."""

    plane: ControlPlane
    store: ObjectStore
    address: Address
    withdrawal: Withdrawal
    is_secret: bool = False

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        return f"{'https' if self.is_secret else 'http'}://{reachable(self.address)}"

    @classmethod
    async def start(
        cls,
        stack: contextlib.AsyncExitStack,
        folder: DataFolder,
        choice: StoreChoice,
        settings: ControlSettings,
        listen: Address,
        *,
        option: str,
        shared: JetStreamSettings | None = None,
        shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S,
        tls: ServerTls | None = None,
        zone_keys: KeyRing | None = None,
        issuing: IssuingRole | None = None,
        control_keys: KeyRing | None = None,
    ) -> ControlPart:
        """Open everything in a folder that is locked; `stack` closes it. `option` is how users give `listen`.

        `shared` is the journal of several replicas; None: the journal is in the folder. `tls` None: plain HTTP.
        `zone_keys` seal the keys of signed zones; None: control makes none. `issuing` None: no certificates are got.
        `control_keys` seal secrets of hooks; None: those of `issuing`.

        Raises CdnError, and OSError for folders that cannot be used.
        """
        store = open_store(folder.store_url(choice), choice.endpoint_url)
        stack.push_async_callback(store.aclose)
        journal, directory, replicas, names = await (
            _own_journal(stack, folder)
            if shared is None
            else _shared(stack, folder, shared, PATIENCE_HEARTBEATS * settings.heartbeat_s)
        )
        await _require_kept(journal, folder)
        part = None if issuing is None else issuing_part(issuing, settings, store, names.offices, names.holder)
        plane = ControlPlane(
            settings,
            journal,
            store,
            directory,
            replicas=replicas,
            zone_reader=read_zone_file,
            zone_keys=None if zone_keys is None else ZoneKeyRoll(zone_keys),
            issuing=None if part is None else part.issuing,
            sight=None if part is None else part.sight,
            control_keys=control_keys or (None if issuing is None else issuing.control_ring),
            offices=names.offices,
            holder=names.holder,
            coding_command=coding_command(),
        )
        if part is not None:
            part.surroundings.attach(plane.services)
        stack.push_async_callback(plane.aclose)
        await plane.start()
        plane.hub.requires_certificate = tls is not None and tls.client_ca_file is not None
        withdrawal = Withdrawal()
        with naming(option, listen):
            port = await stack.enter_async_context(_listening(plane, listen, withdrawal, shutdown_timeout_s, tls))
        return cls(plane, store, Address(listen.host, port), withdrawal, tls is not None)


async def _own_journal(stack: contextlib.AsyncExitStack, folder: DataFolder) -> _Parts:
    journal = await SqliteJournal.open(folder.journal)
    stack.push_async_callback(journal.aclose)
    directory = await NodeDirectory.open(folder.nodes)
    stack.push_async_callback(directory.aclose)
    return journal, directory, None, _Names(MemoryOffices(NAME_OFFICE_S), secrets.token_hex(8))


async def _shared(
    stack: contextlib.AsyncExitStack, folder: DataFolder, settings: JetStreamSettings, patience_s: float
) -> _Parts:
    journal = await JetStreamJournal.open(settings, client_name="cdn-control")
    stack.push_async_callback(journal.aclose)
    feed = await JetStreamNodeFeed.open(journal.link, settings, expires_after_s=EXPIRES_AFTER_S)
    directory = await SharedNodeDirectory.over(folder.nodes, feed, patience_s=patience_s)
    stack.push_async_callback(directory.aclose)
    offices = await JetStreamOffices.open(journal.link, settings, duration_s=SNAPSHOT_OFFICE_S)

    async def has_turn() -> bool:
        return await offices.acquire("snapshots", feed.teller, now=time.monotonic()) is not None

    quick = await JetStreamOffices.open(
        journal.link, settings, duration_s=ARCHIVE_OFFICE_S, bucket_name="quick-offices"
    )
    losses = await JetStreamBlobLosses.open(journal.link, settings)
    stack.push_async_callback(losses.aclose)
    archiving = OfficeTurn(quick, "archive", feed.teller, renew_every_s=ARCHIVE_OFFICE_S / ARCHIVE_RENEWALS)
    line = NatsLine(journal.link, settings.name, feed.teller)
    table = await JetStreamNodeTable.open(
        journal.link, settings, expires_after_s=replica_roll.EXPIRES_AFTER_S, bucket_name="replicas"
    )
    roll = replica_roll.ReplicaRoll(table, feed.teller)
    names = await JetStreamOffices.open(journal.link, settings, duration_s=NAME_OFFICE_S, bucket_name="name-offices")
    replicas = Replicas(has_turn, archiving, losses, line, roll)
    return journal, directory, replicas, _Names(names, feed.teller)


@contextlib.asynccontextmanager
async def _listening(
    plane: ControlPlane, address: Address, withdrawal: Withdrawal, shutdown_timeout_s: float, tls: ServerTls | None
) -> AsyncIterator[int]:
    """Control's API on an address; gives the port."""
    async with listening(
        plane.application(),
        address.host,
        address.port,
        shutdown_timeout_s=shutdown_timeout_s,
        withdrawal=withdrawal,
        # Who calls the API with a token of its own needs no certificate: only nodes do, and they are asked for it.
        tls=None if tls is None else tls.context(requires_certificate=False),
    ) as port:
        try:
            yield port
        finally:
            await plane.hub.aclose()


async def token_kept(plane: ControlPlane, folder: DataFolder, scope: str, note: str) -> str:
    """The token kept in the data folder as long as it works, else a new one."""
    token = folder.token(scope)
    if token is None or not plane.has_scope(token, scope):
        token = await plane.create_token((scope,), note=note)
        folder.keep_token(scope, token)
    return token


async def _require_kept(journal: Journal, folder: DataFolder) -> None:
    """A token was saved here, so there was a journal: an empty one must not pass for it. Raises Conflict."""
    if folder.token("admin") is not None and (await journal.position()).sequence == 0:
        raise Conflict(
            f"{folder.path} was in use, but its journal with all sites is gone: put {folder.journal} back, or rebuild "
            "it from the object store with `cdn control restore`; or remove "
            f"{folder.path / 'admin-token'} to begin with none"
        )
