"""One exchange with an upstream: asked, judged, and stored while those who wait for it read it (DESIGN I1, I6)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Protocol

from cdn.edge.clocks import Clocks
from cdn.edge.disk_new_content import NewContent
from cdn.edge.disk_tier import DiskTier
from cdn.edge.pull_content import ArrivingContent
from cdn.edge.pull_flight import Alone, Failed, Flight, Flights, Renewed, Shared
from cdn.edge.pull_invalidation import PullInvalidation
from cdn.edge.pull_marks import GroupMarks
from cdn.edge.pull_memory import PullMemory
from cdn.edge.pull_shelf import PullShelf
from cdn.edge.pull_tags import pull_tags
from cdn.edge.pull_visit import PullVisit
from cdn.edge.request_content import ContentInterrupted, RequestContent
from cdn.edge.site_view import SiteView
from cdn.edge.stored import PulledHead, ResidenceClock, StoredKey, StoredResponse, StoreOutcome
from cdn.errors import TooLarge
from cdn.fleet.position import Position
from cdn.http.cache_control import SURROGATE_CAPABILITY
from cdn.http.connection_fields import without_connection_fields
from cdn.http.date import format_date
from cdn.http.fields import FieldLines, Fields
from cdn.http.forwarded_request import forwarded_fields
from cdn.http.head_update import HeadEffect, effect_of_head, selected_for_update, updated_head
from cdn.http.range import parse_content_range
from cdn.http.response_head import ResponseHead
from cdn.http.reuse_terms import ReuseTerms
from cdn.http.storability import NotStored, storability
from cdn.http.vary import vary_names
from cdn.origin.upstream import (
    Upstream,
    UpstreamBroken,
    UpstreamFault,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeouts,
)
from cdn.sites.origin import BucketOrigin, BundleOrigin, HttpOrigin
from cdn.sites.settings import SiteSettings

MAX_PART_BYTES = 64 * 1024 * 1024
"""A larger part of a representation is passed on, not stored: a video asked for in overlapping parts is stored whole
or in small parts, never many times over."""

CONDITIONS = frozenset(("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"))
"""Fields of a client's request that this cache answers itself when it asks for the whole."""

PRIVATE_REASONS = frozenset(
    (NotStored.NO_STORE, NotStored.PRIVATE, NotStored.AUTHORIZATION, NotStored.SET_COOKIE, NotStored.VARY_STAR)
)
"""Answers that are meant for one client: not even the failure they tell of is given to another."""

log = logging.getLogger(__name__)


class Upstreams(Protocol):
    """Where sites' upstreams come from."""

    def of(self, origin: HttpOrigin | BucketOrigin, timeouts: UpstreamTimeouts) -> Upstream: ...


@dataclass(frozen=True, slots=True)
class Asking:
    """How the upstream is asked for a visit.

    `validating` is the stored response whose validators are sent. `is_joinable`: others may wait for the answer.
    `is_whole`: the client's conditions and range are left out, because the whole is wanted. `content` is the request's.
    """

    visit: PullVisit
    validating: StoredResponse | None = None
    is_joinable: bool = False
    is_whole: bool = True
    content: RequestContent | None = None


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
        clocks: Clocks,
        residence: ResidenceClock,
        max_stored_bytes: int,
    ) -> None:
        self._upstreams = upstreams
        self._disk = disk
        self._view = view
        self._shelf = shelf
        self._flights = flights
        self._marks = marks
        self._memory = memory
        self._invalidation = invalidation
        self._clocks = clocks
        self._residence = residence
        self._max_stored_bytes = max_stored_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self.not_stored: dict[str, int] = {}
        """How many answers were not stored, by reason."""
        self.faults: dict[str, int] = {}
        """How many exchanges failed, by fault."""

    def begin(self, asking: Asking) -> Flight:
        """Ask the upstream. Raises TooManyFetches."""
        visit = asking.visit
        flight = Flight(visit, self._view.position, self._flights.next_number())
        self._flights.enter(flight, is_joinable=asking.is_joinable)
        task = self._spawn(self._fly(flight, asking), f"fetch {visit.site.id}")
        flight.on_content_unwanted = task.cancel
        if not asking.is_joinable:
            flight.on_unwanted = task.cancel
        return flight

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def may_be_stored(self, flight: Flight, tags: tuple[str, ...]) -> Callable[[Position], bool]:
        """Whether floors, marks and the site itself allow what a flight brings to be stored, as of each call."""
        site_id, name = flight.key.site_id, flight.key.name

        def may(admitted: Position) -> bool:
            if flight.is_detached or admitted.epoch != self._view.position.epoch:
                return False
            if self._view.catalog.site(site_id) is None or self._marks.covers_flight(site_id, tags, flight.number):
                return False
            return admitted.sequence >= self._view.floors.of(site_id).required((name,), tags).hard

        return may

    def may_be_joined(self, flight: Flight) -> bool:
        """Whether what it brings may be served to a request that comes now: nothing was purged or invalidated since."""
        if not self.may_be_stored(flight, flight.tags)(flight.admitted):
            return False
        required = self._view.floors.of(flight.key.site_id).required((flight.key.name,), flight.tags)
        return flight.admitted.sequence >= max(required.hard, required.soft)

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
        finally:
            self._flights.leave(flight)

    def _end_badly(self, flight: Flight, exc: UpstreamBroken) -> None:
        outcome = flight.outcome_so_far
        if outcome is None:
            flight.settle(Failed(exc))
        elif isinstance(outcome, Shared | Alone):
            outcome.content.fail(exc)

    async def _exchange(self, flight: Flight, asking: Asking) -> None:
        visit = asking.visit
        settings = visit.site.settings
        origin = settings.origin
        assert not isinstance(origin, BundleOrigin), "only pull sites come here"
        upstream = self._upstreams.of(origin, _timeouts(settings))
        requested_at = self._clocks.wall()
        response = await upstream.send(self._request(asking, origin), lambda interim: _pass_interim(visit, interim))
        received_at = self._clocks.wall()
        try:
            head = _head_of(response, received_at)
            flight.received_at = self._clocks.monotonic()
            if head.status == 304 and asking.validating is not None:
                renewed = await self._renew(flight, asking, head, requested_at, received_at)
                if renewed:
                    flight.settle(Renewed(renewed))
                    return
            else:
                await self._take(flight, asking, response, head, requested_at, received_at)
                return
        finally:
            await response.content.aclose()
        # The 304 named something that is not stored: ask for the whole (RFC 9111 section 4.3.3).
        await self._exchange(flight, replace(asking, validating=None))

    async def _take(
        self,
        flight: Flight,
        asking: Asking,
        response: UpstreamResponse,
        head: ResponseHead,
        requested_at: float,
        received_at: float,
    ) -> None:
        visit = asking.visit
        await self._invalidation.answered(visit, head)
        if visit.request.method == "HEAD":
            await self._apply_head(flight, asking, response, head, requested_at, received_at)
        judged = storability(visit.request, head, requested_at, received_at, visit.policy)
        pulled: PulledHead | None = None
        if isinstance(judged, ReuseTerms):
            pulled = _pulled(visit, head, judged, requested_at, received_at, response.content.size_bytes)
            if pulled is None:
                judged = NotStored.PARTIAL
        if pulled is None or not isinstance(judged, ReuseTerms):
            assert isinstance(judged, NotStored), "without terms there is a reason"
            await self._pass(flight, asking, response, head, judged)
            return
        await self._store(flight, visit, response, pulled, judged)

    async def _pass(
        self, flight: Flight, asking: Asking, response: UpstreamResponse, head: ResponseHead, reason: NotStored
    ) -> None:
        """Pass the answer on without storing it: to the one who asked, or, when it is a failure, to all who wait."""
        self.not_stored[reason.value] = self.not_stored.get(reason.value, 0) + 1
        arriving = ArrivingContent(response.content.size_bytes, None, 0, on_unwanted=flight.on_content_unwanted)
        if asking.is_joinable and head.status >= 500 and reason not in PRIVATE_REASONS:
            flight.settle(Shared(head, arriving, None))
        else:
            self._flights.close(flight)
            if asking.is_joinable:
                self._flights.pass_on(flight.key, self._clocks.monotonic() + asking.visit.site.settings.pass_s)
            flight.settle(Alone(head, arriving, reason))
        await _receive(response, arriving)

    async def _store(
        self, flight: Flight, visit: PullVisit, response: UpstreamResponse, pulled: PulledHead, terms: ReuseTerms
    ) -> None:
        """Give the answer to all who wait, and keep it."""
        key = flight.key
        tags = pull_tags(pulled.head.fields, visit.request.target.decoded_path, visit.site.settings)
        may_store = self.may_be_stored(flight, tags)
        sink: NewContent | None = None
        size_bytes = response.content.size_bytes
        if may_store(flight.admitted) and (size_bytes is None or size_bytes <= self._max_stored_bytes):
            sink = self._disk.new_content(StoredKey(key.site_id, key.path, _variant_id(pulled)))
        arriving = ArrivingContent(size_bytes, sink, self._max_stored_bytes, on_unwanted=flight.on_content_unwanted)
        flight.tags = tags
        flight.vary = _names(pulled)
        self._flights.forget_pass(key)
        flight.settle(Shared(pulled.head, arriving, terms))
        is_entered = False
        try:
            await _receive(response, arriving)
            if sink is not None and arriving.is_storing:
                is_entered = await self._enter(flight, pulled, tags, sink, arriving.received_bytes, may_store)
        finally:
            if sink is not None and not is_entered:
                self._flights.close(flight)
                self._spawn(_abandon(sink, arriving), f"abandon {key.site_id}")

    async def _enter(
        self,
        flight: Flight,
        pulled: PulledHead,
        tags: tuple[str, ...],
        sink: NewContent,
        size_bytes: int,
        may_store: Callable[[Position], bool],
    ) -> bool:
        if pulled.complete_length is None:
            pulled = replace(pulled, complete_length=size_bytes)
        now_wall = self._residence.wall(self._clocks.monotonic())
        elapsed_s = max(0.0, self._clocks.wall() - pulled.received_at)
        stored = StoredResponse(
            key=sink.key,
            entry=sink.entry,
            names=(flight.key.name,),
            tags=tags,
            admitted=flight.admitted,
            stored_at=now_wall,
            validated_at=now_wall - elapsed_s,
            incarnation=sink.incarnation,
            pulled=pulled,
        )
        outcome = await sink.enter(stored, may_store)
        if outcome is not StoreOutcome.STORED:
            self.not_stored[outcome.value] = self.not_stored.get(outcome.value, 0) + 1
            return False
        if not may_store(flight.admitted):  # it was invalidated in the very moment in which it was entered
            self._disk.drop(stored)
            return True
        self._memory.forget(flight.key)
        self._shelf.note_stored(flight.key, pulled)
        return True

    # What upstream said about what is stored

    async def _renew(
        self, flight: Flight, asking: Asking, head: ResponseHead, requested_at: float, received_at: float
    ) -> frozenset[int]:
        """A 304: every stored response that it selects is updated (RFC 9111 section 4.3.4)."""
        assert asking.validating is not None, "a 304 is an answer to validators"
        stored = [each for each in await self._shelf.under(flight.key) if _could_answer(asking.visit, each)]
        heads = [each.pulled.head for each in stored if each.pulled is not None]
        chosen = set(selected_for_update(heads, head, len(stored) == 1))
        if not chosen and (len(stored) == 1 or _names_no_validator(head)):
            # Only the validators of one were sent, and the status says that they match: see docs/decisions/009.
            chosen = {at for at, each in enumerate(stored) if each.incarnation == asking.validating.incarnation}
        renewed = [await self._update(flight, stored[at], head, requested_at, received_at) for at in sorted(chosen)]
        self._memory.forget(flight.key)
        return frozenset(each.incarnation for each in renewed if each is not None)

    async def _update(
        self, flight: Flight, stored: StoredResponse, head: ResponseHead, requested_at: float, received_at: float
    ) -> StoredResponse | None:
        assert stored.pulled is not None, "only pulled responses are updated"
        newer = updated_head(stored.pulled.head, head)
        names = vary_names(newer.fields)
        if names is None:
            self._disk.drop(stored)
            return None
        pulled = replace(
            stored.pulled,
            head=newer,
            selecting=flight.visit.selecting(names),
            requested_at=requested_at,
            received_at=received_at,
        )
        site = self._view.catalog.site(stored.key.site_id)
        if site is None:
            return None
        path = stored.names[0].partition("?")[0]
        tags = pull_tags(newer.fields, path, site.settings)
        hard = self._view.floors.of(site.id).required(stored.names, tags).hard
        validated_at = self._residence.wall(self._clocks.monotonic())
        return await self._disk.update_head(stored, pulled, stored.names, tags, flight.admitted, validated_at, hard)

    async def _apply_head(
        self,
        flight: Flight,
        asking: Asking,
        response: UpstreamResponse,
        head: ResponseHead,
        requested_at: float,
        received_at: float,
    ) -> None:
        """What a HEAD says of the stored responses to GET (RFC 9111 section 4.3.5)."""
        if head.status != 200:
            return
        for stored in await self._shelf.under(flight.key):
            pulled = stored.pulled
            if pulled is None or not _could_answer(asking.visit, stored):
                continue
            match effect_of_head(pulled.head, stored.entry.size_bytes, head):
                case HeadEffect.UPDATES:
                    await self._update(flight, stored, head, requested_at, received_at)
                case HeadEffect.INVALIDATES:
                    self._disk.drop(stored)
                case HeadEffect.NOTHING:
                    continue
            self._memory.forget(flight.key)

    # The request

    def _request(self, asking: Asking, origin: HttpOrigin | BucketOrigin) -> UpstreamRequest:
        visit, request = asking.visit, asking.visit.request
        prefix = origin.prefix if isinstance(origin, HttpOrigin) else ""
        lines: list[tuple[str, str]] = [
            line
            for line in forwarded_fields(request, visit.forwarding)
            if not asking.is_whole or (line[0] not in CONDITIONS and line[0] != "range")
        ]
        lines.append(("surrogate-capability", SURROGATE_CAPABILITY))
        if asking.validating is not None:
            lines.extend(_validators(asking.validating))
        size_bytes = 0 if asking.content is None else asking.content.size_bytes
        content = None if asking.content is None or size_bytes == 0 else aiter(asking.content)
        return UpstreamRequest(request.method, prefix + visit.key.name, tuple(lines), content, size_bytes)


async def _receive(response: UpstreamResponse, arriving: ArrivingContent) -> None:
    async for part in response.content:
        await arriving.take(part)
    await arriving.finish(without_connection_fields(response.content.trailers))


async def _abandon(sink: NewContent, arriving: ArrivingContent) -> None:
    """What could not be stored stays readable for those who are still reading it."""
    await arriving.left()
    await sink.abandon()


def _names_no_validator(head: ResponseHead) -> bool:
    return "etag" not in head.fields and "last-modified" not in head.fields


def _could_answer(visit: PullVisit, stored: StoredResponse) -> bool:
    pulled = stored.pulled
    return pulled is not None and visit.selecting(_names(pulled)) == pulled.selecting


def _names(pulled: PulledHead) -> tuple[str, ...]:
    return tuple(name for name, _ in pulled.selecting)


def _pulled(
    visit: PullVisit,
    head: ResponseHead,
    terms: ReuseTerms,
    requested_at: float,
    received_at: float,
    size_bytes: int | None,
) -> PulledHead | None:
    """What is kept of the head; None for a part that does not say which part it is, or is too large."""
    withheld = terms.withheld_fields | {"content-length"}
    lines = tuple(line for line in head.fields if line[0] not in withheld)
    kept = ResponseHead(head.status, Fields(lines))
    names = vary_names(head.fields)
    assert names is not None, "what varies by everything is not stored"
    chosen = visit.selecting(names)
    if head.status != 206:
        return PulledHead(kept, chosen, requested_at, received_at)
    part = parse_content_range(head.fields.get("content-range"))
    if part is None or part.complete_length is None or size_bytes != part.stop - part.start:
        return None
    if size_bytes > MAX_PART_BYTES:
        return None
    return PulledHead(kept, chosen, requested_at, received_at, part.complete_length, part.start)


def _variant_id(pulled: PulledHead) -> str:
    """Tells stored responses under one key apart: by what selected them, and by the part they hold."""
    told = repr((pulled.selecting, pulled.head.status == 206 and (pulled.part_start, pulled.complete_length)))
    if pulled.head.status == 206:
        told += pulled.head.fields.get("content-range") or ""
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


def _head_of(response: UpstreamResponse, received_at: float) -> ResponseHead:
    """The head without what concerns only the connection, and with a Date (RFC 9110 section 6.6.1)."""
    lines = without_connection_fields(response.head.fields.lines)
    if "date" not in response.head.fields:
        lines = (*lines, ("date", format_date(received_at)))
    return ResponseHead(response.head.status, Fields(lines))


def _validators(stored: StoredResponse) -> FieldLines:
    """As the upstream gave them, for it alone to compare (RFC 9111 section 4.3.1)."""
    assert stored.pulled is not None, "only pulled responses are validated with their upstream"
    fields = stored.pulled.head.fields
    entity_tag, last_modified = fields.get("etag"), fields.get("last-modified")
    lines: list[tuple[str, str]] = []
    if entity_tag is not None:
        lines.append(("if-none-match", entity_tag))
    if last_modified is not None:
        lines.append(("if-modified-since", last_modified))
    return tuple(lines)


def _timeouts(settings: SiteSettings) -> UpstreamTimeouts:
    return UpstreamTimeouts(
        connect_s=settings.connect_timeout_s, read_s=settings.read_timeout_s, retries=settings.upstream_retries
    )


def _pass_interim(visit: PullVisit, interim: ResponseHead) -> None:
    visit.visitor.send_interim(interim.status, without_connection_fields(interim.fields.lines))
