"""The road of a request to a pull site: key, stored responses, decision, and what follows from it (RFC 9111).

`_read` reads top to bottom: look at what is stored, decide, serve it, or ask the upstream, alone or together with
others who wait for the same. What an answer turns out to be may send a request round once more: it is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from cdn.edge import local_answer
from cdn.edge.clocks import Clocks
from cdn.edge.collapse import TooManyFetches
from cdn.edge.counters import NodeCounters
from cdn.edge.fault_log import FaultLog
from cdn.edge.peer_answer import fault_response
from cdn.edge.peer_fields import PeerFault
from cdn.edge.prepared import Prepared
from cdn.edge.proxied import Proxied
from cdn.edge.pull_content import ArrivingContent
from cdn.edge.pull_fetch import Asking, PullFetcher
from cdn.edge.pull_flight import Alone, Failed, Flight, Flights, Outcome, Renewed, Shared
from cdn.edge.pull_joining import PullJoining
from cdn.edge.pull_memory import PullMemory
from cdn.edge.pull_response import PullResponder
from cdn.edge.pull_shelf import Held, OnShelf, PullShelf, has_validator
from cdn.edge.pull_status import PullStatus, forward_reason
from cdn.edge.pull_visit import PeerTerms, PullVisit, visit_of
from cdn.edge.recall import recall_pulled
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.site_view import SiteView
from cdn.edge.visitor import Visitor
from cdn.http.cache_status import CacheStatus, Forward
from cdn.http.cdn_loop import has_loop
from cdn.http.decide import (
    Decision,
    Forwarded,
    Serve,
    ServeStale,
    Validate,
    decide,
)
from cdn.http.request import Request
from cdn.origin.upstream import UpstreamBroken, UpstreamFault
from cdn.sites.site import Site

MAX_ROUNDS = 4
"""How often a request looks again after it waited for an answer that it could not use; then it goes alone."""

MAX_BACKGROUND_VALIDATIONS = 256
"""Stale responses validated behind visitors' backs at one time; more are left to the next request."""

MAX_BACKGROUND_VALIDATIONS_PER_SITE = 64
"""Those of one site: one whose upstream is slow leaves some to the others (DESIGN I10)."""

FAILED_STATUSES = frozenset((500, 502, 503, 504))
"""Answers that a stale response may stand in for (RFC 5861 section 4)."""

_TIMEOUTS = frozenset(
    (
        UpstreamFault.CONNECT_TIMEOUT,
        UpstreamFault.NAME_TIMEOUT,
        UpstreamFault.READ_TIMEOUT,
        UpstreamFault.WRITE_TIMEOUT,
    )
)


class PullRoad:
    """Answers requests to pull sites."""

    def __init__(
        self,
        *,
        cache_name: str,
        cdn_id: str,
        view: SiteView,
        shelf: PullShelf,
        flights: Flights,
        fetcher: PullFetcher,
        responder: PullResponder,
        memory: PullMemory,
        counters: NodeCounters,
        clocks: Clocks,
        is_attached: Callable[[], bool],
    ) -> None:
        self._cache_name = cache_name
        self._cdn_id = cdn_id
        self._view = view
        self._shelf = shelf
        self._flights = flights
        self._fetcher = fetcher
        self._responder = responder
        self.memory = memory
        self._counters = counters
        self._clocks = clocks
        self._is_attached = is_attached
        self._joining = PullJoining(shelf, flights, fetcher, clocks)
        self._status = PullStatus(cache_name, is_attached)
        self._faults = FaultLog(clocks.monotonic)
        self._behind: dict[asyncio.Task[None], str] = {}
        self.last_faults: dict[str, tuple[float, UpstreamFault, str]] = {}
        """Of each site the last failure of its upstream: when (wall), what, and in a sentence. One entry per site."""

    def recall(self, request: Request, site: Site, now: float) -> Prepared | None:
        """A prepared hit, when nothing the request says stands against it."""
        return recall_pulled(self.memory, request, site, now)

    async def answer(  # noqa: PLR0917 - who asks, and on what terms
        self,
        request: Request,
        content: RequestContent,
        visitor: Visitor,
        site: Site,
        peer: PeerTerms | None = None,
        to: Proxied | None = None,
    ) -> Response:
        """The response to a request that was not recalled, or that another node makes on the terms of `peer`. `to`: a
        rule of a deploy leads there, and `site` is what stands for it."""
        if has_loop(request.fields, self._cdn_id):
            return local_answer.loop_detected(self._cache_name) if peer is None else fault_response(PeerFault.LOOP)
        generation = self._view.runtime(site.id).generation
        number = self._flights.next_number()
        visit = visit_of(
            request, visitor, site, generation=generation, number=number, cdn_id=self._cdn_id, peer=peer, to=to
        )
        try:
            if request.method in {"GET", "HEAD"} and content.size_bytes == 0:
                return await self._read(visit)
            forward = Forward.BYPASS if request.method in {"GET", "HEAD"} else Forward.METHOD
            asking = Asking(visit, is_whole=False, content=content)
            return await self._alone(visit, asking, forward)
        except TooManyFetches as exc:
            self._faults.tell(f"busy {site.id}", f"site {site.name}: {exc}")
            if peer is not None:
                return fault_response(PeerFault.BUSY)
            text = "This server is busy. Please try again in a little while."
            return local_answer.unavailable(self._cache_name, "too-many-fetches", text)

    async def aclose(self) -> None:
        """End validations under way."""
        for task in tuple(self._behind):
            task.cancel()
        await asyncio.gather(*self._behind, return_exceptions=True)

    # Reading

    async def _read(self, visit: PullVisit) -> Response:
        tried: set[Flight] = set()
        forward = Forward.MISS
        for _ in range(MAX_ROUNDS):
            for key in (visit.key, *self._shelf.equivalent_keys(visit.key)):
                await self._flights.entered(key)
            looked_at = self.memory.mark()
            on_shelf = await self._shelf.look(visit)
            decision = self._decide(visit, on_shelf.whole)
            forward = forward_reason(decision, on_shelf)
            stored = await self._from_shelf(visit, on_shelf, decision, forward, looked_at)
            if stored is not None:
                return stored
            if visit.directives.only_if_cached:
                return local_answer.only_if_cached(self._cache_name)
            answer = await self._from_upstream(visit, on_shelf, decision, forward, tried)
            if answer is not None:
                return answer
        return await self._alone(visit, Asking(visit, is_whole=False), forward)

    def _decide(self, visit: PullVisit, held: Held | None) -> Decision:
        if held is None:
            return Forwarded(Forward.URI_MISS)
        now = self._clocks.monotonic()
        required = self._shelf.required(visit.key, held.stored)
        facts = self._shelf.facts(held, now)
        if self._must_validate(visit) or self._is_obsolete(visit, held, now):
            facts = replace(facts, must_validate=True)
        if visit.peer is not None:  # whether something stale will do, the node decides that a visitor asked
            facts = replace(facts, may_serve_stale=False)
        return decide(facts, required, now, visit.directives)

    def _must_validate(self, visit: PullVisit) -> bool:
        """Whether the node has lost control and the site wants nothing served that was not asked for (DESIGN I9)."""
        return visit.site.settings.validates_on_detach and not self._is_attached()

    def _is_obsolete(self, visit: PullVisit, held: Held, now: float) -> bool:
        """Whether the node that asks knows of something that happened to it since upstream gave it."""
        newer_than = None if visit.peer is None else visit.peer.newer_than
        return newer_than is not None and self._shelf.asked_at(held.stored, now) < newer_than

    async def _from_shelf(
        self, visit: PullVisit, on_shelf: OnShelf, decision: Decision, forward: Forward, looked_at: int
    ) -> Response | None:
        """What may be served without asking; None when nothing may, or its content has gone."""
        held = on_shelf.whole
        match decision:
            case Serve(age_s) if held is not None:
                ttl_s = int(held.terms.lifetime.seconds - age_s)
                response = await self._responder.held(visit, held, self._status.hit(ttl_s), looked_at)
                self._counters.hits += response is not None
                return response
            case ServeStale(age_s, reason, validates_behind) if held is not None:
                if validates_behind:
                    self._validate_behind(visit, held)
                self._counters.stale_served += 1
                ttl_s = int(held.terms.lifetime.seconds - age_s)
                return await self._responder.held(visit, held, self._status.hit(ttl_s, reason.value))
            case _ if visit.has_range and forward is Forward.PARTIAL:
                return await self._from_parts(visit, on_shelf)
        return None

    async def _from_parts(self, visit: PullVisit, on_shelf: OnShelf) -> Response | None:
        for part in on_shelf.parts:
            decision = self._decide(visit, part)
            if isinstance(decision, Serve):
                ttl_s = int(part.terms.lifetime.seconds - decision.age_s)
                response = await self._responder.part(visit, part, self._status.hit(ttl_s))
                if response is not None:
                    self._counters.hits += 1
                    return response
        return None

    async def _from_upstream(
        self, visit: PullVisit, on_shelf: OnShelf, decision: Decision, forward: Forward, tried: set[Flight]
    ) -> Response | None:
        """Ask, or wait for what another asked; None: look again."""
        # Who waited for an answer that was for another alone waits for nobody again, and nobody for it (DESIGN I6).
        is_alone = any(isinstance(each.outcome_so_far, Alone) for each in tried)
        is_alone = is_alone or (visit.peer is not None and visit.peer.is_alone)
        flight = None if is_alone else self._joining.joinable(visit, on_shelf, decision, tried)
        is_own = flight is None
        asking = self._joining.asking(visit, on_shelf, decision, is_alone=is_alone)
        if flight is None:
            try:
                flight = self._fetcher.begin(asking)
            except TooManyFetches as exc:
                busy = Failed(UpstreamBroken(UpstreamFault.TOO_MANY_CONNECTIONS, str(exc)))
                stale = await self._instead_of_failure(visit, decision, busy)
                if stale is None:
                    raise
                return stale
        tried.add(flight)
        joined_at = self._view.position
        outcome = await flight.outcome()
        stale = await self._instead_of_failure(visit, decision, outcome)
        if stale is not None:
            return stale
        match outcome:
            case Failed(error):
                return self._failed(visit, decision, forward, error, is_collapsed=not is_own)
            case Renewed(incarnations):
                if is_own or flight.number > visit.number:
                    return await self._renewed(visit, incarnations, forward, is_collapsed=not is_own)
                return None
            case Alone(head, content):
                if not is_own:
                    content.let_go()
                    return None
                self._counters.misses += 1
                status = self._status.forwarded(forward, head, is_stored=False, detail=_detail(flight, outcome))
                return self._responder.arriving(visit, head, content, status, evaluates=asking.is_whole)
            case Shared(_, content, terms):
                if not is_own and not self._joining.is_usable(
                    visit, flight, terms, joined_at, must_validate=self._must_validate(visit)
                ):
                    content.let_go()
                    return None
                return self._shared(visit, flight, outcome, forward, is_own=is_own, is_whole=asking.is_whole)
            case _:
                assert_never(outcome)

    def _shared(
        self, visit: PullVisit, flight: Flight, shared: Shared, forward: Forward, *, is_own: bool, is_whole: bool
    ) -> Response:
        """An answer for all who wait. `is_whole`: the request that it was asked for was for the whole."""
        content, terms = shared.content, shared.terms
        head = shared.whole_head if is_own else shared.head
        age_s: int | None = None
        self._counters.misses += is_own
        status = self._status.forwarded(
            forward,
            head,
            is_stored=content.is_storing,
            is_collapsed=not is_own,
            terms=terms,
            detail=flight.passed_by,
        )
        if not is_own and terms is not None:
            age_s = max(0, int(self._clocks.monotonic() - flight.received_at + terms.initial_age_s))
        return self._responder.arriving(visit, head, content, status, evaluates=is_whole or not is_own, age_s=age_s)

    async def _renewed(
        self, visit: PullVisit, incarnations: frozenset[int], forward: Forward, *, is_collapsed: bool
    ) -> Response | None:
        """What upstream has just confirmed; None when it went meanwhile, by a floor or from the disk."""
        held = (await self._shelf.look(visit)).whole
        if (
            held is None
            or held.stored.incarnation not in incarnations
            or self._shelf.is_below_hard(visit.key, held.stored)
        ):
            return None
        self._counters.validated += not is_collapsed
        status = self._status.renewed(forward, is_collapsed=is_collapsed)
        return await self._responder.held(visit, held, status)

    # Failures

    async def _instead_of_failure(self, visit: PullVisit, decision: Decision, outcome: Outcome) -> Response | None:
        """A stale response in the place of a failure, where that is allowed (RFC 9111 section 4.2.4)."""
        if not isinstance(decision, Validate) or not decision.may_serve_stale_on_error:
            return None
        fwd_status: int | None = None
        content: ArrivingContent | None = None
        match outcome:
            case Failed(error):
                detail = error.fault.value
            case Shared(head, content) | Alone(head, content) if head.status in FAILED_STATUSES:
                detail, fwd_status = "stale-if-error", head.status
            case _:
                return None
        status = CacheStatus(self._cache_name, fwd=Forward.STALE, fwd_status=fwd_status, detail=detail)
        try:
            stale = await self._still_usable(visit, status)
        except BaseException:
            if content is not None:
                content.let_go()
            raise
        if stale is None:
            return None
        if content is not None:
            content.let_go()
        if isinstance(outcome, Failed):
            self._tell(visit, outcome.error)
        self._counters.stale_served += 1
        return stale

    async def _still_usable(self, visit: PullVisit, status: CacheStatus) -> Response | None:
        """What is stored, unless it became unusable while the upstream kept silent: by a floor or an invalidation."""
        held = (await self._shelf.look(visit)).whole
        match self._decide(visit, held):
            case Serve() | ServeStale() | Validate(may_serve_stale_on_error=True) if held is not None:
                return await self._responder.held(visit, held, status)
        return None

    def _failed(
        self, visit: PullVisit, decision: Decision, forward: Forward, error: UpstreamBroken, *, is_collapsed: bool
    ) -> Response:
        self._tell(visit, error)
        if visit.peer is not None:
            return fault_response(PeerFault.UPSTREAM, error.fault.value)
        # Something is stored that must not be served without asking: 504 (RFC 9111 section 5.2.2.2).
        is_timeout = error.fault in _TIMEOUTS or isinstance(decision, Validate)
        status = 503 if error.fault is UpstreamFault.TOO_MANY_CONNECTIONS else 504 if is_timeout else 502
        said = CacheStatus(self._cache_name, fwd=forward, collapsed=is_collapsed, detail=error.fault.value)
        return local_answer.upstream_failed(status, said)

    def _tell(self, visit: PullVisit, error: UpstreamBroken) -> None:
        self._counters.upstream_failed += 1
        self.last_faults[visit.site.id] = (self._clocks.wall(), error.fault, str(error))
        self._faults.tell(f"{error.fault.value} {visit.site.id}", f"site {visit.site.name}: {error}")

    # Alone

    async def _alone(self, visit: PullVisit, asking: Asking, forward: Forward) -> Response:
        """Ask for this request only."""
        flight = self._fetcher.begin(asking)
        outcome = await flight.outcome()
        match outcome:
            case Failed(error):
                return self._failed(visit, Forwarded(forward), forward, error, is_collapsed=False)
            case Renewed():
                raise AssertionError("nothing was validated")
            case Alone(head, content) | Shared(_, content, _, head):
                self._counters.misses += 1
                detail = _detail(flight, outcome)
                status = self._status.forwarded(forward, head, is_stored=content.is_storing, detail=detail)
                return self._responder.arriving(visit, head, content, status, evaluates=asking.is_whole)
            case _:
                assert_never(outcome)

    def _validate_behind(self, visit: PullVisit, held: Held) -> None:
        if self._flights.of(visit.key) or not self._may_validate_behind(visit.site.id):
            return
        validating = (held.stored,) if has_validator(held.stored) else ()
        # Others may join it, and what it brings is to be stored: it is a GET also behind a HEAD.
        visit = replace(visit, request=replace(visit.request, method="GET"))
        try:
            flight = self._fetcher.begin(
                Asking(visit, validating, is_joinable=True, has_stand_in=True, stale=held.stored)
            )
        except TooManyFetches:
            return
        task = asyncio.create_task(self._watch(visit, flight), name=f"validate {visit.site.id}")
        self._behind[task] = visit.site.id
        task.add_done_callback(self._behind.pop)

    def _may_validate_behind(self, site_id: str) -> bool:
        of_site = sum(each == site_id for each in self._behind.values())
        return len(self._behind) < MAX_BACKGROUND_VALIDATIONS and of_site < MAX_BACKGROUND_VALIDATIONS_PER_SITE

    async def _watch(self, visit: PullVisit, flight: Flight) -> None:
        match await flight.outcome():
            case Shared(_, content) | Alone(_, content):
                content.let_go()
            case Failed(error):
                self._tell(visit, error)
            case Renewed():
                self._counters.validated += 1


def _detail(flight: Flight, outcome: Outcome) -> str | None:
    if flight.passed_by is not None:
        return flight.passed_by
    return outcome.reason.value if isinstance(outcome, Alone) and outcome.reason is not None else None
