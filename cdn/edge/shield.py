"""The shields of a node: asked before an upstream or the store is, and left alone while they fail.

What is said of a shield here is decided by how it answers. One that cannot be reached, is silent, has not applied what
is required or refuses this node is not asked again before a probe of ours was answered; meanwhile its keys go to the
other shields, and without any, past all of them. What concerns only one request changes nothing for the others.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from cdn.edge.clocks import Clocks
from cdn.edge.fault_log import FaultLog
from cdn.edge.peer_fields import (
    ANSWERS,
    FAULT,
    NODE,
    PROOF,
    REQUIRED_SEQUENCE,
    SPEAKS,
    VERSION,
    PeerFault,
    without_peer_fields,
)
from cdn.edge.shield_choice import Circuit, owner
from cdn.edge.shield_settings import DEFAULT_PORTS, ShieldSettings, check_shield_url
from cdn.fleet.peers import shown_by
from cdn.fleet.position import Position
from cdn.http.fields import FieldLines, Fields
from cdn.http.response_head import ResponseHead
from cdn.origin.dialer import Dialer
from cdn.origin.endpoint import Endpoint
from cdn.origin.http_upstream import HttpUpstream
from cdn.origin.names import Names
from cdn.origin.outbound import OutboundRule
from cdn.origin.pool import Pool
from cdn.origin.upstream import (
    UpstreamBroken,
    UpstreamContent,
    UpstreamFault,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeouts,
)
from cdn.origin.upstream_limits import UpstreamLimits

READY_PATH = "/v1/peer/ready"
"""Answered as soon as the shield has applied what is required: how one that failed is tried out."""

STILL_WORKING = 102
"""The status of the interim response with which a shield says that it is still waiting for something (RFC 2518)."""

MAX_REQUESTS = 480
"""Requests to one shield at a time, until their content is read: each has a connection. Beyond, it is passed by."""

MAX_REQUESTS_OF_SITE = 160
"""Those of one site: a site with a slow upstream leaves room for the others (DESIGN I10)."""

LIMITS = UpstreamLimits(
    max_connections=4096,  # a quarter of what is free is one shield's share: more than MAX_REQUESTS
    max_connections_per_upstream=512,
    max_interim=100_000,  # two a second, for as long as the site's own timeouts allow
    max_head_bytes=80 * 1024,  # an upstream's largest, and what the shield adds
    max_fields=272,
)

_ABOUT_THE_SHIELD = frozenset(
    (
        UpstreamFault.NAME_UNKNOWN,
        UpstreamFault.NAME_TIMEOUT,
        UpstreamFault.CONNECT_REFUSED,
        UpstreamFault.CONNECT_TIMEOUT,
        UpstreamFault.TLS,
        UpstreamFault.WRITE_TIMEOUT,
        UpstreamFault.READ_TIMEOUT,
        UpstreamFault.CLOSED_EARLY,
    )
)
"""Faults that say something about every request to come. What a response of some site can bring about is not here."""

_REFUSING = frozenset((PeerFault.UNAUTHORISED, PeerFault.LOOP, PeerFault.VERSION))
_AWAY = frozenset((PeerFault.BEHIND, PeerFault.DRAINING))

_REFUSED_HEADS = frozenset((400, 413, 414, 431, 501, 505))
"""What a shield's HTTP engine answers to one request that it does not take."""


class ShieldBypassed(Exception):
    """A request got nothing from a shield, and goes past it. Never leaves this room; `detail` is for Cache-Status."""

    def __init__(self, detail: str, fault: PeerFault | None = None, more: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.fault = fault
        self.more = more


@dataclass(eq=False, slots=True)
class Shield:
    """One of them. `requests` are under way, `sites` those by site."""

    url: str
    endpoint: Endpoint
    circuit: Circuit
    requests: int
    sites: Counter[str]


class Shields:
    """Those of one node. `own_url` is the one that is this node itself; `token` is the node's."""

    def __init__(
        self,
        settings: ShieldSettings,
        *,
        node_id: str,
        token: str,
        position: Callable[[], Position],
        clocks: Clocks,
        own_url: str = "",
    ) -> None:
        """Raises InvalidInput when the files that the settings name cannot be used."""
        self.asked = 0
        self.bypassed: dict[str, int] = {}
        """How many requests went past the shields, by detail."""
        self.region = settings.region
        self._patience_s = settings.patience_s
        self._position = position
        self._own_url = own_url.rstrip("/")
        self._said: FieldLines = ((SPEAKS, VERSION), (PROOF, shown_by(token)), (NODE, node_id))
        self._fault_log = FaultLog(clocks.monotonic)
        self._shields = {url: _shield(url) for each in settings.urls if (url := each.rstrip("/")) != self._own_url}
        is_secret = any(shield.endpoint.scheme == "https" for shield in self._shields.values())
        self._names = Names(LIMITS)
        tls = settings.tls.context() if is_secret else None
        self._pool = Pool(Dialer(OutboundRule(allows_private=True), self._names, LIMITS, tls).connect, LIMITS)
        self._probes: dict[str, asyncio.Task[None]] = {}

    @property
    def has_any(self) -> bool:
        """Whether there is one beside this node."""
        return bool(self._shields)

    def choose(self, key: str) -> Shield | None:
        """Whom to ask for a key; None: nobody, because it is this node's own or because none is there (`is_down`)."""
        alive = [url for url, shield in self._shields.items() if not shield.circuit.is_open]
        if self._own_url:
            alive.append(self._own_url)
        url = owner(key, alive)
        return None if url is None else self._shields.get(url)

    @property
    def is_down(self) -> bool:
        """Whether all of them failed, and this node is none itself."""
        has_nobody = not self._own_url and all(shield.circuit.is_open for shield in self._shields.values())
        return self.has_any and has_nobody

    def note_bypass(self, detail: str) -> None:
        """A request went past them."""
        self.bypassed[detail] = self.bypassed.get(detail, 0) + 1

    async def ask(
        self,
        shield: Shield,
        request: UpstreamRequest,
        *,
        site_id: str,
        required: Position,
        read_s: float,
        on_interim: Callable[[ResponseHead], None],
        more: FieldLines = (),
    ) -> UpstreamResponse:
        """What the shield says of the site's upstream or store, once it has applied `required`.

        Of the peer protocol's fields it is sent `more` and what every request says, and none of `request`; none comes
        back. `read_s` bounds each silence within the content. Raises ShieldBypassed.
        """
        if shield.requests >= MAX_REQUESTS or shield.sites[site_id] >= MAX_REQUESTS_OF_SITE:
            raise ShieldBypassed("shield-busy", PeerFault.BUSY)
        self.asked += 1
        self._count(shield, site_id, 1)
        try:
            response = await self._send(shield, request, required, read_s, on_interim, more)
            if response.head.fields.get(ANSWERS) is None:
                await response.content.aclose()
                raise self._unanswered(shield, response.head)
        except BaseException:
            self._count(shield, site_id, -1)
            raise
        head = ResponseHead(response.head.status, Fields(without_peer_fields(response.head.fields)))
        return UpstreamResponse(head, _Counted(response.content, lambda: self._count(shield, site_id, -1)))

    def note_damage(self, shield: Shield) -> None:
        """It sent bytes with another digest than was asked for."""
        self._fault_log.tell(
            f"damaged {shield.url}", f"the shield {shield.url} sent damaged content: none of it is used"
        )

    def suspend(self, shield: Shield, why: str) -> None:
        """Leave it alone until a probe is answered."""
        if shield.circuit.failed():
            self._fault_log.tell(f"{why} {shield.url}", f"the shield {shield.url} is passed by for now: {why}")
            task = asyncio.create_task(self._probe(shield), name=f"probe {shield.url}")
            self._probes[shield.url] = task
            task.add_done_callback(lambda done: self._probes.pop(shield.url, None))

    def counted(self) -> dict[str, int]:
        """What was asked, and why not."""
        return {
            "shield_requests": self.asked,
            "shields_suspended": sum(shield.circuit.is_open for shield in self._shields.values()),
            **{f"bypassed_{detail}": count for detail, count in self.bypassed.items()},
        }

    async def aclose(self) -> None:
        """End probes and close every connection."""
        tasks = tuple(self._probes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pool.aclose()
        await self._names.aclose()

    async def _send(  # noqa: PLR0917 - one request, part by part
        self,
        shield: Shield,
        request: UpstreamRequest,
        required: Position,
        read_s: float,
        on_interim: Callable[[ResponseHead], None],
        more: FieldLines = (),
    ) -> UpstreamResponse:
        said = ((REQUIRED_SEQUENCE, str(required)), *self._said, *more)
        asked = UpstreamRequest(request.method, request.target, (*without_peer_fields(request.fields), *said))
        timeouts = UpstreamTimeouts(connect_s=self._patience_s, read_s=read_s, retries=0)
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self._patience_s) as patience:

                def on_sign(interim: ResponseHead) -> None:
                    patience.reschedule(now() + self._patience_s)
                    if interim.status != STILL_WORKING:
                        on_interim(interim)

                return await HttpUpstream(shield.endpoint, self._pool, timeouts).send(asked, on_sign)
        except TimeoutError as exc:
            self.suspend(shield, f"it was silent for {self._patience_s:g} s")
            raise ShieldBypassed("shield-silent") from exc
        except UpstreamBroken as exc:
            if exc.fault in _ABOUT_THE_SHIELD:
                self.suspend(shield, str(exc))
            raise ShieldBypassed(f"shield-{exc.fault.value}") from exc

    def _unanswered(self, shield: Shield, head: ResponseHead) -> ShieldBypassed:
        """Why a shield that answered has no answer, and what follows for the requests to come."""
        text, _, more = (head.fields.get(FAULT) or "").partition(" ")
        try:
            fault = PeerFault(text)
        except ValueError:
            if head.status == 503:  # it takes no more connections
                return ShieldBypassed("shield-busy", PeerFault.BUSY)
            if head.status not in _REFUSED_HEADS:
                self.suspend(shield, f"what answers there with {head.status} is no shield of this CDN")
            return ShieldBypassed("shield-refused", PeerFault.FAILED)
        if fault in _REFUSING:
            self.suspend(shield, f"it refuses this node ({fault.value})")
        elif fault in _AWAY:
            self.suspend(shield, f"it is {fault.value}")
        return ShieldBypassed(f"shield-{fault.value}", fault, more)

    async def _probe(self, shield: Shield) -> None:
        """Try it until it answers."""
        while shield.circuit.is_open:
            await asyncio.sleep(shield.circuit.pause_s * random.uniform(0.75, 1.0))  # noqa: S311 - jitter, no secret
            request = UpstreamRequest("GET", READY_PATH, (("host", shield.endpoint.host),))
            try:
                response = await self._send(shield, request, self._position(), self._patience_s, _ignore)
                await response.content.aclose()
                if response.head.fields.get(ANSWERS) is None:
                    raise self._unanswered(shield, response.head)
            except ShieldBypassed:
                shield.circuit.probe_failed()
            else:
                shield.circuit.answered()

    def _count(self, shield: Shield, site_id: str, change: int) -> None:
        shield.requests += change
        shield.sites[site_id] += change
        if not shield.sites[site_id]:
            del shield.sites[site_id]


class _Counted:
    """Content whose end is told, once."""

    def __init__(self, content: UpstreamContent, on_end: Callable[[], None]) -> None:
        self._content = content
        self._on_end: Callable[[], None] | None = on_end

    @property
    def size_bytes(self) -> int | None:
        return self._content.size_bytes

    @property
    def trailers(self) -> FieldLines:
        return self._content.trailers

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._content)

    async def aclose(self) -> None:
        try:
            await self._content.aclose()
        finally:
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                on_end()


def _shield(url: str) -> Shield:
    parts = check_shield_url(url)
    assert parts.hostname is not None, "a URL that was checked names a host"
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return Shield(url, Endpoint(parts.scheme, parts.hostname, port, is_operators=True), Circuit(), 0, Counter())


def _ignore(head: ResponseHead) -> None:
    del head
