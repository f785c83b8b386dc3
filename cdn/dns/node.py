"""One DNS server: its parts put together, started in order, and stopped without losing a question.

It follows the journal and the fleet, checks the nodes' addresses, and answers; or, with several processes, holds the
sockets and tells those that answer what is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from cdn import __version__
from cdn.dns.answering import Answering
from cdn.dns.answering_messages import Applied, Checked, Down, Heard, Loaded, Placed, Resumed, Setup
from cdn.dns.answering_pool import AnsweringPool
from cdn.dns.cookie_secret_file import cookie_secrets
from cdn.dns.fleet_feed import FleetFeed
from cdn.dns.fleet_nodes import SeenFleet
from cdn.dns.geo_feed import GeoFeed, GeoState
from cdn.dns.health import Health, HealthChecks
from cdn.dns.listeners import Listeners
from cdn.dns.open_sockets import OpenAddress, open_addresses
from cdn.dns.settings import DnsSettings
from cdn.dns.udp import UdpSocket
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.journal.follower import FollowBroken, Follower
from cdn.journal.record import Record, encode_record
from cdn.journal.replica import Replica
from cdn.journal.wire import FollowerRole

LOOK_EVERY_S = 1.0
"""What time alone does to shares is in the answers within this."""

GATHER_S = 0.05
"""From what a check found to the answers: where many nodes fall at once, one look is for all of them."""

RESTART_PAUSE_S = 5.0
"""Before work that failed begins anew."""

CLOSING_S = 2.0
"""How long clients have to take their answers over TCP when the server ends."""

_log = logging.getLogger(__name__)


class DnsNode:
    """Make it with `start`."""

    def __init__(
        self, settings: DnsSettings, replica: Replica, addresses: tuple[OpenAddress, ...], command: Sequence[str]
    ) -> None:
        self.settings = settings
        self.addresses = addresses
        self.position: Position | None = None
        self._secrets = cookie_secrets(settings.cookie_secret_file)
        self.answering = Answering(settings, self._secrets)
        self.fleet = self.answering.fleet
        self.checks = HealthChecks(
            settings.checks, settings.zone, lambda: self.fleet.addresses, on_change=self._look_soon
        )
        tls = _control_tls(settings)
        urls, token = settings.control_urls, settings.token
        self.feed = FleetFeed(urls, token, settings.fleet_path, self._hear, tls)
        self.geography = GeoFeed(
            settings.geo, settings.geography_dir, self._place, control_urls=urls, token=token, tls=tls
        )
        self.follower = Follower(
            urls,
            token,
            settings.dns_id,
            replica,
            self.answering.folds,
            self,
            facts=NodeFacts(__version__),
            zone=settings.zone,
            role=FollowerRole.DNS,
            explain=self.answering.explainer.explain,
        )
        self.follower.tls = tls
        self.listeners: Listeners | None = None
        self.pool: AnsweringPool | None = None
        self._replica = replica
        self._command = tuple(command)
        self._seen: tuple[SeenFleet, float] | None = None
        self._look_is_due = False
        self._fleet_heard = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(
        cls, settings: DnsSettings, listen: Sequence[tuple[str, int]], command: Sequence[str] = ()
    ) -> DnsNode:
        """A server that answers what it knows from its own disk, and follows the journal and the fleet from there.

        It listens on every host and port of `listen`, over UDP and TCP; port 0 is a free one, the same for both.
        `command` starts an answering process, where settings want several (`cdn.cli.answering_process`).
        Raises CdnError when its folder cannot be used, OSError when an address cannot be listened on.
        """
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        async with contextlib.AsyncExitStack() as undo:
            replica = await Replica.open(settings.replica_path)
            undo.push_async_callback(replica.aclose)
            addresses = open_addresses(listen, settings.processes)
            for each in addresses:
                undo.callback(each.close)
            node = cls(settings, replica, addresses, command)
            undo.push_async_callback(node._end)
            await node._know(await replica.load(node.answering.folds))
            await node._listen()
            for work, name in (
                (node.follower.run, "follower"),
                (node.feed.run, "fleet"),
                (node.feed.keep, "copy of the fleet"),
                (node.geography.run, "geography"),
                (node._look_again_and_again, "shares"),
                (node.checks.run, "checks"),
            ):
                node._spawn(work, name)
            undo.pop_all()
        return node

    @property
    def ports(self) -> tuple[int, ...]:
        """Where it listens, in the order of `listen`."""
        return tuple(each.port for each in self.addresses)

    def counted(self) -> dict[str, float]:
        """What all its processes counted so far, by name."""
        if self.pool is not None:
            return self.pool.counted()
        return self.answering.counted() | ({} if self.listeners is None else self.listeners.counted())

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
        self.position = position
        self.answering.journal_applied(records, position)
        self._tell(lambda: Applied(tuple(map(encode_record, records)), position))
        self._want_geography()

    def on_snapshot(self, position: Position, epoch_changed: bool) -> None:
        """See `FollowerSink`."""
        self.position = position
        self.answering.journal_loaded(position)
        self._tell(self._loaded)
        self._want_geography()

    # Its start and its end.

    async def _know(self, position: Position | None) -> None:
        """What is on disk."""
        self.position = position
        self.answering.journal_loaded(position)
        self._want_geography()
        await self.geography.load()
        self._place(self.geography.state)
        self._look()

    async def _listen(self) -> None:
        answering, tcp = self.answering, [each.tcp for each in self.addresses]
        if self.settings.processes > 1:
            of_processes = list(zip(*(each.udp for each in self.addresses), strict=True))
            self.pool = AnsweringPool(of_processes, tcp, self._greeting, self._command)
            await self.pool.start()
            return
        self.listeners = await Listeners.start(
            [each.udp[0] for each in self.addresses],
            tcp,
            self.settings.tcp,
            answer_udp=answering.answer_udp,
            answer_tcp=answering.answer_tcp,
        )

    async def _end(self) -> None:
        if self.listeners is not None:
            await self.listeners.aclose(CLOSING_S)
        if self.pool is not None:
            await self.pool.drain(CLOSING_S)
            for address in self.addresses:  # whoever hung or died at the end has left questions in its socket
                for each in address.udp:
                    UdpSocket(each, self.answering.answer_udp).close()
        for address in self.addresses:
            address.close()
        await self.follower.leave()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What its other parts tell.

    def _hear(self, seen: SeenFleet) -> None:
        now = time.monotonic()
        is_as_before = self._seen is not None and self._seen[0] == seen
        self._seen = (seen, now)
        self.answering.hear(seen, now)
        self._tell(lambda: Heard(None if is_as_before else seen, now))
        self._look()
        if self.fleet.was_heard:
            self._fleet_heard.set()

    def _place(self, state: GeoState) -> None:
        self.answering.place(state.table, state.round_trips)
        self._tell(lambda: Placed(state.table_path))
        self._look_soon()

    def _want_geography(self) -> None:
        wanted = self.answering.zone_fold.geography
        self.geography.want(*(("", 0) if wanted is None else (wanted.digest, wanted.size_bytes)))

    # What those are told who answer.

    def _tell(self, message: Callable[[], Down]) -> None:
        if self.pool is not None:
            self.pool.tell(message())

    def _greeting(self) -> list[Down]:
        """All that is known, to a process that knows nothing; it answers after the last."""
        heard: list[Down] = [] if self._seen is None else [Heard(*self._seen)]
        return [
            Setup(replace(self.settings, token=""), self._secrets),
            Placed(self.geography.state.table_path),
            self._loaded(),
            *heard,
            Resumed({each.node.member.node_id: each.share for each in self.fleet.shares()}),
            Checked(self.answering.down, dict(self.answering.ttls_s)),
        ]

    def _loaded(self) -> Loaded:
        return Loaded(self.position, {fold.name: fold.dump() for fold in self.answering.folds})

    # Looking at the fleet.

    def _look_soon(self) -> None:
        if not self._look_is_due:
            self._look_is_due = True
            asyncio.get_running_loop().call_later(GATHER_S, self._look)

    def _look(self) -> None:
        self._look_is_due = False
        answering, down, ttls_s = self.answering, self.checks.down, self._ttls_s()
        if (down, ttls_s) != (answering.down, answering.ttls_s):
            answering.check(down, ttls_s)
            self._tell(lambda: Checked(down, ttls_s))
        answering.look()

    def _ttls_s(self) -> dict[str, int]:
        """For how long answers that go by an address's state may be kept, where that is less than for ever."""
        settings, health, unchecked = self.settings, self.checks.health, Health()
        least_s, most_s = settings.answer_ttl_min_s, settings.answer_ttl_s
        ttls_s = {
            address: health.get(address, unchecked).ttl_s(settings.checks, least_s, most_s)
            for address in self.fleet.addresses
        }
        return {address: ttl_s for address, ttl_s in ttls_s.items() if ttl_s < most_s}

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


def _control_tls(settings: DnsSettings) -> ssl.SSLContext | None:
    is_encrypted = any(url.startswith("https:") for url in settings.control_urls)
    return settings.control_tls.context() if is_encrypted else None
