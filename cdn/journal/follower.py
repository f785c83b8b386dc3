"""The node's side of following: records come in, become durable, are applied, and are acknowledged (DESIGN I3, I9)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from cdn.errors import CdnError
from cdn.fleet.lease import Lease
from cdn.fleet.node import NodeFacts, check_node_id
from cdn.fleet.peers import PeerToken
from cdn.fleet.position import Position
from cdn.journal.blob_faults import BlobFaults
from cdn.journal.fold import Fold
from cdn.journal.follow_session import FollowSession
from cdn.journal.record import Record, UnknownRecord
from cdn.journal.replica import Replica
from cdn.journal.snapshot import Snapshot, UnreadableSnapshot, load_into
from cdn.journal.wire import FOLLOW_PATH, MAX_CONTROL_MESSAGE_BYTES, FollowerRole

MAX_REPORTS = 256
"""Preparations remembered and told again after a reconnect; the oldest goes first."""

_log = logging.getLogger(__name__)


class FollowBroken(CdnError):
    """A fold or the sink failed on a record that is durable already. The node must be restarted or repaired."""


class NotLetIn(CdnError):
    """Control refused the connection; whether it will take the next one is for its operator to say."""


_REFUSED = {
    401: "its token is unknown, revoked or expired, or control asks for a certificate ([control_tls]); "
    "`cdn status` shows which",
    403: "its token is another node's, or does not let a node follow: create one with scope node:ID",
}
"""What an answer to the opening of a connection means; control tells its own operator more than it tells a stranger."""


class FollowerSink(Protocol):
    """Who acts on what was applied. Called on the event loop, synchronously, and must not do network IO."""

    def on_records(self, records: Sequence[Record], position: Position) -> None:
        """`records` are durable and every fold has them; after this returns the position is acknowledged."""
        ...

    def on_snapshot(self, position: Position, epoch_changed: bool) -> None:
        """The folds were replaced. `epoch_changed`: trust no stored response without validating it.

        After this returns the snapshot is made durable and then acknowledged.
        """
        ...


@dataclass(frozen=True, slots=True)
class FollowerSettings:
    """How patient a follower is."""

    connect_timeout_s: float = 10.0
    """From the first packet to control's welcome."""
    silence_s: float = 10.0
    """A connection that brings nothing for so long counts as dead; until the welcome names the lease."""
    first_pause_s: float = 0.2
    """Before the first reconnect; doubles each time, with jitter, so that a fleet does not return in step."""
    longest_pause_s: float = 15.0
    """Never longer between two attempts."""


Explainer = Callable[[str, str], Awaitable[Mapping[str, Any]]]
"""Given host and target (see `wire.Explain`), how this node would answer."""


class Follower:
    """Keeps `replica` and `folds` at control's journal for as long as `run` runs.

    `control_urls` are control's replicas, any of which will do: when one ends the connection the next is tried.
    `replica.load(folds)` must have been called; only the first of `folds` may refuse a record as unknown. Records are
    applied in order, each once: durable commit, folds, sink, acknowledgement. A record this program does not know
    stops it there: `stopped` says why, control is told, the lease is no longer renewed, and it tries again now and
    then.
    """

    def __init__(  # noqa: PLR0917 - whom to follow, as whom, into what
        self,
        control_urls: str | Sequence[str],
        token: str,
        node_id: str,
        replica: Replica,
        folds: Sequence[Fold],
        sink: FollowerSink,
        *,
        facts: NodeFacts,
        clock: Callable[[], float] = time.monotonic,
        counters: Callable[[], Mapping[str, int]] = dict,
        explain: Explainer | None = None,
        settings: FollowerSettings | None = None,
        zone: str | None = None,
        wall: Callable[[], float] = time.time,
        everywhere: Callable[[], Awaitable[None]] | None = None,
        role: FollowerRole = FollowerRole.EDGE,
    ) -> None:
        """`zone` is the CDN's own as this node was told it: a control of another one refuses the node. `wall` is said
        to control, which shows how far it is off; nothing here goes by it. `everywhere` is awaited before each
        acknowledgement, and before each hello, which is one: it returns when all that the sink was told holds in every
        process that serves for this node.
        """
        self.node_id = check_node_id(node_id)
        self.facts = facts
        self.replica = replica
        self.clock = clock
        self.counters = counters
        self.explain = explain
        self.settings = settings or FollowerSettings()
        self.zone = zone
        self.wall = wall
        self.everywhere = everywhere
        self.role = role
        self.lease = Lease(None, 0.0)
        self.stopped: str | None = None
        self.fault: str | None = None
        """Why the last connection ended, None while one stands."""
        self.wants_snapshot = False
        self.tls: ssl.SSLContext | None = None
        """How control is reached by https; None: as the system does."""
        self.on_peers: Callable[[Sequence[PeerToken]], Awaitable[None]] | None = None
        """Told whose tokens let nodes ask this one; None: nobody asks it."""
        self.load: Callable[[], float] = lambda: 0.0
        """How busy the node is, 1 being all that it can; asked at each heartbeat, on the event loop."""
        self.is_draining = False
        """Whether the node is about to leave and wants no new visitors."""
        self.reports: dict[tuple[str, str], str | None] = {}
        self.blob_faults = BlobFaults()
        urls = (control_urls,) if isinstance(control_urls, str) else tuple(control_urls)
        self._urls = tuple(url.rstrip("/") + FOLLOW_PATH for url in urls)
        self._turn = 0
        self._token = token
        self._folds = tuple(folds)
        self._sink = sink
        self._session: FollowSession | None = None
        self._caught_up = asyncio.Event()
        self._leaving = asyncio.Event()

    @property
    def position(self) -> Position | None:
        """What is applied and durable; None before the first snapshot."""
        return self.replica.position

    def has_lease(self) -> bool:
        """Whether the node may serve without validating now (DESIGN I9)."""
        return self.lease.is_running(self.clock())

    def lease_left_s(self) -> float:
        """For how many more seconds the node may serve without validating, if control is not heard again."""
        return self.lease.left_s(self.clock())

    @property
    def has_caught_up(self) -> bool:
        """Whether this run has applied everything the journal held when a connection was welcomed."""
        return self._caught_up.is_set()

    async def wait_caught_up(self) -> None:
        """Return once this run has applied everything the journal held when a connection was welcomed."""
        await self._caught_up.wait()

    def report_prepared(self, site_id: str, deploy_id: str, failure: str | None = None) -> None:
        """Tell control that a deploy's manifest is loaded, or why not; told again after every reconnect."""
        self.reports.pop((site_id, deploy_id), None)
        self.reports[(site_id, deploy_id)] = failure
        while len(self.reports) > MAX_REPORTS:
            del self.reports[next(iter(self.reports))]
        if self._session is not None:
            self._session.report_soon((site_id, deploy_id))

    def report_blob_fault(self, site_id: str, digest: str) -> None:
        """Tell control that the store's copy of a blob is damaged or gone, as soon as a control that hears it is there.

        May be called for every visitor who meets it (see `BlobFaults`).
        """
        self.blob_faults.note(site_id, digest, self.clock())

    async def drain(self) -> None:
        """Tell control, now and with every heartbeat, that the node is about to leave; its lease stays."""
        self.is_draining = True
        if self._session is not None:
            await self._session.say_draining()

    async def leave(self) -> None:
        """Give the lease back and end `run`: call it when the node no longer serves."""
        self._leaving.set()
        self.lease = self.lease.given_back()
        if self._session is not None:
            await self._session.say_leaving()

    async def run(self) -> None:
        """Follow until cancelled or `leave`; connections that end are opened again.

        Raises FollowBroken, and nothing else.
        """
        pause_s = self.settings.first_pause_s
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.settings.connect_timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as client:
            while not self._leaving.is_set():
                try:
                    await self._follow(client)
                except FollowBroken:
                    raise
                except (aiohttp.ClientError, OSError, TimeoutError, CdnError) as exc:
                    self.fault = str(exc) or type(exc).__name__
                    _log.warning("following %s ended: %s", self._url, self.fault)
                self._turn += 1  # whichever way it ended: another replica may be there
                session, self._session = self._session, None
                if session is not None and session.is_caught_up:
                    pause_s = self.settings.first_pause_s
                await self._pause(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                pause_s = min(pause_s * 2, self.settings.longest_pause_s)

    @property
    def _url(self) -> str:
        return self._urls[self._turn % len(self._urls)]

    async def _pause(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._leaving.wait()

    async def _follow(self, client: aiohttp.ClientSession) -> None:
        if self.everywhere is not None:
            # The hello's position counts as applied (DESIGN I8), and the last connection may have ended between the
            # commit of a record and the last process that has it.
            await self.everywhere()
        try:
            async with asyncio.timeout(self.settings.connect_timeout_s):
                socket = await client.ws_connect(
                    self._url,
                    headers={"Authorization": f"Bearer {self._token}"},
                    max_msg_size=MAX_CONTROL_MESSAGE_BYTES,
                    ssl=True if self.tls is None else self.tls,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except aiohttp.WSServerHandshakeError as exc:
            if exc.status not in _REFUSED:
                raise
            raise NotLetIn(f"control does not let this node in ({exc.status}): {_REFUSED[exc.status]}") from exc
        async with socket:
            if self._leaving.is_set():
                return  # since the connecting began
            self._session = FollowSession(self, socket)
            await self._session.run()

    # What a session does to the node.

    def granted(self, lease_s: float) -> None:
        """Control names the length of leases; a running one is never lengthened by that."""
        held_s = min(self.lease.lease_s, lease_s) if self.lease.sent_at is not None else lease_s
        self.lease = Lease(self.lease.sent_at, held_s)
        self.fault = None

    def renewed(self, sent_at: float, lease_s: float) -> None:
        """The heartbeat sent at `sent_at` was answered."""
        if not self._leaving.is_set():
            self.lease = Lease(self.lease.sent_at, lease_s).renewed(sent_at)

    def caught_up(self) -> None:
        """Everything that the journal held at the welcome is applied."""
        self._caught_up.set()

    async def take_records(self, records: Sequence[Record]) -> UnknownRecord | None:
        """Make durable, apply, tell the sink. The caller acknowledges `position`.

        Why the first fold refused a record: then those before it are applied and the rest is forgotten.
        Raises ReplicaUnavailable, FollowBroken.
        """
        await self.replica.apply(records)
        # From here to the next await nothing waits: what is served never stands between two records of a batch.
        taken, refusal = self._fold(records)
        if taken:
            try:
                self._sink.on_records(records[:taken], records[taken - 1].position)
            except Exception as exc:
                raise self._broken(f"records up to {records[taken - 1].sequence}", exc) from exc
        if refusal is not None:
            await self.replica.retreat(Position(records[0].epoch, records[0].sequence + taken - 1))
        else:
            self.stopped = None
        return refusal

    async def take_snapshot(self, snapshot: Snapshot, encoded: bytes | None = None) -> None:
        """Load the folds, tell the sink, make durable. The caller acknowledges `position`.

        `encoded` is what it was decoded from.

        Raises UnreadableSnapshot, and the folds are as before, when one of them does not understand its section;
        ReplicaUnavailable, FollowBroken.
        """
        before = self.position
        epoch_changed = before is None or not snapshot.position.covers(before)
        sections = {fold.name: fold.dump() for fold in self._folds}
        wanted_snapshot, self.wants_snapshot = (
            self.wants_snapshot,
            True,
        )  # until it is durable, the copy does not stand where the folds stand
        try:
            load_into(snapshot, self._folds)
        except CdnError as exc:
            for fold in self._folds:
                fold.load(sections[fold.name])
            self.wants_snapshot = wanted_snapshot
            self.stopped = f"the snapshot at {snapshot.position} is not understood: {exc}"
            raise UnreadableSnapshot(self.stopped) from exc
        except Exception as exc:
            raise self._broken(f"the snapshot at {snapshot.position}", exc) from exc
        try:
            self._sink.on_snapshot(snapshot.position, epoch_changed)
        except Exception as exc:
            raise self._broken(f"the snapshot at {snapshot.position}", exc) from exc
        await self.replica.replace(snapshot, encoded)
        self.wants_snapshot = False
        self.stopped = None

    def _fold(self, records: Sequence[Record]) -> tuple[int, UnknownRecord | None]:
        """How many records every fold has taken, and why the next one was refused."""
        first = self._folds[0] if self._folds else None
        for taken, record in enumerate(records):
            for fold in self._folds:
                try:
                    fold.apply(record)
                except UnknownRecord as exc:
                    if fold is first:
                        return taken, exc
                    raise self._broken(f"record {record.sequence}", exc) from exc
                except Exception as exc:
                    raise self._broken(f"record {record.sequence}", exc) from exc
        return len(records), None

    def _broken(self, what: str, exc: Exception) -> FollowBroken:
        self.stopped = f"{what} could not be applied: {exc!r}"
        return FollowBroken(self.stopped)
