"""The control plane as one thing: give it its parts, start it, mount its application."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Sequence

from aiohttp import web

from cdn.control.activation_pointers import ActivationPointers
from cdn.control.app import application_of
from cdn.control.archive_intake import ArchiveIntake
from cdn.control.auth import Authenticator
from cdn.control.blob_repair import BlobRepair
from cdn.control.coding_pool import CodingPool
from cdn.control.colleagues import Colleagues
from cdn.control.domain_parts import DomainFleet, DomainFolds, DomainParts
from cdn.control.domain_sight import DomainSight
from cdn.control.fleet_watch import FleetWatch
from cdn.control.hook_deliveries import InboundDeliveries
from cdn.control.hook_rate import HookRate
from cdn.control.hook_room import HookRoom
from cdn.control.hook_seals import seal_hooks_anew
from cdn.control.hook_secrets import HookSecrets
from cdn.control.hub import FollowHub
from cdn.control.issuing import Issuing
from cdn.control.name_offices import NameOffices
from cdn.control.node_directory import NodeDirectory
from cdn.control.peer_tokens import PeerTokens
from cdn.control.precompression import Precompression
from cdn.control.precompression_desk import PrecompressionDesk
from cdn.control.preview_expiry import PreviewExpiry
from cdn.control.proofs import Proofs
from cdn.control.purge_lanes import PurgeLanes
from cdn.control.purge_rate import PurgeRate
from cdn.control.record_archive import RecordArchive
from cdn.control.record_readers import RecordReaders
from cdn.control.replicas import Replicas
from cdn.control.services import Services
from cdn.control.settings import ControlSettings
from cdn.control.snapshot_keeper import SnapshotKeeper
from cdn.control.state import ControlState
from cdn.control.sweep import Sweep
from cdn.control.sweep_gate import SweepGate
from cdn.control.sweep_watch import SweepWatch
from cdn.control.token import make_token
from cdn.control.token_fold import TokenFold
from cdn.control.turns import Turns
from cdn.control.upload_session import UploadSessions
from cdn.control.uploads import Uploads
from cdn.control.webhook_queue import WebhookQueue
from cdn.control.webhook_sender import WebhookSender
from cdn.control.webhook_transport import WebhookTransport
from cdn.control.zone_key_seals import seal_anew
from cdn.control.zone_reader import ZoneReader
from cdn.errors import Unavailable
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.certificate_fold import CertificateFold
from cdn.journal.claim_fold import ClaimFold
from cdn.journal.hook_fold import HookFold
from cdn.journal.journal import Journal
from cdn.journal.takedown_fold import TakedownFold
from cdn.journal.tenure import MemoryOffices, Offices
from cdn.journal.zone_fold import ZoneFold
from cdn.origin.outbound import OutboundRule
from cdn.origin.store import ObjectStore, StoreUnavailable
from cdn.purge.floors import Floors
from cdn.tls.sealed import KeyRing
from cdn.tls.zone_signing import ZoneKeyMaker

SOLE_OFFICE_S = 60.0
"""How long an office lasts where nobody else could want it."""

log = logging.getLogger(__name__)


class ControlPlane:
    """Control without a listener. It uses journal, store and directory and leaves closing them to whoever opened them.

    `replicas`: there may be others over the same journal and store, and calls go to any of them; None: there are none.
    `zone_reader` None: zones are not imported here; `zone_keys` None: there is no key to seal the keys of zones with.
    `control_keys`: what only control may read is sealed with them; None: no hooks with secrets are made here.
    `offices`: who of the replicas does what only one should do at a time, `holder` being this one; None: there is one.
    `issuing` with `sight`: domains are looked after, and certificates got; None: neither is done here.
    `coding_command` starts a process that codes content; (): files of deploys are not coded here.
    `clock` is wall time, `monotonic` the clock on which the directory counts leases.
    """

    def __init__(
        self,
        settings: ControlSettings,
        journal: Journal,
        store: ObjectStore,
        directory: NodeDirectory,
        *,
        replicas: Replicas | None = None,
        zone_reader: ZoneReader | None = None,
        zone_keys: ZoneKeyMaker | None = None,
        issuing: Issuing | None = None,
        sight: DomainSight | None = None,
        control_keys: KeyRing | None = None,
        offices: Offices | None = None,
        holder: str = "control",
        coding_command: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        catalog_fold, floors, tokens, zones = CatalogFold(settings.zone), Floors(), TokenFold(), ZoneFold()
        claims, certificates = ClaimFold(catalog_fold.catalog), CertificateFold(catalog_fold.catalog)
        takedowns, hooks = TakedownFold(), HookFold()
        others = replicas or Replicas()
        self._settings = settings
        folds = (catalog_fold, floors, tokens, zones, claims, certificates, takedowns, hooks)
        self.state = ControlState(journal, folds)
        self.snapshots = SnapshotKeeper(settings, self.state, floors, store, has_turn=others.has_snapshot_turn)
        self.state.snapshots = self.snapshots
        self.archive = RecordArchive(
            settings,
            self.state,
            store,
            self.snapshots,
            nodes=directory.kept,
            turn=others.archiving,
            clock=clock,
            monotonic=monotonic,
        )
        authenticator = Authenticator(tokens, clock)
        proofs, sessions = Proofs(store, settings.max_proven_digests), UploadSessions(settings, clock)
        gate = SweepGate(store, proofs, clock, shared=replicas is not None)
        self._uploads = Uploads(sessions, store, clock, shared=replicas is not None, gate=gate)
        held = offices or MemoryOffices(SOLE_OFFICE_S)
        sweep = Sweep(
            store,
            self.state,
            catalog_fold.catalog,
            takedowns,
            self._uploads,
            gate,
            clock=clock,
            grace_s=settings.sweep_grace_s,
        )
        self.sweeps = SweepWatch(
            sweep, held, holder, every_s=settings.sweep_every_s, first_after_s=settings.sweep_first_s
        )
        self._repair = BlobRepair(
            store,
            proofs,
            sessions,
            lambda site_id: catalog_fold.catalog.site(site_id) is not None,
            monotonic=monotonic,
            losses=others.losses,
        )
        self.hub = FollowHub(
            journal,
            self.snapshots.take,
            directory,
            authenticator.is_node,
            verify_dns_token=authenticator.is_dns,
            heartbeat_s=settings.heartbeat_s,
            lease_s=settings.detach_after_s,
            suspect=self._repair.suspect,
            zone=settings.zone,
            wall=clock,
        )
        self._tokens, self._withdrawals = tokens, tokens.withdrawals
        self.hub.peers = PeerTokens(tokens)
        self.state.readers = RecordReaders(directory, self.hub.dns, others.roll)
        self._roll = others.roll
        if self._roll is not None:
            self._roll.dns = self.hub.dns
        self._colleagues = Colleagues(others.line, self.hub, directory)
        self.domains: DomainParts | None = None
        if issuing is not None and sight is not None:
            self.domains = DomainParts(
                settings,
                self.state,
                store,
                folds=DomainFolds(catalog_fold, claims, certificates, zones),
                fleet=DomainFleet(directory, self.hub.dns, self._colleagues, others.roll),
                issuing=issuing,
                sight=sight,
                clock=clock,
                monotonic=monotonic,
            )
        self._precompression: PrecompressionDesk | None = None
        if coding_command and settings.coding_processes:
            pool = CodingPool(coding_command, settings.coding_processes)
            self._precompression = PrecompressionDesk(
                Precompression(store, self.state, catalog_fold.catalog, takedowns, pool, uploads=self._uploads),
                pool,
                NameOffices(held, holder, office_s=SOLE_OFFICE_S, monotonic=monotonic),
                catalog_fold.catalog,
                monotonic=monotonic,
            )
            self._repair.on_loss = self._precompression.lost
        self.services = Services(
            settings=settings,
            state=self.state,
            catalog_fold=catalog_fold,
            tokens=tokens,
            zones=zones,
            claims=claims,
            certificates=certificates,
            takedowns=takedowns,
            hooks=hooks,
            store=store,
            directory=directory,
            hub=self.hub,
            colleagues=self._colleagues,
            proofs=proofs,
            uploads=self._uploads,
            repair=self._repair,
            authenticator=authenticator,
            pointers=ActivationPointers(store, lambda: catalog_fold.catalog),
            manifests=Turns(
                settings.max_concurrent_manifests,
                settings.max_concurrent_manifests_per_site,
                most_waiting=settings.max_waiting_manifests,
                refusal="As many large bundles as may wait do so already: try again.",
                retry_after_s=10,
            ),
            purge_lanes=PurgeLanes(),
            purge_rate=PurgeRate.of(settings, monotonic),
            blobs=Turns(settings.max_concurrent_blobs, settings.max_concurrent_blobs_per_site),
            puts=asyncio.Semaphore(settings.max_concurrent_puts),
            archive=self.archive,
            fleet=FleetWatch(directory, monotonic),
            clock=clock,
            monotonic=monotonic,
            offices=held,
            sweeps=self.sweeps,
            holder=holder,
            hook_room=HookRoom(
                HookSecrets(control_keys),
                InboundDeliveries(store),
                WebhookQueue(store),
                Turns(
                    settings.max_concurrent_hooks,
                    settings.max_concurrent_hooks_per_site,
                    most_waiting=settings.max_waiting_hooks,
                    refusal="As many messages to hooks as may wait do so already: send it again.",
                    retry_after_s=10,
                ),
                HookRate(settings.max_hook_messages_per_minute, monotonic),
            ),
            control_keys=control_keys,
            zone_reader=zone_reader,
            zone_keys=zone_keys,
            domain_office=None if self.domains is None else self.domains.desk,
            precompression=self._precompression,
        )
        rule = OutboundRule(settings.allows_private_webhooks, settings.allowed_webhook_networks)
        self.webhooks = WebhookSender(self.services, self.services.hook_room, WebhookTransport(rule))
        self._intake = ArchiveIntake(self.services)
        self.previews = PreviewExpiry(self.services)
        self._probing: asyncio.Task[None] | None = None
        self._sealing: asyncio.Task[int] | None = None
        self._sealing_hooks: asyncio.Task[int] | None = None

    async def start(self) -> None:
        """Load the newest snapshot and apply what the journal has after it.

        Raises Unavailable when journal or store do not answer or do not fit together, Conflict when the store is that
        of another control plane or went on without this one.
        """
        shutil.rmtree(self._settings.staging_dir, ignore_errors=True)
        self._settings.staging_dir.mkdir(parents=True)
        if self._roll is not None:
            await self._roll.enter()
        settled, loaded = await asyncio.gather(self._settle_epoch(), self.snapshots.load(), return_exceptions=True)
        if isinstance(settled, BaseException):
            raise settled
        if isinstance(loaded, BaseException):
            raise loaded
        await self.state.start(loaded)
        self.services.directory.journal_reached(self.state.position)
        self.state.watch(self.services.directory.journal_reached)
        self._withdrawals = self._tokens.withdrawals
        self.state.watch(self._check_tokens)
        self.services.fleet.start()
        if self.hub.peers is not None:
            self.state.watch(self.hub.peers.look)
        self.snapshots.start(self.archive)
        self.archive.start()
        self._repair.start()
        self._uploads.start()
        self.sweeps.start()
        self.previews.start()
        self._colleagues.start()
        self.webhooks.start()
        if self.domains is not None:
            self.domains.start()
        if self._precompression is not None:
            self._precompression.start()
        self._probing = asyncio.create_task(self._probe_store(), name="control-store-probe")
        sealing_hooks = seal_hooks_anew(self.state, self.services.hooks, self.services.hook_room.secrets)
        self._sealing_hooks = asyncio.create_task(sealing_hooks, name="control-hook-seals")
        if (maker := self.services.zone_keys) is not None:
            sealing = seal_anew(self.state, self.services.zones, maker)
            self._sealing = asyncio.create_task(sealing, name="control-zone-keys")

    def application(self) -> web.Application:
        """The API, ready to be mounted on a listener. New at every call."""
        return application_of(self.services, self._intake)

    def _check_tokens(self, position: Position) -> None:
        if self._tokens.withdrawals != self._withdrawals:
            self._withdrawals = self._tokens.withdrawals
            self.hub.check_tokens()

    async def _settle_epoch(self) -> None:
        try:
            await self.archive.settle()
        except StoreUnavailable as exc:
            log.warning("whether this journal is the one that counts is looked at later: %s", exc)

    async def _probe_store(self) -> None:
        """See now whether the store takes direct uploads, so that the first deploy does not wait for the answer."""
        try:
            is_direct = await self.services.store.takes_direct_uploads()
        except Unavailable as exc:
            log.warning("the store was not probed (%s); the first upload does it", exc)
        else:
            log.info("uploads go %s", "straight to the store" if is_direct else "through control")

    async def aclose(self) -> None:
        """Close followers' connections and stop background work."""
        for task in (self._probing, self._sealing, self._sealing_hooks):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self.domains is not None:
            await self.domains.aclose()
        if self._precompression is not None:
            await self._precompression.aclose()
        await self.webhooks.aclose()
        await self.sweeps.aclose()
        await self.previews.aclose()
        await self.hub.aclose()
        await self.services.fleet.aclose()
        await self._colleagues.aclose()
        await self._repair.aclose()
        await self._uploads.aclose()
        await self.snapshots.aclose()
        await self.archive.aclose()
        await self.state.aclose()
        if self._roll is not None:
            await self._roll.aclose()

    async def create_token(self, scopes: tuple[str, ...], *, note: str, expires_at: float | None = None) -> str:
        """A new token's text, recorded durably: how the composition root makes the first ones."""
        text, created = make_token(scopes, expires_at=expires_at, note=note)
        await self.state.append(f"token/{created.token_id}", lambda: created, "control")
        return text

    def has_scope(self, token: str, scope: str) -> bool:
        """Whether this token works now and has exactly this scope among its own."""
        caller = self.services.authenticator.verify(token)
        return caller is not None and scope in caller.scopes
