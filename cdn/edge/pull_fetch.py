"""One exchange with an upstream: asked, judged, and stored while those who wait for it read it (DESIGN I1, I6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Protocol

from cdn.edge.arrival_budget import ArrivalBudget
from cdn.edge.clocks import Clocks
from cdn.edge.disk_holds import Hold
from cdn.edge.disk_new_content import NewContent
from cdn.edge.disk_tier import DiskTier
from cdn.edge.fault_log import FaultLog
from cdn.edge.pull_answer import Answer, answer_of, selecting_names
from cdn.edge.pull_assembly import PullAssembly
from cdn.edge.pull_content import ArrivingContent
from cdn.edge.pull_flight import Alone, Failed, Flight, Flights, Renewed, Shared
from cdn.edge.pull_invalidation import PullInvalidation
from cdn.edge.pull_marks import GroupMarks
from cdn.edge.pull_memory import PullMemory
from cdn.edge.pull_renewal import PullRenewal, validators
from cdn.edge.pull_shelf import PullShelf, is_whole
from cdn.edge.pull_tags import pull_tags
from cdn.edge.pull_variant import variant_id
from cdn.edge.pull_visit import PullVisit
from cdn.edge.request_content import ContentInterrupted, RequestContent
from cdn.edge.site_view import SiteView
from cdn.edge.stored import PulledHead, ResidenceClock, StoredKey, StoredResponse, StoreOutcome
from cdn.edge.uploads import Uploads
from cdn.errors import TooLarge
from cdn.fleet.position import Position
from cdn.http.cache_control import SURROGATE_CAPABILITY, shared_directives
from cdn.http.connection_fields import without_connection_fields
from cdn.http.content_coding import uncoded_entity_tags
from cdn.http.fields import FieldLines, Fields
from cdn.http.forwarded_request import forwarded_fields
from cdn.http.response_head import ResponseHead
from cdn.http.reuse_terms import RETRYABLE_STATUSES, ReuseTerms
from cdn.http.storability import NEVER_STORED_STATUSES, NotStored, storability
from cdn.http.vary import vary_names
from cdn.origin.upstream import (
    Upstream,
    UpstreamBroken,
    UpstreamFault,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeouts,
)
from cdn.sites.manifest import FileEntry
from cdn.sites.origin import BucketOrigin, BundleOrigin, HttpOrigin
from cdn.sites.settings import SiteSettings

CONDITIONS = frozenset(("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"))
"""Fields of a client's request that this cache answers itself when it asks for the whole."""

LISTS_OF_TAGS = frozenset(("if-match", "if-none-match"))
"""Conditions that may name coded forms which were made here."""

PRIVATE_REASONS = frozenset(
    (NotStored.NO_STORE, NotStored.PRIVATE, NotStored.AUTHORIZATION, NotStored.SET_COOKIE, NotStored.VARY_STAR)
)
"""Answers that are meant for one client: not even the failure they tell of is given to another."""

KEEPING_REASONS = frozenset(
    (
        NotStored.AUTHORIZATION,
        NotStored.REQUEST_NO_STORE,
        NotStored.METHOD,
        NotStored.REQUEST_CONTENT,
        NotStored.PARTIAL,
    )
)
"""Answers that are not stored because of the request: they say nothing about what others get."""

_OF_ONE_REQUEST = frozenset((400, 408, 413, 415, 417, 421, 425, 426))
KEEPING_STATUSES = NEVER_STORED_STATUSES | _OF_ONE_REQUEST | frozenset(range(500, 600))
"""Statuses that say something about one request, or that the upstream fails, and nothing about the target."""

log = logging.getLogger(__name__)


class Upstreams(Protocol):
    """Where sites' upstreams come from."""

    def of(self, origin: HttpOrigin | BucketOrigin, timeouts: UpstreamTimeouts) -> Upstream: ...


class Shielding(Protocol):
    """Other nodes that are asked before upstreams are."""

    def asks_another(self, visit: PullVisit) -> bool:
        """Whether a request without content goes to another node, as things are now."""
        ...

    def why_passed(self, visit: PullVisit) -> str | None:
        """Why one that would does not."""
        ...

    def before(
        self,
        direct: Upstream,
        visit: PullVisit,
        required: Position,
        on_bypass: Callable[[str], None],
        *,
        is_alone: bool,
    ) -> Upstream:
        """`direct` behind a shield, for one request; `is_alone`: one that nobody may wait for."""
        ...


@dataclass(frozen=True, slots=True)
class Asking:
    """How the upstream is asked for a visit.

    `validating` are the stored responses whose validators are sent. `is_joinable`: others may wait for the answer.
    `is_whole`: the client's conditions and range are left out, because the whole is wanted. `content` is the request's.
    `has_stand_in`: something stored may be served instead of a failure, which then must not take its place.
    `stale` is what an answer takes the place of, also one that is not stored itself.
    """

    visit: PullVisit
    validating: tuple[StoredResponse, ...] = ()
    is_joinable: bool = False
    is_whole: bool = True
    content: RequestContent | None = None
    has_stand_in: bool = False
    stale: StoredResponse | None = None


class PullFetcher:
    """Begins flights and flies them."""

    def __init__(
        self,
        *,
        upstreams: Upstreams,
        disk: DiskTier,
        view: SiteView,
        shelf: PullShelf,
        flights: Flights,
        marks: GroupMarks,
        memory: PullMemory,
        invalidation: PullInvalidation,
        renewal: PullRenewal,
        assembly: PullAssembly,
        clocks: Clocks,
        residence: ResidenceClock,
        max_stored_bytes: int,
        is_attached: Callable[[], bool],
        swept_through: Callable[[str], int],
    ) -> None:
        """`swept_through`: see `SweptFloors.through`."""
        self._is_attached = is_attached
        self._swept_through = swept_through
        self.shielding: Shielding | None = None
        self._upstreams = upstreams
        self._disk = disk
        self._view = view
        self._shelf = shelf
        self._flights = flights
        self._marks = marks
        self._memory = memory
        self._invalidation = invalidation
        self._renewal = renewal
        self._assembly = assembly
        self._clocks = clocks
        self._residence = residence
        self._max_stored_bytes = max_stored_bytes
        self.budget = ArrivalBudget()
        self._fault_log = FaultLog(clocks.monotonic)
        self._uploads = Uploads()
        self._tasks: set[asyncio.Task[None]] = set()
        self.not_stored: dict[str, int] = {}
        """How many answers were not stored, by reason."""
        self.faults: dict[str, int] = {}
        """How many exchanges failed, by fault."""

    def begin(self, asking: Asking) -> Flight:
        """Ask the upstream. Raises TooManyFetches."""
        visit = asking.visit
        flight = Flight(visit, self._view.position, self._flights.next_number())
        flight.begun_at = self._clocks.monotonic()
        if self.shielding is not None and asking.content is None and self._knows_what_to_require(visit):
            flight.is_shielded = self.shielding.asks_another(visit)
            flight.passed_by = None if flight.is_shielded else self.shielding.why_passed(visit)
        self._flights.enter(flight, is_joinable=asking.is_joinable)
        task = self._spawn(self._fly(flight, asking), f"fetch {visit.site.id}")
        # Not in the task itself: one that is cancelled before its first step never comes to its end.
        task.add_done_callback(lambda done: self._land(flight))

        def give_up() -> None:
            self._flights.close(flight)
            task.cancel()

        flight.on_content_unwanted = give_up
        if not asking.is_joinable:
            flight.on_unwanted = give_up
        return flight

    def _knows_what_to_require(self, visit: PullVisit) -> bool:
        """Whether a shield can be told what it must have applied (DESIGN I1). A node that is cut off does not know:
        where it validates for that, a shield that is behind as well would confirm what was purged."""
        return self._is_attached() or not visit.site.settings.validates_on_detach

    async def aclose(self) -> None:
        """End what is under way."""
        while tasks := tuple(self._tasks):  # one that ends may leave another to clear up behind it
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def may_be_stored(self, flight: Flight, tags: tuple[str, ...]) -> Callable[[Position], bool]:
        """Whether floors, marks and the site itself allow what a flight brings to be stored, as of each call."""
        site_id, name = flight.key.site_id, flight.key.name

        def may(admitted: Position) -> bool:
            if flight.is_detached or flight.is_superseded or admitted.epoch != self._view.position.epoch:
                return False
            if self._view.catalog.site(site_id) is None or self._marks.covers_flight(site_id, tags, flight.number):
                return False
            if admitted.sequence < self._swept_through(site_id):
                return False  # the floors that would tell are gone: a sweep looks at what is stored, not at flights
            return admitted.sequence >= self._view.floors.of(site_id).required((name,), tags).hard

        return may

    def may_be_joined(self, flight: Flight) -> bool:
        """Whether what it brings may be served to a request that comes now: nothing was purged or invalidated since."""
        if not self.may_be_stored(flight, flight.tags)(flight.admitted):
            return False
        required = self._view.floors.of(flight.key.site_id).required((flight.key.name,), flight.tags)
        return flight.admitted.sequence >= max(required.hard, required.soft)

    def was_rightly_joined(self, flight: Flight, joined_at: Position) -> bool:
        """Whether what it brought may be served to a request that joined it before its tags were known.

        A floor or mark under one of them may have risen before that request came (DESIGN I1); one that rose later does
        not take the answer from it (I6). `joined_at` is where the node stood then.
        """
        if self._marks.covers_flight(flight.key.site_id, flight.tags, flight.number):
            return False
        return joined_at == flight.admitted or self.may_be_joined(flight)

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # One flight

    async def _fly(self, flight: Flight, asking: Asking) -> None:
        try:
            await self._exchange(flight, asking)
        except UpstreamBroken as exc:
            self.faults[exc.fault.value] = self.faults.get(exc.fault.value, 0) + 1
            self._end_badly(flight, exc)
        except (ContentInterrupted, TooLarge) as exc:
            # The client's own content broke off: it is told, or gone; the upstream is not to blame.
            flight.fail(exc)
        except asyncio.CancelledError:
            self._end_badly(flight, UpstreamBroken(UpstreamFault.CLOSED, "this node gave the request up"))
            raise
        except Exception as exc:
            log.exception("the fetch of %s failed", flight.key.name)
            flight.fail(exc)

    def _land(self, flight: Flight) -> None:
        if flight.outcome_so_far is None:
            flight.settle(Failed(UpstreamBroken(UpstreamFault.CLOSED, "this node gave the request up")))
        self._flights.leave(flight)

    def _end_badly(self, flight: Flight, exc: UpstreamBroken) -> None:
        outcome = flight.outcome_so_far
        if outcome is None:
            flight.settle(Failed(exc))
        elif isinstance(outcome, Shared | Alone):
            if exc.fault is not UpstreamFault.CLOSED:
                site = flight.visit.site
                self._fault_log.tell(f"{exc.fault.value} {site.id}", f"site {site.name}: {exc}")
            outcome.content.fail(exc)

    async def _exchange(self, flight: Flight, asking: Asking) -> None:
        visit = asking.visit
        origin = visit.site.settings.origin
        assert not isinstance(origin, BundleOrigin), "only pull sites come here"
        upstream = self._upstreams.of(origin, _timeouts(visit.site.settings))
        if flight.is_shielded and self.shielding is not None:

            def passed(detail: str) -> None:
                flight.passed_by = detail

            upstream = self.shielding.before(upstream, visit, flight.admitted, passed, is_alone=not asking.is_joinable)
        async with self._uploads.ready(visit.site.id, self._request(asking, origin)) as request:
            requested_at = self._clocks.wall()
            response = await upstream.send(request, lambda interim: _pass_interim(visit, interim))
        try:
            if response.head.status == 304 and not any(name in CONDITIONS for name, _ in request.fields):
                raise UpstreamBroken(
                    UpstreamFault.MALFORMED_HEAD, "It answered a request without conditions that nothing had changed."
                )
            answer = answer_of(visit, response, requested_at, self._clocks.wall())
            flight.received_at = self._clocks.monotonic()
            if answer.head.status != 304 or not asking.validating:
                await self._take(flight, asking, response, answer)
                return
            may_store = self.may_be_stored(flight, ())
            renewed = await self._renewal.confirm(flight, asking.validating, answer, may_store)
        finally:
            await response.content.aclose()
        if renewed:
            flight.settle(Renewed(renewed))
            return
        # The 304 named something that is not stored, or that a purge forbids by now: ask anew, for the whole.
        flight.admitted = self._view.position
        await self._exchange(flight, replace(asking, validating=()))

    async def _take(self, flight: Flight, asking: Asking, response: UpstreamResponse, answer: Answer) -> None:
        visit, head = asking.visit, answer.head
        await self._invalidation.answered(visit, head, flight)
        if visit.request.method == "HEAD":
            await self._renewal.apply_head(flight, answer)
        terms = storability(visit.request, head, answer.requested_at, answer.received_at, visit.policy)
        if not isinstance(terms, NotStored):
            terms = self._forbidden_here(asking, response) or terms
        if isinstance(terms, NotStored):
            await self._pass(flight, asking, response, head, terms)
            return
        pulled = answer.kept(visit, terms, response.content.size_bytes)
        if pulled is None:
            await self._pass(flight, asking, response, head, NotStored.PARTIAL)
            return
        await self._store(flight, response, answer, pulled, terms)

    def _forbidden_here(self, asking: Asking, response: UpstreamResponse) -> NotStored | None:
        """Why an answer is not stored that every cache might store."""
        size_bytes = response.content.size_bytes
        if asking.content is not None and asking.visit.request.method == "GET":
            # An upstream that reads the content answers what this client made of the page (RFC 9110 section 9.3.1).
            return NotStored.REQUEST_CONTENT
        if asking.has_stand_in and response.head.status in RETRYABLE_STATUSES:
            return NotStored.FAILURE
        if size_bytes is not None and size_bytes > self._max_stored_bytes:
            return NotStored.TOO_LARGE
        return None

    async def _pass(
        self, flight: Flight, asking: Asking, response: UpstreamResponse, head: ResponseHead, reason: NotStored
    ) -> None:
        """Pass the answer on without storing it: to the one who asked, or, when it is a failure, to all who wait."""
        self.not_stored[reason.value] = self.not_stored.get(reason.value, 0) + 1
        if asking.stale is not None and head.status not in KEEPING_STATUSES and reason not in KEEPING_REASONS:
            # Upstream has another answer now: the stale one is wrong, also when upstream fails later.
            self._disk.drop(asking.stale)
            self._memory.forget(flight.key)
        arriving = ArrivingContent(
            response.content.size_bytes, None, 0, on_unwanted=flight.on_content_unwanted, budget=self.budget
        )
        withheld: frozenset[str] = frozenset()
        self._flights.close(flight)  # who comes now has not waited for it
        names = vary_names(head.fields)
        if asking.is_joinable and head.status >= 500 and names is not None and reason not in PRIVATE_REASONS:
            flight.vary = names
            directives = shared_directives(head.fields)
            # Nothing says that cookies are for all who wait.
            withheld = directives.private_fields | directives.no_cache_fields | {"set-cookie"}
            shared = ResponseHead(head.status, Fields(_without(head.fields.lines, withheld)))
            flight.settle(Shared(shared, arriving, None, head))
        else:
            if asking.is_joinable:
                self._flights.pass_on(flight.key, self._clocks.monotonic() + asking.visit.site.settings.pass_s)
            flight.settle(Alone(head, arriving, reason))
        try:
            await _receive(response, arriving, withheld)
        finally:
            self._spawn(_leave(arriving), f"leave {flight.key.site_id}")

    async def _store(
        self, flight: Flight, response: UpstreamResponse, answer: Answer, pulled: PulledHead, terms: ReuseTerms
    ) -> None:
        """Give the answer to all who wait, and keep it."""
        key, visit = flight.key, flight.visit
        tags = pull_tags(pulled.head.fields, visit.request.target.decoded_path, visit.site.settings)
        flight.variant = variant_id(pulled)
        may_store = self.may_be_stored(flight, tags)
        sink: NewContent | None = None
        hold: Hold | None = None
        size_bytes = response.content.size_bytes
        if may_store(flight.admitted):
            sink = self._disk.new_content(StoredKey(key.site_id, key.path, flight.variant))
            hold = sink.hold()
            self._shelf.note_stored(key, pulled)
        arriving = ArrivingContent(
            size_bytes, sink, self._max_stored_bytes, on_unwanted=flight.on_content_unwanted, budget=self.budget
        )
        flight.tags = tags
        flight.vary = selecting_names(pulled)
        self._flights.forget_pass(key)
        flight.settle(Shared(pulled.head, arriving, terms, answer.head))
        is_entered = False
        try:
            await _receive(response, arriving, terms.withheld_fields)
            if sink is not None and arriving.is_storing:
                stored = self._stored(flight, pulled, tags, arriving.received_bytes)
                is_entered = await self._enter(flight, sink, stored, may_store)
        finally:
            self._spawn(_leave(arriving, hold, None if is_entered else sink), f"leave {key.site_id}")
            if not is_entered:
                self._flights.close(flight)

    def _stored(self, flight: Flight, pulled: PulledHead, tags: tuple[str, ...], size_bytes: int) -> StoredResponse:
        if pulled.complete_length is None:
            pulled = replace(pulled, complete_length=size_bytes)
        now = self._clocks.monotonic()
        return StoredResponse(
            key=StoredKey(flight.key.site_id, flight.key.path, ""),  # key, entry and incarnation are the content's
            entry=FileEntry("", size_bytes, ()),
            names=(flight.key.name,),
            tags=tags,
            admitted=flight.admitted,
            stored_at=self._residence.wall(now),
            validated_at=self._residence.wall(flight.received_at),
            pulled=pulled,
        )

    async def _enter(
        self, flight: Flight, sink: NewContent, stored: StoredResponse, may_store: Callable[[Position], bool]
    ) -> bool:
        outcome = await sink.enter(stored, may_store)
        if outcome is not StoreOutcome.STORED:
            self.not_stored[outcome.value] = self.not_stored.get(outcome.value, 0) + 1
            return False
        entered = sink.stored_with(stored)
        self._memory.forget(flight.key)
        if not may_store(flight.admitted):  # it was invalidated in the very moment in which it was entered
            self._disk.drop(entered)
            return True
        self._flights.note_entered(flight, entered.key.digest)
        if not is_whole(entered):
            await self._assembly.combine(flight.key, entered, may_store)
        return True

    # The request

    def _request(self, asking: Asking, origin: HttpOrigin | BucketOrigin) -> UpstreamRequest:
        visit, request = asking.visit, asking.visit.request
        lines: list[tuple[str, str]] = [
            line
            for line in forwarded_fields(request, visit.forwarding)
            if not asking.is_whole or (line[0] not in CONDITIONS and line[0] != "range")
        ]
        if visit.site.settings.compresses:
            lines = [(name, uncoded_entity_tags(value) if name in LISTS_OF_TAGS else value) for name, value in lines]
        lines.append(("surrogate-capability", SURROGATE_CAPABILITY))
        if asking.validating:
            lines.extend(validators(asking.validating))
        name = visit.key.name
        target = origin.prefix + name if isinstance(origin, HttpOrigin) and name != "*" else name
        if visit.sent_target is not None:
            target = visit.sent_target
        if "trailers" in (request.fields.get("te") or ""):
            lines.append(("te", "trailers"))
        size_bytes = 0 if asking.content is None else asking.content.size_bytes
        content = None if asking.content is None or size_bytes == 0 else aiter(asking.content)
        return UpstreamRequest(request.method, target, tuple(lines), content, size_bytes)


async def _receive(response: UpstreamResponse, arriving: ArrivingContent, withheld: frozenset[str]) -> None:
    """`withheld` are fields for one client: as trailers they would reach all who read."""
    async for part in response.content:
        await arriving.take(part)
    await arriving.finish(_without(without_connection_fields(response.content.trailers), withheld))


def _without(lines: FieldLines, names: frozenset[str]) -> FieldLines:
    return tuple(line for line in lines if line[0] not in names)


async def _leave(arriving: ArrivingContent, hold: Hold | None = None, not_stored: NewContent | None = None) -> None:
    """What is on disk stays readable for those who are still reading it, also when it was not stored after all."""
    await arriving.left()
    arriving.close()
    if hold is not None:
        hold.close()
    if not_stored is not None:
        await not_stored.abandon()


def _timeouts(settings: SiteSettings) -> UpstreamTimeouts:
    return UpstreamTimeouts(
        connect_s=settings.connect_timeout_s, read_s=settings.read_timeout_s, retries=settings.upstream_retries
    )


def _pass_interim(visit: PullVisit, interim: ResponseHead) -> None:
    visit.visitor.send_interim(interim.status, without_connection_fields(interim.fields.lines))
