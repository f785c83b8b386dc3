"""One worker: takes visitors' connections, answers from its memory what it may, and asks the node for the rest."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from ipaddress import ip_network
from math import inf
from pathlib import Path

from cdn.edge.access_log import AccessLog
from cdn.edge.certificate_arrivals import ArrivingCertificates
from cdn.edge.clocks import machine_clocks
from cdn.edge.https_rules import HttpsRules
from cdn.edge.joint_front import joint_counters
from cdn.edge.listener import Listener
from cdn.edge.load import LoadMeter
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.prepared import Prepared
from cdn.edge.process_tls import ProcessTls
from cdn.edge.site_view import News, SiteGone, SiteView
from cdn.edge.tls_contexts import TlsContexts
from cdn.edge.traffic import TRAFFIC, Traffic
from cdn.edge.trusted_proxies import TrustedProxies
from cdn.edge.worker_application import WorkerApplication
from cdn.edge.worker_link import WorkerLink
from cdn.edge.worker_settings import WorkerSettings
from cdn.journal.catalog_fold import CatalogFold
from cdn.purge.floors import Floors

_log = logging.getLogger(__name__)


class Worker:
    """Serves from the moment it has the node's state until the node says to drain, or is gone."""

    def __init__(self, settings: WorkerSettings, link: WorkerLink) -> None:
        clocks = machine_clocks()
        self._settings = settings
        self._link = link
        self._clocks = clocks
        self._serves_until = -inf
        self._load = LoadMeter()
        self._listeners: list[Listener] = []
        self._prepared: MemoryTier[Prepared] = MemoryTier(settings.memory_bytes)
        # Floors are the node's: here a generation that rose is enough, what it forbids is asked for again.
        self._view = SiteView(CatalogFold(settings.zone), Floors())
        self._view.listen(self._act_on)
        file = Path(settings.access_log_file) if settings.access_log_file else None
        access_log = replace(settings.access_log, file=file)
        self._access_log = AccessLog.open(access_log, wall=clocks.wall, site_of=self._view.site_name)
        if self._access_log is not None:
            link.on_reopen_log = self._access_log.reopen
        self._traffic = Traffic(self._access_log)
        self._certificates = ArrivingCertificates(self._view.catalog)
        self._tls = self._opened_tls()
        if self._tls is not None:
            link.certificates = self._certificates
            link.on_ticket_keys = self._tls.set_ticket_keys
        self.application = WorkerApplication(
            Path(settings.exchange_path),
            self._view,
            self._prepared,
            cache_name=settings.cache_name,
            clocks=clocks,
            on_use=link.used,
            serves_until=lambda: self._serves_until,
            rules=HttpsRules(self._view, self._certificates, settings.https_port),
        )

    @classmethod
    async def run(cls, listening: socket.socket, relay: socket.socket, secure: socket.socket | None = None) -> None:
        """Until the node says to drain or is gone. `secure` is where it listens for https.

        Raises FrameFault, OSError and InvalidInput when it cannot work.
        """
        reader, writer = await asyncio.open_connection(sock=relay)
        link = WorkerLink(reader, writer, clock=machine_clocks().monotonic)
        worker = cls(await link.setup(), link)
        await worker._serve(listening, secure)

    def _opened_tls(self) -> ProcessTls | None:
        settings = self._settings
        if settings.https_port is None:
            return None
        return ProcessTls(
            self._certificates,
            Path(settings.shelf_path),
            Path(settings.edge_key_file),
            settings.key_groups,
            settings.tls,
            self._clocks,
            self._link.missing,
            speaks_h2=settings.http2.enabled,
        )

    async def _serve(self, listening: socket.socket, secure: socket.socket | None) -> None:
        following = asyncio.create_task(self._link.run(self._view, self), name="relay")
        opening = asyncio.create_task(self._open(listening, secure), name="listen")
        handing_over = (
            None if self._access_log is None else asyncio.create_task(self._access_log.run(), name="access log")
        )
        drain_s = 0.0
        try:
            await asyncio.wait((following, opening), return_when=asyncio.FIRST_EXCEPTION)
            if opening.done():
                opening.result()
            drain_s = await following
        except asyncio.IncompleteReadError:
            _log.warning("worker %d ends: its node is gone", self._settings.number)
        finally:
            following.cancel()
            opening.cancel()
            await asyncio.gather(following, opening, return_exceptions=True)
            await asyncio.gather(*(each.drain(drain_s) for each in self._listeners))
            await self.application.aclose()
            if self._access_log is not None and handing_over is not None:
                handing_over.cancel()
                await self._access_log.aclose()
            if self._tls is not None:
                self._tls.close()
            self._link.close()

    async def _open(self, listening: socket.socket, secure: socket.socket | None) -> None:
        await self._link.has_state.wait()
        self._listeners.append(await self._listener_on(listening, None))
        if secure is not None and self._tls is not None:
            self._listeners.append(await self._listener_on(secure, self._tls.contexts))
        for each in self._listeners:
            each.serves_until = self._serves_until
        self._link.listening()

    async def _listener_on(self, listening: socket.socket, tls: TlsContexts | None) -> Listener:
        settings = self._settings
        return await Listener.adopt(
            listening,
            self.application,
            settings.limits,
            cache_name=settings.cache_name,
            trusted_proxies=TrustedProxies(tuple(ip_network(each) for each in settings.trusted_proxies)),
            proxy_protocol=settings.proxy_protocol,
            tls=tls,
            http2=settings.http2,
            traffic=self._traffic,
            monotonic=self._clocks.monotonic,
            wall=self._clocks.wall,
        )

    # What the link tells

    def forget(self, site_id: str, key: str, count: int) -> None:
        """What was prepared under a key of a pull site is not to be used."""
        self.application.forget(site_id, key, count)

    def may_serve_until(self, until: float) -> None:
        """From the memory, in monotonic seconds."""
        self._serves_until = until
        for each in self._listeners:
            each.serves_until = until

    def node_is_silent(self, is_silent: bool) -> None:
        """Whether the node takes so long to answer that nobody should wait for it."""
        self.application.node_is_silent(is_silent)

    def counted(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """What was counted since the start, and refusals by reason."""
        if not self._listeners:
            return {}, {}
        counters = reduce(joint_counters, (each.counters for each in self._listeners))
        numbers = {
            "connections": counters.connections,
            "memo_hits": counters.memo_hits,
            "recalled": counters.recalled,
            "answered": counters.answered,
            "timed_out": counters.timed_out,
            "h2_connections": counters.h2_connections,
            "h2_streams": counters.h2_streams,
            "h2_resets": counters.h2_resets,
            "open_connections": sum(each.open_connections for each in self._listeners),
            "memory_bytes": self._prepared.cost_bytes + self.application.answers_bytes,
            "load_hundredths": round(100 * self._load.share(time.thread_time(), self._clocks.monotonic())),
            **({} if self._tls is None else self._tls.counted()),
            **{f"{TRAFFIC}{name}": value for name, value in self._traffic.numbers().items()},
        }
        return numbers, counters.refused

    def withdraw(self) -> None:
        """Say with every answer that its connection closes."""
        for each in self._listeners:
            each.withdraw()

    def _act_on(self, news: News) -> None:
        if isinstance(news, SiteGone):
            self._prepared.drop_site(news.site_id)
            self.application.drop_site(news.site_id)
