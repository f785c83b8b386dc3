"""The certificates of one node: what the records say, what is on its disk, and what its own process shows."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence

from cdn.edge.certificate_arrivals import ArrivingCertificates
from cdn.edge.certificate_keeper import CertificateKeeper
from cdn.edge.certificate_shelf import CertificateShelf
from cdn.edge.clocks import Clocks
from cdn.edge.https_rules import HttpsRules
from cdn.edge.kept_tickets import KeptTickets, found_in
from cdn.edge.process_tls import ProcessTls
from cdn.edge.settings import EdgeSettings
from cdn.edge.site_view import SiteView
from cdn.edge.ticket_keys import TicketKeyRota, TicketKeys
from cdn.edge.worker_relay import WorkerRelay
from cdn.journal.certificate_fold import CertificateFold
from cdn.origin.store import ObjectStore

TICKETS_LOOK_S = 60.0
"""How often it is looked whether the keys of session tickets are to be replaced."""


class NodeCertificates:
    """Without a port for https it has the facts alone: challenges by http are answered all the same."""

    def __init__(self, settings: EdgeSettings, view: SiteView, clocks: Clocks) -> None:
        self.has_https = settings.https_port is not None
        self.arriving = ArrivingCertificates(view.catalog) if self.has_https else None
        self.fold = CertificateFold(view.catalog) if self.arriving is None else self.arriving
        self.rules = HttpsRules(view, self.fold, None)
        self.keeper: CertificateKeeper | None = None
        self.tls: ProcessTls | None = None
        """Of this process, where no worker takes connections."""
        self._settings = settings
        self._clocks = clocks
        self._shelf: CertificateShelf | None = None
        self._rota = TicketKeyRota(clocks.monotonic(), os.urandom)
        self._kept: KeptTickets | None = None

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """What is to be kept for the next process, if anybody keeps anything, so that sessions resume there."""
        return () if self._kept is None else (self._kept.socket,)

    async def open(self, store: ObjectStore, kept: Sequence[socket.socket] | None = None) -> None:
        """Before the fold is loaded. `kept` are the sockets of the process before; None: nobody keeps any. Raises
        Unavailable, InvalidInput for a key file that cannot be used."""
        if self.arriving is None:
            return
        if kept is not None:
            self._keep_tickets(kept)
        settings = self._settings
        assert settings.edge_key_file is not None, "EdgeSettings has seen to it"
        self._shelf = await CertificateShelf.open(settings.certificates_path)
        self.keeper = CertificateKeeper(self.arriving, self._shelf, store, self._clocks)
        self.tls = ProcessTls(
            self.arriving,
            settings.certificates_path,
            settings.edge_key_file,
            settings.key_groups,
            settings.tls,
            self._clocks,
            self.keeper.want,
            speaks_h2=settings.http2.enabled,
        )
        self.tls.set_ticket_keys(self.ticket_keys())

    def _keep_tickets(self, kept: Sequence[socket.socket]) -> None:
        """Go on with the keys of the process before, and leave them to the next."""
        found = found_in(kept)
        if found is not None:
            self._rota.resume(found, self._clocks.monotonic())
        self._kept = KeptTickets()
        self.ticket_keys()
        self._kept.put(self._rota.kept())

    async def loaded(self) -> None:
        """The fold stands at the node's own copy: what came with its last records goes to the disk now, the rest is
        fetched. Not to be called for a node that has no copy. Raises Unavailable."""
        if self.keeper is not None:
            await self.keeper.durable()
            self.keeper.snapshot_loaded()

    def ticket_keys(self) -> TicketKeys:
        """Those for now."""
        return self._rota.keys(self._clocks.monotonic())

    async def everywhere(self, relay: WorkerRelay) -> None:
        """Return when all that was told so far is on the disk and in every process. Raises Unavailable."""
        if self.keeper is not None:
            relay.tell_shelved(await self.keeper.durable())
        await relay.everywhere()

    async def renew_tickets(self, relay: WorkerRelay) -> None:
        """Replace the keys of session tickets in time, in every process; until cancelled."""
        while True:
            await asyncio.sleep(TICKETS_LOOK_S)
            keys = self.ticket_keys()
            if keys is not relay.ticket_keys:
                if self._kept is not None:
                    self._kept.put(self._rota.kept())
                relay.tell_tickets(keys)
                if self.tls is not None:
                    self.tls.set_ticket_keys(keys)

    def counted(self) -> Mapping[str, int]:
        """How many there are, when the first is over (wall time in seconds, 0: there is none), what was fetched."""
        soonest = self.fold.soonest_end()
        keeper = self.keeper
        return {
            "certificates": len(self.fold),
            "certificate_soonest_end": 0 if soonest is None else int(soonest.not_after),
            "certificates_fetched": 0 if keeper is None else keeper.fetched,
            "certificate_fetches_failed": 0 if keeper is None else keeper.fetch_failed,
        }

    async def aclose(self) -> None:
        """Close the disk. May be called twice."""
        if self._kept is not None:
            self._kept.close()
        if self.keeper is not None:
            await self.keeper.aclose()
        if self.tls is not None:
            self.tls.close()
        if self._shelf is not None:
            await self._shelf.aclose()
