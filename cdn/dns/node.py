"""One DNS process: its parts put together, started in order, and stopped without losing a question."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from cdn import __version__
from cdn.dns.answer import Answerer, Transport
from cdn.dns.fleet_feed import FleetFeed, kept_view
from cdn.dns.fleet_nodes import SeenFleet
from cdn.dns.fleet_state import FleetState
from cdn.dns.health import HealthChecks
from cdn.dns.settings import DnsSettings
from cdn.dns.site_answers import SiteAnswers
from cdn.dns.tcp import TcpConnections, TcpServer
from cdn.dns.udp import UdpSocket
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.journal.catalog_fold import CatalogFold
from cdn.journal.follower import FollowBroken, Follower
from cdn.journal.record import Record
from cdn.journal.replica import Replica
from cdn.journal.wire import FollowerRole

LOOK_EVERY_S = 1.0
"""What time alone does to shares, and what the checks found, is in the answers within this."""

RESTART_PAUSE_S = 5.0
"""Before work that failed begins anew."""

CLOSING_S = 2.0
"""How long clients have to take their answers over TCP when the process ends."""

FREE_PORT_ATTEMPTS = 16
"""A port that is free for UDP may be taken for TCP; then another one is asked for."""

_log = logging.getLogger(__name__)


class DnsNode:
    """Make it with `start`."""

    def __init__(self, settings: DnsSettings, replica: Replica) -> None:
        self.settings = settings
        self.catalog_fold = CatalogFold(settings.zone)
        self.fleet = FleetState(kept_view(settings.fleet_path), settings.answer_nodes, time.monotonic())
        self.checks = HealthChecks(settings.checks, settings.zone, lambda: self.fleet.addresses)
        self.answers = SiteAnswers(self.catalog_fold.catalog, settings.answer_ttl_s)
        self.answerer = Answerer(settings.made_zone(), self.answers)
        is_encrypted = any(url.startswith("https:") for url in settings.control_urls)
        tls = settings.control_tls.context() if is_encrypted else None
        self.feed = FleetFeed(settings.control_urls, settings.token, settings.fleet_path, self._hear, tls)
        self.connections = TcpConnections(settings.tcp, self._answer_tcp)
        self.udp: list[UdpSocket] = []
        self._tcp: list[TcpServer] = []
        self._replica = replica
        self.follower = Follower(
            settings.control_urls,
            settings.token,
            settings.dns_id,
            replica,
            (self.catalog_fold,),
            self,
            facts=NodeFacts(__version__),
            zone=settings.zone,
            role=FollowerRole.DNS,
        )
        self.follower.tls = tls
        self._fleet_heard = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, settings: DnsSettings, listen: Sequence[tuple[str, int]]) -> DnsNode:
        """A process that answers what it knows from its own disk, and follows the journal and the fleet from there.

        It listens on every host and port of `listen`, over UDP and TCP; port 0 is a free one, the same for both.
        Raises CdnError when its folder cannot be used, OSError when an address cannot be listened on.
        """
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        async with contextlib.AsyncExitStack() as undo:
            replica = await Replica.open(settings.replica_path)
            undo.push_async_callback(replica.aclose)
            node = cls(settings, replica)
            undo.push_async_callback(node._end)
            node.answers.position = await replica.load((node.catalog_fold,))
            node._look()
            for host, port in listen:
                await node._listen(host, port)
            node._spawn(node.follower.run, "follower")
            node._spawn(node.feed.run, "fleet")
            node._spawn(node.feed.keep, "copy of the fleet")
            node._spawn(node._look_again_and_again, "shares")
            node._spawn(node.checks.run, "checks")
            undo.pop_all()
        return node

    @property
    def ports(self) -> tuple[int, ...]:
        """Where it listens, in the order of `listen`."""
        return tuple(socket.port for socket in self.udp)

    @property
    def send_failed(self) -> int:
        """Answers over UDP that the system did not take."""
        return sum(socket.counters.send_failed for socket in self.udp)

    async def wait_caught_up(self) -> None:
        """Return once it has applied what the journal held and heard how the fleet is, both since it started."""
        await self.follower.wait_caught_up()
        await self._fleet_heard.wait()

    async def stop(self) -> None:
        """Answer what was asked, take nothing more, close everything."""
        await self._end()
        await self._replica.aclose()

    # What the follower tells.

    def on_records(self, records: Sequence[Record], position: Position) -> None:
        """See `FollowerSink`."""
        self.answers.position = position

    def on_snapshot(self, position: Position, epoch_changed: bool) -> None:
        """See `FollowerSink`."""
        self.answers.position = position

    async def _listen(self, host: str, port: int) -> None:
        for attempt in range(1, FREE_PORT_ATTEMPTS + 1):
            udp = UdpSocket.bind(host, port, self._answer_udp)
            try:
                self._tcp.append(await TcpServer.start(host, udp.port, self.connections))
            except OSError:
                udp.close()
                if port or attempt == FREE_PORT_ATTEMPTS:
                    raise
            else:
                self.udp.append(udp)
                udp.start()
                return

    def _answer_udp(self, message: bytes, source: str) -> bytes | None:
        return self.answerer.answer(message, source, Transport.UDP)

    def _answer_tcp(self, message: bytes, source: str) -> bytes | None:
        return self.answerer.answer(message, source, Transport.TCP)

    def _hear(self, seen: SeenFleet) -> None:
        self.fleet.hear(seen, time.monotonic())
        self._look()
        if self.fleet.was_heard:
            self._fleet_heard.set()

    def _look(self) -> None:
        self.answers.choice = self.fleet.look(self.checks.down, time.monotonic())

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._look()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        task = asyncio.create_task(self._keep_running(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_running(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Questions are answered whatever fails beside that: it is said in the log, and begun anew after a pause."""
        while True:
            try:
                return await work()
            except FollowBroken as exc:  # its copy is ahead of what it answers: it must not follow on from there
                _log.error("%s follows no longer, and answers what it knew: restart it: %s", self.settings.dns_id, exc)
                return None
            except Exception:  # noqa: BLE001 - whatever it was, answers go on and it is said
                _log.exception("%s of %s failed and begins anew", name, self.settings.dns_id)
                await asyncio.sleep(RESTART_PAUSE_S)

    async def _end(self) -> None:
        for udp in self.udp:
            udp.close()
        for tcp in self._tcp:
            tcp.close()
        await self.connections.aclose(CLOSING_S)
        await self.follower.leave()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
