"""What a shield answers to other nodes: who asks, whether it is far enough, then its own road to what is behind it.

`answer` reads top to bottom. Nothing here asks another shield, so two nodes that shield each other never wait for one
another. Everything that cannot be answered is said in one word, and the node that asked does without this shield.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from cdn.edge.clocks import Clocks
from cdn.edge.collapse import TooManyFetches
from cdn.edge.fetch import BlobChunk, UpstreamDamaged
from cdn.edge.manifest_cache import ManifestCache, ManifestUnavailable
from cdn.edge.peer_answer import fault_response
from cdn.edge.peer_chunks import PeerChunks
from cdn.edge.peer_fields import (
    ALONE,
    ANSWERS,
    CLIENT,
    FLOOR,
    NEWER,
    NODE,
    PROOF,
    REQUIRED_SEQUENCE,
    SCHEME,
    SITE,
    SPEAKS,
    VERSION,
    PeerFault,
    read_number,
    read_position,
    without_peer_fields,
)
from cdn.edge.peer_paths import ManifestAsked, read_path
from cdn.edge.prepared import Prepared
from cdn.edge.pull_road import PullRoad
from cdn.edge.pull_visit import PeerTerms
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.shield import READY_PATH, STILL_WORKING
from cdn.edge.site_view import SiteView
from cdn.edge.visitor import Visitor
from cdn.errors import Unavailable
from cdn.fleet.eligibility import eligible
from cdn.fleet.node import NodeFacts
from cdn.fleet.peers import PeerRoll
from cdn.fleet.position import Position
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.origin.store import ObjectMissing
from cdn.sites.site import Site

PATIENCE_S = 0.5
"""How long a request waits for records that are on their way; then the node that asks goes past this one."""

SIGN_EVERY_S = 0.5
"""How often a node that waits is told that this one works on it."""

MAX_WAITING = 4096
"""Requests that wait for records at one time; more are told at once."""


@dataclass(slots=True)
class PeerCounters:
    """What other nodes asked for."""

    answered: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def note(self, fault: PeerFault) -> None:
        """A request got no answer."""
        self.refused[fault.value] = self.refused.get(fault.value, 0) + 1


class PeerApplication:
    """Answers nodes whose tokens are on the roll; an Application."""

    def __init__(
        self,
        *,
        node_id: str,
        view: SiteView,
        road: PullRoad,
        chunks: PeerChunks,
        manifests: ManifestCache,
        facts: NodeFacts,
        roll: Callable[[], PeerRoll],
        clocks: Clocks,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.counters = PeerCounters()
        self.is_draining = False
        self._node_id = node_id
        self._view = view
        self._road = road
        self._chunks = chunks
        self._manifests = manifests
        self._facts = facts
        self._roll = roll
        self._clocks = clocks
        self._patience_s = patience_s
        self._waiting = 0

    def recall(self, request: Request, now: float) -> Prepared | None:
        """Who asks is looked at each time."""
        return None

    async def answer(self, request: Request, content: RequestContent, visitor: Visitor) -> Response:
        """See Application."""
        answered = await self._judged(request, content, visitor)
        if isinstance(answered, PeerFault):
            self.counters.note(answered)
            return fault_response(answered)
        self.counters.answered += 1
        return answered

    async def _judged(self, request: Request, content: RequestContent, visitor: Visitor) -> Response | PeerFault:
        fields = request.fields
        if self._roll().holder(fields.get(PROOF) or "", self._clocks.wall()) is None:
            return PeerFault.UNAUTHORISED
        if fields.get(SPEAKS) != VERSION:
            return PeerFault.VERSION
        if fields.get(NODE) == self._node_id:
            return PeerFault.LOOP
        if self.is_draining:
            return PeerFault.DRAINING
        required = read_position(fields.get(REQUIRED_SEQUENCE))
        if required is None or request.method not in ("GET", "HEAD") or content.size_bytes != 0:
            return PeerFault.MALFORMED
        if not await self._has_applied(required):
            return PeerFault.BEHIND
        signs = _Signs(visitor)
        try:
            return await (self._of_pull_site(request, content, visitor) if SITE in fields else self._stored(request))
        finally:
            signs.end()

    async def _has_applied(self, required: Position) -> bool:
        view = self._view
        if view.position.covers(required):
            return True
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience_s):
                while not view.position.covers(required):
                    await view.advanced()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True

    def _site(self, site_id: str) -> Site | PeerFault:
        site = self._view.catalog.site(site_id)
        if site is None:
            return PeerFault.UNKNOWN_SITE
        return site if eligible(self._facts, site) else PeerFault.INELIGIBLE

    # A request to a pull site, as the visitor's own

    async def _of_pull_site(self, request: Request, content: RequestContent, visitor: Visitor) -> Response | PeerFault:
        fields = request.fields
        site = self._site(fields.get(SITE) or "")
        if isinstance(site, PeerFault):
            return site
        scheme = fields.get(SCHEME) or ""
        newer_ms = read_number(fields.get(NEWER))
        if not site.settings.is_pull or scheme not in ("http", "https") or (newer_ms is None and NEWER in fields):
            return PeerFault.MALFORMED
        newer_than = None if newer_ms is None else self._clocks.monotonic() - newer_ms / 1000
        visitors = Request(
            request.method,
            request.target,
            request.host,
            request.port,
            Fields(without_peer_fields(fields)),
            scheme,
        )
        peer = PeerTerms(newer_than, is_alone=ALONE in fields)
        asker = Visitor(fields.get(CLIENT) or "", visitor.send_interim)
        return await self._road.answer(visitors, content, asker, site, peer)

    # What bundles consist of

    async def _stored(self, request: Request) -> Response | PeerFault:
        if request.target.path == READY_PATH:
            return _answered(b"")
        asked = read_path(request.target)
        if asked is None:
            return PeerFault.MALFORMED
        site = self._site(asked.site_id)
        if isinstance(site, PeerFault):
            return site
        try:
            match asked:
                case BlobChunk():
                    floor = read_number(request.fields.get(FLOOR))
                    return PeerFault.MALFORMED if floor is None else _answered(await self._chunks.chunk(asked, floor))
                case ManifestAsked(site_id, digest):
                    manifest = await self._manifests.load(site_id, digest)
                    return _answered(await asyncio.to_thread(manifest.to_bytes))
                case _:
                    assert_never(asked)
        except TooManyFetches:
            return PeerFault.BUSY
        except UpstreamDamaged:
            return PeerFault.DAMAGED
        except ObjectMissing:
            return PeerFault.MISSING
        except (ManifestUnavailable, Unavailable):
            return PeerFault.STORE


class _Signs:
    """Tells who waits, now and then, that this node works on it."""

    def __init__(self, visitor: Visitor) -> None:
        self._send = visitor.send_interim
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_later(SIGN_EVERY_S, self._give)

    def end(self) -> None:
        """There is an answer."""
        self._next.cancel()

    def _give(self) -> None:
        self._send(STILL_WORKING, ())
        self._next = self._loop.call_later(SIGN_EVERY_S, self._give)


def _answered(content: bytes) -> Response:
    fields = (("content-type", "application/octet-stream"), ("cache-control", "no-store"), (ANSWERS, VERSION))
    return Response(200, fields, content)
