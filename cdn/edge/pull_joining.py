"""How the upstream is asked, and who waits for what another asked (RFC 9111 section 4; DESIGN I6)."""

from __future__ import annotations

from cdn.edge.clocks import Clocks
from cdn.edge.pull_fetch import Asking, PullFetcher
from cdn.edge.pull_flight import Flight, Flights
from cdn.edge.pull_shelf import OnShelf, PullShelf, has_validator
from cdn.edge.pull_visit import PullVisit
from cdn.edge.stored import StoredResponse
from cdn.fleet.position import Position
from cdn.http.decide import NOTHING_REQUIRED, Decision, Serve, StaleReason, StoredFacts, Validate, decide
from cdn.http.reuse_terms import ReuseTerms


class PullJoining:
    """Decides about fetches; begins none."""

    def __init__(self, shelf: PullShelf, flights: Flights, fetcher: PullFetcher, clocks: Clocks) -> None:
        self._shelf = shelf
        self._flights = flights
        self._fetcher = fetcher
        self._clocks = clocks

    def asking(self, visit: PullVisit, on_shelf: OnShelf, decision: Decision, *, is_alone: bool) -> Asking:
        """How to ask: with the validators of what is stored, else for the whole, else as the client asked.

        `is_alone`: nobody is to wait for the answer.
        """
        is_read = visit.request.method == "GET"
        is_passed = self._flights.is_passed(visit.key, self._clocks.monotonic())
        is_for_all = not visit.directives.no_store and "authorization" not in visit.request.fields
        validating: tuple[StoredResponse, ...] = ()
        if on_shelf.whole is not None and isinstance(decision, Validate):
            validating = (on_shelf.whole.stored,) if has_validator(on_shelf.whole.stored) else ()
        elif is_read and not is_passed and not visit.has_range:
            validating = self._shelf.other_variants(visit.key, on_shelf)
        has_stand_in = isinstance(decision, Validate) and decision.may_serve_stale_on_error
        is_stale = isinstance(decision, Validate) and decision.reason is not StaleReason.REQUESTED
        stale = on_shelf.whole.stored if on_shelf.whole is not None and is_stale else None
        is_whole = bool(validating) or (is_read and not is_passed and not visit.has_range)
        return Asking(
            visit,
            validating,
            is_joinable=is_read and is_whole and is_for_all and not is_alone,
            is_whole=is_whole,
            has_stand_in=has_stand_in,
            stale=stale,
        )

    def joinable(self, visit: PullVisit, on_shelf: OnShelf, decision: Decision, tried: set[Flight]) -> Flight | None:
        """A fetch under way whose answer would be the one for this request, as far as can be known."""
        if visit.request.method != "GET" or visit.directives.no_store:
            return None
        if self._flights.is_passed(visit.key, self._clocks.monotonic()):
            return None
        is_requested = isinstance(decision, Validate) and decision.reason is StaleReason.REQUESTED
        wants_newer = is_requested or visit.directives.no_cache
        for flight in self._flights.of(visit.key):
            if flight in tried or (wants_newer and flight.number < visit.number):
                continue
            vary = on_shelf.vary if flight.vary is None else flight.vary
            if not flight.has_beginning or not _may_wait_for(visit, flight):
                continue
            if self._fetcher.may_be_joined(flight) and visit.selecting(vary) == flight.visit.selecting(vary):
                return flight
        return None

    def is_usable(
        self,
        visit: PullVisit,
        flight: Flight,
        terms: ReuseTerms | None,
        joined_at: Position,
        *,
        must_validate: bool,
    ) -> bool:
        """Whether an answer that another asked for may be given to this request too.

        A failure is given to all who waited for it, if Vary allows it. What has to be validated each time was, for a
        request that came before it was asked for (RFC 9111 section 4: collapsed requests). `joined_at` is where the
        node stood when this request began to wait. `must_validate`: nothing is served for now that was not asked for.
        """
        vary = flight.vary or ()
        if visit.selecting(vary) != flight.visit.selecting(vary):
            return False
        if terms is None:
            return True
        if flight.number > visit.number:
            return True
        if not self._fetcher.was_rightly_joined(flight, joined_at):
            return False
        facts = StoredFacts(
            admitted_sequence=flight.admitted.sequence,
            is_same_epoch=True,
            validated_at=flight.received_at - terms.initial_age_s,
            freshness_lifetime_s=terms.lifetime.seconds,
            stale_if_error_s=0.0,
            stale_while_revalidate_s=0.0,
            must_validate=terms.must_validate or must_validate,
        )
        # Floors that rose since it was joined do not take it from those who were waiting (DESIGN I6).
        return isinstance(decide(facts, NOTHING_REQUIRED, self._clocks.monotonic(), visit.directives), Serve)


def _may_wait_for(visit: PullVisit, flight: Flight) -> bool:
    """Another node's request never waits for one that went to another node: these two could wait for each other."""
    if visit.peer is None:
        return True
    newer_than = visit.peer.newer_than
    return not flight.is_shielded and (newer_than is None or flight.begun_at >= newer_than)
