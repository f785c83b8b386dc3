"""The upstream of a pull site behind a shield: asked through it, or directly where that cannot be."""

from __future__ import annotations

from collections.abc import Callable

from cdn.edge.clocks import Clocks
from cdn.edge.peer_fields import ALONE, CLIENT, NEWER, SCHEME, SITE, VERSION, PeerFault
from cdn.edge.pull_key import authority
from cdn.edge.pull_visit import PullVisit
from cdn.edge.shield import Shield, ShieldBypassed, Shields
from cdn.edge.shield_news import ShieldNews
from cdn.fleet.eligibility import eligible
from cdn.fleet.node import NodeFacts
from cdn.fleet.position import Position
from cdn.http.fields import FieldLines
from cdn.http.response_head import ResponseHead
from cdn.origin.upstream import Upstream, UpstreamBroken, UpstreamFault, UpstreamRequest, UpstreamResponse

SHIELDED_METHODS = frozenset(("GET", "HEAD"))
"""Others change something, or may not be repeated: they go to the upstream itself (docs/decisions/019)."""

CONTENT_SLACK_S = 5.0
"""How much longer than the site's upstream a shield may be silent within its content: it notices first."""

DOWN = "shield-down"
"""The detail in Cache-Status where every shield has failed."""

_OF_THIS_HOP = frozenset(
    ("cdn-loop", "forwarded", "host", "surrogate-capability", "via", "x-forwarded-for", "x-forwarded-proto")
)
"""What this node would say of itself and the visitor. The shield says it anew, so upstream sees it as from here."""

_NOTHING_SENT = frozenset(
    (
        UpstreamFault.FORBIDDEN_ADDRESS,
        UpstreamFault.NAME_UNKNOWN,
        UpstreamFault.NAME_TIMEOUT,
        UpstreamFault.CONNECT_REFUSED,
        UpstreamFault.CONNECT_TIMEOUT,
        UpstreamFault.TLS,
        UpstreamFault.TOO_MANY_CONNECTIONS,
        UpstreamFault.CREDENTIALS,
        UpstreamFault.CLOSED,
    )
)
"""Failures of the shield's in which the upstream heard of no request: it may be the shield that is cut off from it."""


class ShieldedUpstreams:
    """Puts the shields before the upstreams of sites."""

    def __init__(self, shields: Shields, news: ShieldNews, clocks: Clocks) -> None:
        self._shields = shields
        self._news = news
        self._clocks = clocks

    def asks_another(self, visit: PullVisit) -> bool:
        """Whether a request goes to another node, as things are now."""
        return self._concerns(visit) and self._shields.choose(_key_of(visit)) is not None

    def why_passed(self, visit: PullVisit) -> str | None:
        """Why a request that would go to another node does not, for Cache-Status."""
        if not self._concerns(visit) or not self._shields.is_down:
            return None
        self._shields.note_bypass(DOWN)
        return DOWN

    def before(
        self,
        direct: Upstream,
        visit: PullVisit,
        required: Position,
        on_bypass: Callable[[str], None],
        *,
        is_alone: bool,
    ) -> Upstream:
        """The upstream `direct` for one request that is admitted at `required`. `on_bypass` hears why it went past."""
        more: FieldLines = ((ALONE, VERSION),) if is_alone else ()
        age_s = self._news.age_s((visit.site.id, visit.key.path), self._clocks.monotonic())
        if age_s is not None:
            more = (*more, (NEWER, str(max(0, int(age_s * 1000)))))
        return _ShieldedUpstream(self._shields, direct, visit, required, more, on_bypass)

    def _concerns(self, visit: PullVisit) -> bool:
        if visit.peer is not None or visit.sent_target is not None:
            return False
        if visit.request.method not in SHIELDED_METHODS or not self._shields.has_any:
            return False
        return eligible(NodeFacts("", self._shields.region), visit.site)


class _ShieldedUpstream:
    """See ShieldedUpstreams.before."""

    def __init__(  # noqa: PLR0917 - one request, part by part
        self,
        shields: Shields,
        direct: Upstream,
        visit: PullVisit,
        required: Position,
        more: FieldLines,
        on_bypass: Callable[[str], None],
    ) -> None:
        self._shields = shields
        self._direct = direct
        self._visit = visit
        self._required = required
        self._more = more
        self._on_bypass = on_bypass

    async def send(self, request: UpstreamRequest, on_interim: Callable[[ResponseHead], None]) -> UpstreamResponse:
        """See Upstream. A shield's word on the upstream counts; only where it has none is upstream asked from here."""
        shield = self._shields.choose(_key_of(self._visit))
        if shield is None:  # the last of them failed since it was decided to ask
            self._pass(DOWN)
            return await self._direct.send(request, on_interim)
        try:
            return await self._through(shield, request, on_interim)
        except ShieldBypassed as exc:
            broken = _said_of_upstream(exc)
            if broken is not None:
                raise broken from exc
            self._pass(exc.detail)
        return await self._direct.send(request, on_interim)

    async def _through(
        self, shield: Shield, request: UpstreamRequest, on_interim: Callable[[ResponseHead], None]
    ) -> UpstreamResponse:
        settings = self._visit.site.settings
        asked = UpstreamRequest(request.method, self._visit.key.name, self._fields(request))
        return await self._shields.ask(
            shield,
            asked,
            site_id=self._visit.site.id,
            required=self._required,
            read_s=settings.read_timeout_s + CONTENT_SLACK_S,
            on_interim=on_interim,
            more=self._told(),
        )

    def _fields(self, request: UpstreamRequest) -> FieldLines:
        """The request as it goes upstream, but as if from the visitor's own hand where each hop says something."""
        visitors = self._visit.request
        kept = tuple(line for line in request.fields if line[0] not in _OF_THIS_HOP)
        before = tuple(
            (name, value) for name in ("via", "cdn-loop") if (value := visitors.fields.get(name)) is not None
        )
        return (("host", authority(visitors)), *kept, *before)

    def _told(self) -> FieldLines:
        visit = self._visit
        address, scheme = visit.visitor.address, visit.request.scheme
        return ((SITE, visit.site.id), (CLIENT, address), (SCHEME, scheme), *self._more)

    def _pass(self, detail: str) -> None:
        self._shields.note_bypass(detail)
        self._on_bypass(detail)


def _key_of(visit: PullVisit) -> str:
    return f"{visit.site.id} {visit.key.path}"


def _said_of_upstream(bypassed: ShieldBypassed) -> UpstreamBroken | None:
    """What became of the shield's own request, when that reached the upstream: another would fare no better."""
    if bypassed.fault is not PeerFault.UPSTREAM:
        return None
    try:
        fault = UpstreamFault(bypassed.more)
    except ValueError:
        return None
    if fault in _NOTHING_SENT:
        return None
    return UpstreamBroken(fault, f"The upstream failed the shield that asked it ({fault.value}).")
