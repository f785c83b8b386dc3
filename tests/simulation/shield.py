"""A node that others ask before the upstream: the product's two ends of it, over lines between nodes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from cdn.edge.peer_answer import fault_response
from cdn.edge.peer_application import PeerApplication
from cdn.edge.peer_fields import ANSWERS, VERSION, PeerFault
from cdn.edge.pull_visit import PeerTerms, visit_of
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.shield import Shields
from cdn.edge.shield_news import ShieldNews
from cdn.edge.shield_settings import ShieldSettings
from cdn.edge.shield_upstream import ShieldedUpstreams
from cdn.edge.visitor import Visitor
from cdn.errors import Unavailable
from cdn.fleet.node import NodeFacts
from cdn.fleet.peers import PeerRoll, PeerToken
from cdn.http.fields import FieldLines, Fields
from cdn.http.request import Request
from cdn.http.response_head import ResponseHead
from cdn.http.target import Target
from cdn.origin.upstream import UpstreamBroken, UpstreamFault, UpstreamRequest, UpstreamResponse
from cdn.sites.site import Site
from tests.simulation.upstream import Said, SimulatedUpstream
from tests.simulation.virtual_time import VirtualLoop, this_machine
from tests.simulation.worker import NO_CONTENT, VISITOR

if TYPE_CHECKING:
    from tests.simulation.network import Network
    from tests.simulation.node import Life, SimulatedNode

SHIELD_SETTINGS = ShieldSettings(patience_s=1.0)
AGED = "simulated-age"
"""How old the representation is, in seconds: Age, but for its rounding."""


class Content:
    """UpstreamContent: the version, as digits."""

    trailers = ()

    def __init__(self, content: bytes = b"") -> None:
        self._content = content
        self.size_bytes = len(content)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        yield self._content

    async def aclose(self) -> None:
        """Nothing is held."""


class Lines:
    """From node to shield: slow, cut, and to nobody when that is dead."""

    def __init__(self, loop: VirtualLoop, network: Network, rng: random.Random) -> None:
        self.nodes: dict[str, SimulatedNode] = {}
        self._loop = loop
        self._network = network
        self._rng = rng

    def upstream(self, endpoint: Any, pool: object, timeouts: object) -> Line:
        """In the place of HttpUpstream."""
        return Line(self, self.nodes[endpoint.host])

    async def pass_over(self, one: str, other: str) -> None:
        """One way, for as long as that may take."""
        await asyncio.sleep(self._network.latency_s(self._rng))
        while {(one, "shield"), (other, "shield")} & self._network.cut_off:
            await asyncio.sleep(0.25)

    async def ask(self, node: SimulatedNode, request: UpstreamRequest, on_sign: Callable[[Any], None]) -> Response:
        """What the node answers. Raises UpstreamBroken when it is dead."""
        asker = this_machine()
        await self.pass_over(asker.name, node.node_id)
        life = node.life
        if life is None or life.peers is None:
            raise UpstreamBroken(UpstreamFault.CONNECT_REFUSED, "nobody listens")
        answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def sign(head: ResponseHead) -> None:
            if not answered.done():
                on_sign(head)

        def send_interim(status: int, lines: FieldLines) -> None:
            at = self._loop.now + self._network.latency_s(self._rng)
            if not {(asker.name, "shield"), (node.node_id, "shield")} & self._network.cut_off:
                self._loop.deliver(at, asker, sign, ResponseHead(status, Fields(lines)))

        async def answer(peers: PeerApplication) -> None:
            fields = Fields(request.fields)
            asked = Request(
                "GET", Target(request.target, None, request.target), fields.get("host") or "", None, fields, "http"
            )
            response = await peers.answer(asked, NO_CONTENT, Visitor("", send_interim))
            await self.pass_over(node.node_id, asker.name)
            if not answered.done():
                answered.set_result(response)

        self._loop.start(life.machine, answer(life.peers))
        return await answered


class Line:
    """An Upstream that is a shield."""

    def __init__(self, lines: Lines, node: SimulatedNode) -> None:
        self._lines = lines
        self._node = node

    async def send(self, request: UpstreamRequest, on_interim: Callable[[Any], None]) -> UpstreamResponse:
        response = await self._lines.ask(self._node, request, on_interim)
        assert isinstance(response.content, bytes)
        return UpstreamResponse(ResponseHead(response.status, Fields(response.fields)), Content(response.content))


class Direct:
    """The upstream itself, as the parts before a shield see it."""

    def __init__(self, upstream: SimulatedUpstream, node: SimulatedNode, name: str, path: str) -> None:
        self._upstream = upstream
        self._node = node
        self._name = name
        self._path = path

    async def send(self, request: UpstreamRequest, on_interim: Callable[[Any], None]) -> UpstreamResponse:
        etag = Fields(request.fields).get("if-none-match")
        known = None if etag is None else int(etag)
        node = self._node
        said = await self._upstream.ask(node.node_id, self._name, self._path, node.rng, etag=known)
        return _answer(said.version, said.age_s)


class Road:
    """In the place of PullRoad: what a shield has, or asks for itself."""

    def __init__(self, life: Life) -> None:
        self._life = life

    async def answer(
        self, request: Request, content: RequestContent, visitor: Visitor, site: Site, peer: PeerTerms
    ) -> Response:
        path = request.target.path
        try:
            kept = await self._life.cache.answer_peer(site, path, request)
        except Unavailable:
            return fault_response(PeerFault.UPSTREAM)
        etag = request.fields.get("if-none-match")
        fields = ((ANSWERS, VERSION), (AGED, str(kept.age_s)))
        if etag is not None and int(etag) == kept.version:
            return Response(304, fields)
        return Response(200, fields, str(kept.version).encode())


class Shielding:
    """The way of one life to its shield, past which it goes when that does not answer."""

    def __init__(self, life: Life, url: str) -> None:
        node = life.node
        self._life = life
        settings = ShieldSettings(urls=(url,), patience_s=SHIELD_SETTINGS.patience_s)
        self.shields = Shields(
            settings, node_id=node.node_id, token=node.token, position=lambda: life.view.position, clocks=life.clocks
        )
        self._upstreams = ShieldedUpstreams(self.shields, ShieldNews(), life.clocks)

    async def ask(self, site: Site, path: str, request: Request, etag: int | None, required: Any) -> Said:
        """As SimulatedUpstream.ask."""
        node = self._life.node
        visit = visit_of(request, VISITOR, site, generation=0, number=0, cdn_id="cdn")
        direct = Direct(node.upstream, node, site.name, path)
        upstream = self._upstreams.before(direct, visit, required, lambda detail: None, is_alone=True)
        fields = () if etag is None else (("if-none-match", str(etag)),)
        response = await upstream.send(UpstreamRequest("GET", path, fields), lambda head: None)
        content = b"".join([part async for part in response.content])
        await response.content.aclose()
        age_s = float(response.head.fields.get(AGED) or 0.0)
        return Said(None if response.head.status == 304 else int(content), age_s)


def peer_application(life: Life) -> PeerApplication:
    """What answers other nodes."""
    nothing: Any = None
    road: Any = Road(life)
    return PeerApplication(
        node_id=life.node.node_id,
        view=life.view,
        road=road,
        chunks=nothing,
        manifests=nothing,
        facts=NodeFacts("simulated"),
        roll=lambda: life.node.roll,
        clocks=life.clocks,
    )


def taker(node: SimulatedNode) -> Callable[[Sequence[PeerToken]], Any]:
    """Keeps who may ask."""

    async def take(tokens: Sequence[PeerToken]) -> None:
        node.roll = PeerRoll(tokens)

    return take


def _answer(version: int | None, age_s: float) -> UpstreamResponse:
    status, content = (304, b"") if version is None else (200, str(version).encode())
    return UpstreamResponse(ResponseHead(status, Fields(((AGED, str(age_s)),))), Content(content))
