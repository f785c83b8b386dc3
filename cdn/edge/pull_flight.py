"""Fetches of pull sites under way, and who may join them (DESIGN I6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cdn.edge.collapse import MAX_FLIGHTS, MAX_FLIGHTS_PER_SITE, TooManyFetches
from cdn.edge.pull_content import ArrivingContent
from cdn.edge.pull_key import PullKey
from cdn.edge.pull_visit import PullVisit
from cdn.fleet.position import Position
from cdn.http.response_head import ResponseHead
from cdn.http.reuse_terms import ReuseTerms
from cdn.http.storability import NotStored
from cdn.origin.upstream import UpstreamBroken

SURE_FLIGHTS = 64
"""Flights that a site may have however many others have theirs. Beyond, it gets no more than a share of what is free:
so a few sites with slow upstreams, together, leave room for the others (DESIGN I10)."""

SHARE_OF_FREE = 3
"""A site may have a third of what the others leave free."""

MAX_PASSED = 65_536
"""Keys remembered whose answers may not be stored; the oldest go first, and are merely collapsed once more."""


@dataclass(frozen=True, slots=True)
class Shared:
    """An answer for everyone who waits: one that is being stored, or the failure of a fetch that all waited for.

    `terms` is None when it is not stored. Its content streams while it comes. `whole_head` has also the fields that
    only the one who asked may see (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
    """

    head: ResponseHead
    content: ArrivingContent
    terms: ReuseTerms | None
    whole_head: ResponseHead


@dataclass(frozen=True, slots=True)
class Alone:
    """An answer that only the request it was fetched for may have."""

    head: ResponseHead
    content: ArrivingContent
    reason: NotStored | None


@dataclass(frozen=True, slots=True)
class Renewed:
    """What is stored was confirmed (304): look again. `incarnations` were validated."""

    incarnations: frozenset[int]


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no answer."""

    error: UpstreamBroken


Outcome = Shared | Alone | Renewed | Failed


class Flight:
    """One request to an upstream, from the moment it is decided.

    `admitted` is the position the node held then. `number` orders flights and visits: a visit that came before a
    flight began may use its answer as if it had asked by itself. A detached flight answers those who wait, and
    stores nothing. `tags`, `vary` (names), `variant` (an id) and `received_at` (monotonic) are known once its head is
    here. `newer` are the variants that later flights have stored meanwhile. `begun_at` is monotonic; one that
    `is_shielded` asks another node, and `passed_by` says why one did not.
    """

    __slots__ = (
        "_outcome",
        "_over",
        "_waiting",
        "admitted",
        "begun_at",
        "is_detached",
        "is_shielded",
        "key",
        "newer",
        "number",
        "on_content_unwanted",
        "on_unwanted",
        "outcome_so_far",
        "passed_by",
        "received_at",
        "tags",
        "variant",
        "vary",
        "visit",
    )

    def __init__(self, visit: PullVisit, admitted: Position, number: int) -> None:
        self.visit = visit
        self.key = visit.key
        self.admitted = admitted
        self.number = number
        self.tags: tuple[str, ...] = ()
        self.vary: tuple[str, ...] | None = None
        self.variant = ""
        self.newer: set[str] = set()
        self.begun_at = 0.0
        self.received_at = 0.0
        self.is_shielded = False
        self.passed_by: str | None = None
        self.is_detached = False
        self.outcome_so_far: Outcome | None = None
        self.on_unwanted: Callable[[], object] | None = None
        self.on_content_unwanted: Callable[[], object] | None = None
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._waiting = 0

    @property
    def is_entering(self) -> bool:
        """Whether its content is all here and about to be found on the shelf."""
        outcome = self.outcome_so_far
        if not isinstance(outcome, Shared) or not outcome.content.is_storing:
            return False
        return outcome.content.is_whole or outcome.content.received_bytes == outcome.content.size_bytes

    async def over(self) -> None:
        """Return when nothing more comes of it."""
        await self._over.wait()

    def end(self) -> None:
        """Nothing more comes of it."""
        self._over.set()

    @property
    def is_superseded(self) -> bool:
        """Whether something that was asked for later is stored in the place of what it brings."""
        return self.variant in self.newer

    @property
    def has_beginning(self) -> bool:
        """Whether who joins now gets its content from the first byte on."""
        outcome = self.outcome_so_far
        return not isinstance(outcome, Shared | Alone) or outcome.content.may_be_joined

    async def outcome(self) -> Outcome:
        """Wait for the head of the answer. Of content that comes with it the caller holds a share: read it or let go.

        Raises what the visit's own content failed with.
        """
        if self.outcome_so_far is not None:
            if isinstance(self.outcome_so_far, Shared | Alone):
                self.outcome_so_far.content.hold()
            return self.outcome_so_far
        self._waiting += 1
        try:
            outcome = await asyncio.shield(self._outcome)
        except asyncio.CancelledError:
            self._leave()
            raise
        self._waiting -= 1
        return outcome

    def settle(self, outcome: Outcome) -> None:
        """The answer's head is here. Everyone who waits now is counted as a holder of its content."""
        if self._outcome.done():
            return
        self.outcome_so_far = outcome
        if isinstance(outcome, Shared | Alone):
            for _ in range(self._waiting):
                outcome.content.hold()
        self._outcome.set_result(outcome)

    def fail(self, failure: Exception) -> None:
        """There will be no answer, or not the whole of it, and not because of the upstream."""
        if isinstance(self.outcome_so_far, Shared | Alone):
            self.outcome_so_far.content.fail(failure)
        elif not self._outcome.done():
            self._outcome.set_exception(failure)
            self._outcome.exception()  # whoever asked may have left, and nobody else looks

    def _leave(self) -> None:
        """Called for a waiter that was cancelled, perhaps just when the outcome came."""
        self._waiting -= 1
        outcome = self.outcome_so_far
        if isinstance(outcome, Shared | Alone):
            outcome.content.let_go()
        elif self._waiting == 0 and self.on_unwanted is not None:
            self.on_unwanted()


class Flights:
    """The node's flights: all are counted, some can be joined."""

    def __init__(
        self, *, max_flights: int = MAX_FLIGHTS, max_per_site: int = MAX_FLIGHTS_PER_SITE, max_passed: int = MAX_PASSED
    ) -> None:
        self._max_flights = max_flights
        self._max_per_site = max_per_site
        self._max_passed = max_passed
        self._joinable: dict[tuple[str, str], list[Flight]] = {}
        self._all: dict[tuple[str, str], list[Flight]] = {}
        self._per_site: dict[str, int] = {}
        self._count = 0
        self._passed: dict[tuple[str, str], float] = {}
        self._number = 0
        self.refused = 0

    def __len__(self) -> int:
        return self._count

    def next_number(self) -> int:
        """A place in the order of visits and flights."""
        self._number += 1
        return self._number

    def enter(self, flight: Flight, *, is_joinable: bool) -> None:
        """A flight begins. Raises TooManyFetches."""
        site_id = flight.key.site_id
        running = self._per_site.get(site_id, 0)
        share = max(SURE_FLIGHTS, (self._max_flights - self._count) // SHARE_OF_FREE)
        if self._count >= self._max_flights or running >= min(self._max_per_site, share):
            self.refused += 1
            raise TooManyFetches(
                f"{self._count} fetches are under way ({running} for site {site_id}); at most {self._max_flights} "
                f"({self._max_per_site} per site) may be: try again in a moment"
            )
        self._count += 1
        self._per_site[site_id] = running + 1
        place = (site_id, flight.key.path)
        self._all.setdefault(place, []).append(flight)
        if is_joinable:
            self._joinable.setdefault(place, []).append(flight)

    def close(self, flight: Flight) -> None:
        """Nobody joins it any more."""
        _remove(self._joinable, flight)

    def leave(self, flight: Flight) -> None:
        """A flight is over."""
        self.close(flight)
        _remove(self._all, flight)
        flight.end()
        self._count -= 1
        left = self._per_site[flight.key.site_id] - 1
        if left:
            self._per_site[flight.key.site_id] = left
        else:
            del self._per_site[flight.key.site_id]

    def of(self, key: PullKey) -> tuple[Flight, ...]:
        """Those that can be joined, the newest first."""
        return tuple(reversed(self._joinable.get((key.site_id, key.path), ())))

    async def entered(self, key: PullKey) -> None:
        """Return when what has come in for this key whole is on the shelf.

        Who was sent the last byte of a response and asks again finds it stored: this wait is for the index.
        """
        for flight in tuple(self._all.get((key.site_id, key.path), ())):
            if flight.is_entering:
                await flight.over()

    def note_entered(self, flight: Flight, variant: str) -> None:
        """What a flight brought is stored: those that began before it do not replace it, however late they come."""
        for other in self._all.get((flight.key.site_id, flight.key.path), ()):
            if other.number < flight.number:
                other.newer.add(variant)

    def detach(self, key: PullKey, but: Flight) -> None:
        """What the others fetch has been invalidated: nobody joins them, nothing of them is stored."""
        for flight in tuple(self._all.get((key.site_id, key.path), ())):
            if flight is not but:
                flight.is_detached = True
                self.close(flight)

    # Keys whose answers may not be stored: their requests do not wait for each other.

    def pass_on(self, key: PullKey, until: float) -> None:
        """Do not collapse requests for this key until then (monotonic)."""
        place = key.place
        self._passed.pop(place, None)
        self._passed[place] = until
        if len(self._passed) > self._max_passed:
            del self._passed[next(iter(self._passed))]

    def is_passed(self, key: PullKey, now: float) -> bool:
        """Whether requests for this key go on alone."""
        until = self._passed.get(key.place)
        return until is not None and now < until

    def forget_pass(self, key: PullKey) -> None:
        """An answer for the key was stored: collapse again."""
        self._passed.pop(key.place, None)


def _remove(flights: dict[tuple[str, str], list[Flight]], flight: Flight) -> None:
    place = (flight.key.site_id, flight.key.path)
    of_key = flights.get(place)
    if of_key is not None and flight in of_key:
        of_key.remove(flight)
        if not of_key:
            del flights[place]
