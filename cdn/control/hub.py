"""The hub: every node's WebSocket. Records go down, acknowledgements come up (DESIGN I3, I8, I9)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from cdn.control.dns_followers import DnsFollowers, Followers
from cdn.control.follow_connection import FollowConnection
from cdn.control.node_directory import NodeDirectory
from cdn.control.peer_tokens import PeerTokens
from cdn.control.record_frames import RecordFrames
from cdn.control.refusals import Refusal, Refusals
from cdn.errors import CdnError, Forbidden, NotFound, Unauthorized, Unavailable
from cdn.journal.journal import Journal, Trimmed
from cdn.journal.record import DNS_AUDIENCES, EDGE_AUDIENCES, Audience
from cdn.journal.snapshot import Snapshot, encode
from cdn.journal.wire import MAX_NODE_MESSAGE_BYTES, BlobFault, FollowerRole
from cdn.tls.mutual import shows_certificate

MAX_CONNECTIONS = 2048
"""Open WebSockets, those included that have not said hello yet."""

APPLIED_PER_S = 4_000
"""Acknowledgements that control takes in a second from all nodes together, about: a quarter of a core. Beyond that each
node is asked for fewer, each of which stands for more records."""

SHORTEST_APPLIED_EVERY_S = 0.025
"""Below that nodes are asked for nothing: a hundred of them may acknowledge every record by itself."""

MAX_SNAPSHOT_LAG = 2_000
"""A snapshot made for one node is sent to others until it is this many records old."""

SnapshotSource = Callable[[frozenset[Audience]], Snapshot]
"""Makes a snapshot of what these audiences may read, at the position where the folds stand now."""


Suspect = Callable[[str, str, str], None]
"""Told of node, site and digest when a node says that the store's copy of a blob is damaged or gone. Does not wait."""


def _nobody(token: str, dns_id: str | None) -> bool:
    return False


class FollowHub:
    """Gives every node the journal from where it stands and tells the directory what the nodes say.

    A node whose place is no longer kept, of another epoch or ahead of the journal gets a snapshot. Nothing is queued
    per node: each connection reads the journal at its own pace, and one that takes a message too slowly is closed.
    """

    def __init__(
        self,
        journal: Journal,
        take_snapshot: SnapshotSource,
        directory: NodeDirectory,
        verify_node_token: Callable[[str, str | None], bool],
        *,
        verify_dns_token: Callable[[str, str | None], bool] = _nobody,
        heartbeat_s: float,
        lease_s: float,
        suspect: Suspect | None = None,
        zone: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`zone` is the CDN's own: nodes that were told another one are refused; None: any will do."""
        self.journal = journal
        self.frames = RecordFrames(journal)
        self.zone = zone
        self.wall = wall
        self.refusals = Refusals()
        self._suspect = suspect
        self.directory = directory
        self.dns = DnsFollowers()
        self.requires_certificate = False
        """Whether nodes have to show a certificate, which the listener has verified."""
        self.peers: PeerTokens | None = None
        """Whose tokens let nodes ask each other; None: nobody is told."""
        self.heartbeat_s = heartbeat_s
        self.lease_s = lease_s
        self.counters: dict[str, int] = {"snapshots_sent": 0}
        self._take_snapshot = take_snapshot
        self._verify_node_token = verify_node_token
        self._verify_dns_token = verify_dns_token
        self._open: set[FollowConnection] = set()
        self._by_node: dict[str, FollowConnection] = {}
        self._encoded: dict[frozenset[Audience], tuple[int, bytes]] = {}
        self._encoding = asyncio.Lock()
        self._is_closing = False

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """The handler of FOLLOW_PATH. Returns when the connection has ended.

        Raises Unauthorized without a node's token or certificate, Unavailable beyond MAX_CONNECTIONS or while closing.
        """
        if self.requires_certificate and not shows_certificate(request.transport):
            sentence = "a node has to show a certificate here: give it cert_file and key_file in [control_tls]"
            self.refusals.note(Refusal.NO_CERTIFICATE, "", request.remote or "", sentence, self.wall())
            raise Unauthorized(sentence)
        try:
            token = _bearer_token(request)
            self._require_node(token)
        except Unauthorized as exc:
            self.refuse_stranger(request, exc)
            raise
        if self._is_closing or len(self._open) >= MAX_CONNECTIONS:
            sentence = f"control takes no more followers now (the limit is {MAX_CONNECTIONS})"
            self.refusals.note(Refusal.NO_ROOM, "", request.remote or "", sentence, self.wall())
            raise Unavailable(sentence)
        socket = web.WebSocketResponse(max_msg_size=MAX_NODE_MESSAGE_BYTES, compress=False, timeout=1.0)
        connection = FollowConnection(self, socket, request, partial(self._require_node, token))
        self._open.add(connection)
        try:
            await socket.prepare(request)
            await connection.run()
        finally:
            self._open.discard(connection)
        return socket

    def refuse_stranger(self, request: web.Request, error: CdnError) -> None:
        """Note somebody whose token lets nobody follow."""
        self.refusals.note(Refusal.UNKNOWN_TOKEN, "", request.remote or "", error.message, self.wall())

    def check_tokens(self) -> None:
        """Tokens changed: whoever follows with one that works no more is cut off now and gets nothing further."""
        for connection in tuple(self._open):
            connection.check_token()

    @property
    def applied_every_s(self) -> float:
        """How much time a node leaves between two acknowledgements when they come without pause."""
        every_s = len(self._by_node) / APPLIED_PER_S
        return every_s if every_s >= SHORTEST_APPLIED_EVERY_S else 0.0

    async def explain(self, node_id: str, host: str, target: str, timeout_s: float) -> dict[str, Any]:
        """How the node would answer `target` on `host` now.

        Raises NotFound for a node never heard of, Unavailable when it is away, too slow or cannot say.
        """
        connection = self._by_node.get(node_id)
        if connection is None:
            if all(node.node_id != node_id for node in self.directory.nodes()):
                raise NotFound(f"there is no node {node_id}")
            raise Unavailable(f"node {node_id} is not connected")
        return await connection.explain(host, target, timeout_s)

    async def explain_name(self, dns_id: str, name: str, source: str, timeout_s: float) -> dict[str, Any]:
        """How the name server would answer `name` for whoever asks from `source` now.

        Raises NotFound when it does not follow this replica of control, Unavailable when it is too slow or cannot say.
        """
        connection = self._by_node.get(f"{FollowerRole.DNS.value}:{dns_id}")
        if connection is None:
            raise NotFound(f"no name server {dns_id} follows this control")
        return await connection.explain(name, source, timeout_s)

    @property
    def connections(self) -> int:
        """How many nodes follow this replica of control."""
        return len(self._by_node)

    @property
    def hears_blob_faults(self) -> bool:
        """Whether somebody looks into what nodes say of blobs."""
        return self._suspect is not None

    async def aclose(self) -> None:
        """Close every connection; the nodes come back when control does."""
        self._is_closing = True
        await asyncio.gather(*(connection.close("control is going away") for connection in tuple(self._open)))

    # For its connections.

    def audiences(self, role: FollowerRole) -> frozenset[Audience]:
        """What a follower in this role may read."""
        return EDGE_AUDIENCES if role is FollowerRole.EDGE else DNS_AUDIENCES

    def followers(self, role: FollowerRole) -> Followers:
        """Who is told what a follower in this role says."""
        return self.directory if role is FollowerRole.EDGE else self.dns

    def current(self, node_id: str) -> FollowConnection | None:
        """The node's connection."""
        return self._by_node.get(node_id)

    def enter(self, node_id: str, connection: FollowConnection) -> None:
        """From now on `connection` is the node's."""
        self._by_node[node_id] = connection

    def is_current(self, node_id: str, connection: FollowConnection) -> bool:
        """Whether no later connection of the same node took its place."""
        return self._by_node.get(node_id) is connection

    def heed_blob_fault(self, node_id: str, fault: BlobFault) -> None:
        """Hand on what a node says of a blob."""
        if self._suspect is not None:
            self._suspect(node_id, fault.site_id, fault.digest)

    def leave(self, node_id: str, connection: FollowConnection) -> bool:
        """The connection has ended; whether it was the node's current one."""
        if not self.is_current(node_id, connection):
            return False
        del self._by_node[node_id]
        return True

    async def encoded_snapshot(self, audiences: frozenset[Audience], at_least: int) -> tuple[int, bytes]:
        """A recent snapshot, encoded, and its sequence, `at_least` or above; the journal keeps every record after it.

        Raises Unavailable when control itself lags behind that, or behind what the journal keeps.
        """
        async with self._encoding:
            found = self._encoded.get(audiences)
            if found is not None and found[0] >= at_least and await self._is_recent(found[0]):
                return found
            snapshot = self._take_snapshot(audiences)
            sequence = snapshot.position.sequence
            if (
                snapshot.position.epoch != self.journal.epoch
                or sequence < at_least
                or isinstance(await self.journal.read(sequence, limit=1), Trimmed)
            ):
                raise Unavailable("control has not caught up with the journal yet")
            self._encoded[audiences] = (sequence, await asyncio.to_thread(encode, snapshot))
            return self._encoded[audiences]

    def _require_node(self, token: str, node_id: str | None = None, role: FollowerRole | None = None) -> None:
        """Raises Unauthorized; Forbidden for the token of another node, or of one in another role.

        `role` None: in whichever.
        """
        if self._lets(token, node_id, role):
            return
        if node_id is None or not self._lets(token, None, None):
            raise Unauthorized("this token does not let a node follow the journal: create one with scope node:ID")
        scope = f"{'node' if role is not FollowerRole.DNS else 'dns'}:{node_id}"
        raise Forbidden(f"this token is not for {scope.replace(':', ' ')}: create one with scope {scope}")

    def _lets(self, token: str, node_id: str | None, role: FollowerRole | None) -> bool:
        if role is not FollowerRole.DNS and self._verify_node_token(token, node_id):
            return True
        return role is not FollowerRole.EDGE and self._verify_dns_token(token, node_id)

    async def _is_recent(self, sequence: int) -> bool:
        end = await self.journal.position()
        if end.sequence - sequence > MAX_SNAPSHOT_LAG:
            return False
        return not isinstance(await self.journal.read(sequence, limit=1), Trimmed)


def _bearer_token(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("following the journal needs a node's token in the Authorization field")
    return token.strip()
