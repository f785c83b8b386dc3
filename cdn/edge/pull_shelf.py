"""What is stored for a request to a pull site: selected by Vary, by No-Vary-Search, and by what was invalidated."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.edge.disk_tier import DiskTier
from cdn.edge.pull_key import PullKey, keyed_with
from cdn.edge.pull_marks import GroupMarks
from cdn.edge.pull_searches import Searches
from cdn.edge.pull_visit import PullVisit
from cdn.edge.site_view import SiteView
from cdn.edge.stored import PulledHead, ResidenceClock, StoredResponse
from cdn.http.decide import Required, StoredFacts
from cdn.http.entity_tag import parse_entity_tag
from cdn.http.fields import Fields
from cdn.http.head_update import most_recent
from cdn.http.no_vary_search import are_equivalent, parse_no_vary_search
from cdn.http.reuse_terms import ReuseTerms, reuse_terms
from cdn.http.storability import CachePolicy
from cdn.http.vary import Selecting

MAX_VALIDATED = 16
"""Variants whose entity tags go into one request: more would fill a head that upstreams accept."""

MAX_COPIED_BYTES = 1024 * 1024
"""A larger variant is fetched again rather than stored twice."""


@dataclass(frozen=True, slots=True)
class Held:
    """A stored response that Vary allows for a request. `key` is the one it lies under; `terms` are recomputed."""

    key: PullKey
    stored: StoredResponse
    pulled: PulledHead
    terms: ReuseTerms


@dataclass(frozen=True, slots=True)
class OnShelf:
    """`whole` is the stored response to use, if any; `parts` are those that hold a part; `others` are
    those for requests with other fields; `vary` are the fields that tell any of them apart."""

    whole: Held | None = None
    parts: tuple[Held, ...] = ()
    vary: tuple[str, ...] = ()
    others: tuple[StoredResponse, ...] = ()


class PullShelf:
    """The disk tier, seen from a request to a pull site."""

    def __init__(self, disk: DiskTier, view: SiteView, marks: GroupMarks, residence: ResidenceClock) -> None:
        self._disk = disk
        self._view = view
        self._marks = marks
        self._residence = residence
        self._searches = Searches()

    async def look(self, visit: PullVisit) -> OnShelf:
        """What is stored for the request."""
        found = await self._look_under(visit, visit.key)
        if found.whole is not None or found.parts:
            return found
        for key in self.equivalent_keys(visit.key):
            other = await self._look_under(visit, key)
            if other.whole is not None and _allows(other.whole, visit.key):
                return other
        return found

    def equivalent_keys(self, key: PullKey) -> list[PullKey]:
        """Keys of other queries under which there is, or will be in a moment, what No-Vary-Search lets answer this."""
        return [keyed_with(key, name) for name in self._searches.equivalent_names(key)]

    async def under(self, key: PullKey) -> tuple[StoredResponse, ...]:
        """Everything stored under a key as the upstream sent it."""
        return tuple(each for each in await self._disk.find_all(key.site_id, key.path) if _is_base(each))

    async def coded(self, held: Held, coding: str) -> StoredResponse | None:
        """The coded form of a stored response."""
        for each in await self._disk.find_all(held.key.site_id, held.key.path):
            pulled = each.pulled
            if pulled is not None and pulled.coding == coding and pulled.base_incarnation == held.stored.incarnation:
                return each
        return None

    def note_stored(self, key: PullKey, pulled: PulledHead) -> None:
        """A response is being stored, or updated, under `key`: remember what its No-Vary-Search allows."""
        self._searches.note(key, parse_no_vary_search(pulled.head.fields))

    def required(self, key: PullKey, stored: StoredResponse) -> Required:
        """What floors demand of a stored response that answers `key`, by all its names and tags."""
        names = stored.names if key.name in stored.names else (*stored.names, key.name)
        return self._view.floors.of(key.site_id).required(names, self._view.tags_of(stored))

    def other_variants(self, key: PullKey, on_shelf: OnShelf) -> tuple[StoredResponse, ...]:
        """Variants for other requests that upstream may say suit this one too (RFC 9111 section 4.3.1).

        Only with strong validators, which tell them apart, and only what is small enough to be stored twice.
        """
        epoch = self._view.position.epoch
        named = [
            each
            for each in on_shelf.others
            if each.admitted.epoch == epoch
            and each.entry.size_bytes <= MAX_COPIED_BYTES
            and is_whole(each)
            and _has_strong_tag(each)
            and not self.is_below_hard(key, each)
        ]
        return tuple(named[:MAX_VALIDATED])

    def is_below_hard(self, key: PullKey, stored: StoredResponse) -> bool:
        """Whether a hard floor forbids a stored response for ever (DESIGN I1)."""
        return stored.is_below(self.required(key, stored).hard, self._view.position.epoch)

    def is_given_up(self, key: PullKey, stored: StoredResponse) -> bool:
        """Whether a hard floor, or a group that was invalidated, forbids a stored response for ever."""
        is_marked = self._marks.covers_stored(key.site_id, stored.tags, stored.incarnation)
        return is_marked or self.is_below_hard(key, stored)

    def facts(self, held: Held, now: float) -> StoredFacts:
        """What decide() needs. Its age counts from when upstream made or confirmed it, as far as that is known."""
        stored, terms = held.stored, held.terms
        return StoredFacts(
            admitted_sequence=stored.admitted.sequence,
            is_same_epoch=stored.admitted.epoch == self._view.position.epoch,
            validated_at=self.age_zero_at(stored, terms, now),
            freshness_lifetime_s=terms.lifetime.seconds,
            stale_if_error_s=terms.stale_if_error_s,
            stale_while_revalidate_s=terms.stale_while_revalidate_s,
            must_validate=terms.must_validate,
            may_serve_stale=terms.may_serve_stale,
        )

    def age_zero_at(self, stored: StoredResponse, terms: ReuseTerms, now: float) -> float:
        """The monotonic moment at which its age was 0."""
        return self._residence.monotonic(stored.validated_at, now) - terms.initial_age_s

    def asked_at(self, stored: StoredResponse, now: float) -> float:
        """The monotonic moment at which upstream was asked for it, or whether it is still good."""
        pulled = stored.pulled
        waited_s = 0.0 if pulled is None else max(0.0, pulled.received_at - pulled.requested_at)
        return self._residence.monotonic(stored.validated_at, now) - waited_s

    async def _look_under(self, visit: PullVisit, key: PullKey) -> OnShelf:
        candidates: list[Held] = []
        others: list[StoredResponse] = []
        vary: set[str] = set()
        said: dict[tuple[str, ...], Selecting] = {}
        for stored in await self.under(key):
            pulled = stored.pulled
            if pulled is None or self._marks.covers_stored(key.site_id, stored.tags, stored.incarnation):
                continue
            names = tuple(name for name, _ in pulled.selecting)
            vary.update(names)
            if names not in said:
                said[names] = visit.selecting(names)
            if said[names] == pulled.selecting:
                candidates.append(Held(key, stored, pulled, terms_of(pulled, visit.policy)))
            else:
                others.append(stored)
        whole = [each for each in candidates if is_whole(each.stored)]
        parts = tuple(each for each in candidates if not is_whole(each.stored))
        if not whole:
            return OnShelf(None, parts, tuple(sorted(vary)), tuple(others))
        # Newest first from the tier, and of equal dates the last given wins: so the newest is given last.
        chosen = whole[::-1][most_recent([each.pulled.head for each in whole[::-1]])]
        return OnShelf(chosen, parts, tuple(sorted(vary)), tuple(others))


def _allows(held: Held, key: PullKey) -> bool:
    """Whether its own No-Vary-Search lets a response answer another query: variants and updates say other things."""
    rule = parse_no_vary_search(held.pulled.head.fields)
    return rule is not None and are_equivalent(held.key.query, key.query, rule)


def is_whole(stored: StoredResponse) -> bool:
    """Whether it is a whole representation, not a part."""
    pulled = stored.pulled
    return pulled is not None and pulled.part_start == 0 and pulled.complete_length in {None, stored.entry.size_bytes}


def has_validator(stored: StoredResponse) -> bool:
    """Whether upstream can be asked whether it is still good."""
    fields = _fields(stored)
    return "etag" in fields or "last-modified" in fields


def terms_of(pulled: PulledHead, policy: CachePolicy) -> ReuseTerms:
    """On what terms a stored head may be reused, as the site's settings are now."""
    return reuse_terms(pulled.head, pulled.requested_at, pulled.received_at, policy)


def _has_strong_tag(stored: StoredResponse) -> bool:
    tag = parse_entity_tag(_fields(stored).get("etag") or "")
    return tag is not None and not tag.is_weak


def _fields(stored: StoredResponse) -> Fields:
    return Fields() if stored.pulled is None else stored.pulled.head.fields


def _is_base(stored: StoredResponse) -> bool:
    return stored.pulled is not None and stored.pulled.coding is None
