"""What handlers work with, put together once by ControlPlane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cdn.control.activation_pointers import ActivationPointers
from cdn.control.auth import Authenticator
from cdn.control.blob_repair import BlobRepair
from cdn.control.colleagues import Colleagues
from cdn.control.domain_office import DomainOffice
from cdn.control.fleet_watch import FleetWatch
from cdn.control.hook_room import HookRoom
from cdn.control.hub import FollowHub
from cdn.control.node_directory import NodeDirectory
from cdn.control.precompression_desk import PrecompressionDesk
from cdn.control.proofs import Proofs
from cdn.control.purge_lanes import PurgeLanes
from cdn.control.purge_rate import PurgeRate
from cdn.control.record_archive import RecordArchive
from cdn.control.route import Call
from cdn.control.schema import ReceiptView
from cdn.control.settings import ControlSettings
from cdn.control.state import ControlState
from cdn.control.sweep_watch import SweepWatch
from cdn.control.token_fold import TokenFold
from cdn.control.turns import Turns
from cdn.control.uploads import Uploads
from cdn.control.views import receipt_view
from cdn.control.zone_reader import ZoneReader
from cdn.errors import Conflict, NotFound, Unavailable
from cdn.fleet.position import Position
from cdn.fleet.receipt import ReceiptPage
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import CertificateFold
from cdn.journal.claim_fold import ClaimFold
from cdn.journal.hook_fold import HookFold
from cdn.journal.record import Record
from cdn.journal.takedown_fold import TakedownFold
from cdn.journal.tenure import Offices
from cdn.journal.zone_fold import ZoneFold
from cdn.origin.store import ObjectStore
from cdn.sites.catalog import Catalog
from cdn.sites.site import Site
from cdn.tls.sealed import KeyRing
from cdn.tls.zone_signing import ZoneKeyMaker


@dataclass(frozen=True, slots=True)
class Services:
    """The parts behind every route."""

    settings: ControlSettings
    state: ControlState
    catalog_fold: CatalogFold
    tokens: TokenFold
    zones: ZoneFold
    claims: ClaimFold
    certificates: CertificateFold
    takedowns: TakedownFold
    hooks: HookFold
    store: ObjectStore
    directory: NodeDirectory
    hub: FollowHub
    colleagues: Colleagues
    proofs: Proofs
    uploads: Uploads
    repair: BlobRepair
    authenticator: Authenticator
    pointers: ActivationPointers
    archive: RecordArchive
    fleet: FleetWatch
    manifests: Turns
    """Who may send the names of all files of a large bundle now; see `room_for_manifest`."""
    purge_lanes: PurgeLanes
    """Under which subject a purge is recorded; of all who purge, in whatever dialect."""
    purge_rate: PurgeRate
    """How much a caller may still purge; of all dialects together."""
    blobs: Turns
    """Whose blob may be on its way through control now, in whatever dialect it comes."""
    puts: asyncio.Semaphore
    """The writes to the store at one time for content that control itself puts there."""
    clock: Callable[[], float]
    """Wall time in seconds."""
    monotonic: Callable[[], float]
    """The clock on which the directory counts leases."""
    offices: Offices
    """Who of the replicas does what only one should do at a time."""
    holder: str
    """What this process is called in them."""
    hook_room: HookRoom
    """What came to hooks, and what is sent to receivers."""
    sweeps: SweepWatch
    """Removes from the store what nothing names."""
    control_keys: KeyRing | None = None
    """What only control may read is sealed with them: secrets of hooks, and of tokens that sign. None: there is no key,
    and neither is made here."""
    zone_reader: ZoneReader | None = None
    """Reads zone files; None: zones are not imported here."""
    zone_keys: ZoneKeyMaker | None = None
    """Makes the keys of signed zones; None: this control has no key to seal them with."""
    domain_office: DomainOffice | None = None
    """Looks after domains and their certificates; None: nobody does here, and an administrator says whose they are."""

    precompression: PrecompressionDesk | None = None
    """Has files of active deploys coded; None: nobody does here."""

    @property
    def catalog(self) -> Catalog:
        """The catalog as of `state.position`."""
        return self.catalog_fold.catalog

    def site_named(self, name: str) -> Site:
        """Raises NotFound."""
        site = self.catalog.site_named(name)
        if site is None:
            raise NotFound(f"There is no site {name!r}.")
        return site

    def site_of(self, call: Call) -> Site:
        """The site in the call's path; the dispatcher has checked the scopes already. Raises NotFound."""
        return self.site_named(call.path["name"])

    def bundle_site_of(self, call: Call) -> Site:
        """`site_of`, for what only sites of bundles have. Raises NotFound, Conflict with the way out."""
        site = self.site_of(call)
        if site.settings.is_pull:
            raise Conflict(
                f"The site {site.name!r} is answered from {site.settings.origin}, so nothing is deployed to it: change "
                f"what is there and purge (cdn purge --site {site.name} ...), or create another site to deploy to."
            )
        return site

    @asynccontextmanager
    async def room_for_manifest(self, call: Call, site: Site) -> AsyncIterator[None]:
        """While a request that names every file of a bundle is read and worked on. Short ones need no turn.

        Raises Unavailable when too many wait.
        """
        announced_bytes = call.request.content_length
        if announced_bytes is not None and announced_bytes <= self.settings.max_request_bytes:
            yield
            return
        async with self.manifests.take(site.id):
            yield

    async def receipt(self, record: Record, wait_s: float) -> ReceiptView:
        """What nodes have done with `record`, after waiting until all have or the time is over.

        Where too many wait already it does not wait: the record is there, and whoever hears so must not send it again.
        """
        validates_from = await self.pointers.validates_from(record)
        try:
            return await self.receipt_of(record, wait_s, validates_from)
        except Unavailable:
            receipt = self.directory.receipt(record.position, record.at, validates_from=validates_from)
            return receipt_view(receipt, self.wall_of, is_settled=False)

    async def receipt_of(
        self, record: Record, wait_s: float, validates_from: Position | None, page: ReceiptPage | None = None
    ) -> ReceiptView:
        """What nodes have done with `record` within `wait_s`. Raises Unavailable when too many wait."""
        directory, position, until = self.directory, record.position, self.monotonic() + wait_s
        settling = asyncio.create_task(directory.settle())
        try:  # those that are known already need not be waited for after the others have become known
            await directory.wait_past(position, wait_s)
            is_settled = await settling
        finally:
            settling.cancel()
        left_s = max(0.0, until - self.monotonic())
        receipt = await directory.wait_complete(position, record.at, left_s, validates_from=validates_from, page=page)
        if receipt.tally.unapplied:
            # Others may have heard these nodes while we waited, and the word have not come here.
            is_settled = await directory.settle()
            receipt = directory.receipt(position, record.at, validates_from=validates_from, page=page)
        return receipt_view(receipt, self.wall_of, is_settled=is_settled)

    def wall_of(self, monotonic_s: float) -> float:
        """A monotonic time of the directory as wall time."""
        return self.clock() - (self.monotonic() - monotonic_s)

    def wait_s(self, call: Call) -> float:
        """The call's `?wait=`. Raises InvalidInput."""
        return call.wait_s(self.settings.max_wait_s)
