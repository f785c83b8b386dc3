"""Files of the deploy that a visit is resolved against: in the form that the visitor likes best, whole or in part.

What is sent whole from memory is prepared for the next request like it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

from cdn.edge.asked_before import AskedBefore
from cdn.edge.clocks import Clocks
from cdn.edge.coded_files import Choice, CodedFiles, Where
from cdn.edge.detached import DETACHED_RECALL_S
from cdn.edge.fault_log import FaultLog
from cdn.edge.https_rules import bundle_place, with_hsts
from cdn.edge.prepared import Prepared, Validators
from cdn.edge.private_fields import unindexed
from cdn.edge.recall import DEBUG_FIELD, BundlePlace, Recall
from cdn.edge.response import ContentStream, Response
from cdn.edge.selection import Part, select
from cdn.edge.site_view import SiteView
from cdn.edge.storeroom import Found, Storeroom
from cdn.edge.visit import Visit
from cdn.errors import Unavailable
from cdn.http.cache_status import CacheStatus
from cdn.http.fields import FieldLines
from cdn.sites.name import PRODUCTION
from cdn.sites.representation import Representation
from cdn.sites.route import FileRoute

RETAINED_RECALL_S = 60.0
"""How long a prepared response of a retained file is used without asking whether its retention is over."""

MAX_PAGE_BYTES = 16 * 1024
"""Of a page for what is absent that is kept for each path that is asked for again: 250 of them in half the memory of
such answers."""


class FileAnswers:
    """Who may have the file was asked before."""

    def __init__(
        self,
        *,
        cache_name: str,
        view: SiteView,
        storeroom: Storeroom,
        coded: CodedFiles | None,
        hints: Recall,
        clocks: Clocks,
        faults: FaultLog,
        has_lease: Callable[[Visit], bool],
        lease_left_s: Callable[[], float],
        told: Callable[[Visit], FieldLines],
        is_taken_down: Callable[[str, str], bool],
        asked_before: AskedBefore,
    ) -> None:
        """Prepared hits are kept in `hints`. `has_lease`: whether the node has had its lease from the beginning of a
        visit until now; `told`: what a request that asks for it is told beside the answer. `is_taken_down`: of
        site and digest."""
        self._is_taken_down = is_taken_down
        self._asked_before = asked_before
        self._cache_name = cache_name
        self._view = view
        self._storeroom = storeroom
        self._coded = coded
        self._hints = hints
        self._clocks = clocks
        self._faults = faults
        self._has_lease = has_lease
        self._lease_left_s = lease_left_s
        self._told = told

    async def answer(self, visit: Visit, route: FileRoute, representation: Representation) -> Response:
        """The form of the file that the visitor likes best; as it is when that cannot be had. Raises Unavailable."""
        if self._coded is None:
            return await self._answer_choice(visit, route, Choice(route.entry, representation))
        where = Where(visit.site.id, visit.alias, visit.deploy.manifest_digest, route.is_retained)
        choice = await self._coded.choose(visit.request, where, route.entry, representation)
        if choice.coding is not None and self._is_taken_down(where.site_id, choice.entry.digest):
            # It came with the deploy, as a file of its own.
            choice = self._coded.identity(where.site_id, choice, route.entry, representation)
        if choice.coding is None:
            return await self._answer_choice(visit, route, choice)
        try:
            return await self._answer_choice(visit, route, choice)
        except Unavailable as exc:
            self._faults.tell(f"coded {where.site_id}", f"site {visit.site.name}, {route.path}, sent uncoded: {exc}")
            identity = self._coded.identity(where.site_id, choice, route.entry, representation)
            return await self._answer_choice(visit, route, identity)

    async def _answer_choice(self, visit: Visit, route: FileRoute, choice: Choice) -> Response:
        """The file in the form that was chosen. Raises Unavailable when that cannot be had."""
        representation = choice.representation
        found = await self._storeroom.find(visit.site, route.path, choice.entry, representation)
        selected = select(visit.request, representation, choice.entry.size_bytes, self._clocks.wall())
        content: bytes | ContentStream = b""
        if selected.part is not Part.NOTHING:
            if found.content is not None:
                content = selected.content_of(found.content)
                is_kept = visit.is_for_all and representation.is_general and selected.part is Part.ALL
                if is_kept and (
                    visit.request.target.path in representation.names
                    or (representation.status == 404 and self._is_kept_page(visit, found.content))
                ):
                    self._prepare(visit, choice, found, is_retained=route.is_retained)
            elif selected.layout is not None:
                found, content = await self._storeroom.open_parts(found, selected.layout)
            else:
                found, content = await self._storeroom.open(found, selected.start, selected.stop)
        age_s = max(0, int(self._clocks.monotonic() - found.validated_at))
        fields = (
            *_with_age(selected.fields, representation, age_s),
            ("age", str(age_s)),
            ("cache-status", self._cache_status(visit, found).serialise()),
            *self._told(visit),
        )
        return Response(selected.status, fields, content)

    def _is_kept_page(self, visit: Visit, content: bytes) -> bool:
        """Whether a page for what is absent is kept for this path, in a copy of its own."""
        return len(content) <= MAX_PAGE_BYTES and self._asked_before.has_come(visit)

    def _prepare(self, visit: Visit, choice: Choice, found: Found, *, is_retained: bool) -> None:
        """Encode the hit that the next request for this path will be, unless it could only be used once."""
        if found.content is None or not found.is_stored or DEBUG_FIELD in visit.request.fields:
            return
        representation = choice.representation
        fresh_until = found.fresh_until
        if is_retained:  # its time runs out without a record that says so
            fresh_until = min(fresh_until, self._clocks.monotonic() + RETAINED_RECALL_S)
        hit = CacheStatus(self._cache_name, hit=True, detail=None if self._has_lease(visit) else "detached")
        fields = (*representation.fields, ("cache-status", hit.serialise()))
        if visit.alias != PRODUCTION:
            fields = unindexed(fields)
        self._hints.put(
            visit.request,
            BundlePlace(visit.site.id, visit.alias, bundle_place(visit.request, visit.site), choice.codings),
            Prepared(
                status=representation.status,
                fields=with_hsts(fields, visit.request, visit.site),
                content=found.content,
                base_age_at=found.validated_at,
                site=self._view.runtime(visit.site.id),
                generation=visit.generation,
                fresh_until=fresh_until,
                usable_until=min(self.usable_until(visit), choice.usable_until),
                extends_max_age=representation.extends_max_age,
                wall_clock=self._clocks.wall,
                on_use=partial(self._storeroom.note_use, found.stored.key),
                validators=_validators(representation),
            ),
        )

    def usable_until(self, visit: Visit) -> float:
        """Until when what answers the visit needs no look at the lease, nor at whether the preview is over."""
        now = self._clocks.monotonic()
        expires_at = visit.state.expires_at
        over_at = inf if expires_at is None else now + max(0.0, expires_at - self._clocks.wall())
        if visit.site.settings.validates_on_detach:
            return min(over_at, now + self._lease_left_s())
        return over_at if self._has_lease(visit) else min(over_at, now + DETACHED_RECALL_S)

    def _cache_status(self, visit: Visit, found: Found) -> CacheStatus:
        detail = found.detail if self._has_lease(visit) else "detached"
        return CacheStatus(
            self._cache_name,
            hit=found.fwd is None,
            fwd=found.fwd,
            fwd_status=found.fwd_status,
            stored=found.fwd is not None and found.is_stored,
            collapsed=found.is_collapsed,
            detail=detail,
        )


def _validators(representation: Representation) -> Validators:
    """A rule may give another ETag than the file's own, which is what preconditions are compared with."""
    tag = representation.entity_tag
    is_own = tag is not None and [v for name, v in representation.fields if name == "etag"] == [tag.serialise()]
    return Validators.ENTITY_TAG if is_own else Validators.NONE


def _with_age(fields: FieldLines, representation: Representation, age_s: int) -> FieldLines:
    """max-age counts from delivery: see docs/decisions/004."""
    lifetime_s = representation.extends_max_age
    if lifetime_s is None or age_s == 0:
        return fields
    old, new = f"max-age={lifetime_s}", f"max-age={lifetime_s + age_s}"
    return tuple((name, value.replace(old, new, 1) if name == "cache-control" else value) for name, value in fields)
