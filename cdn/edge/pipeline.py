"""The request road: host, site, route, key, decision, stored response or fetch, response.

`answer` reads top to bottom; what it calls is either pure (http, sites, purge) or one tier. A request is resolved
against exactly one deploy (DESIGN I4): alias state and manifest are taken once, at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import assert_never

from cdn.edge import local_answer
from cdn.edge.clocks import Clocks
from cdn.edge.coded_files import Choice, CodedFiles, Where
from cdn.edge.counters import NodeCounters
from cdn.edge.detached import DETACHED_RECALL_S, DetachedAliases
from cdn.edge.fault_log import FaultLog
from cdn.edge.fetch import UpstreamDamaged
from cdn.edge.https_rules import HttpsRules, bundle_place, with_hsts
from cdn.edge.manifest_cache import ManifestCache, ManifestUnavailable
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.prepared import Prepared
from cdn.edge.pull_road import PullRoad
from cdn.edge.recall import DEBUG_FIELD, SERVED_METHODS, BundlePlace, Recall
from cdn.edge.request_content import RequestContent
from cdn.edge.response import ContentStream, Response
from cdn.edge.retained import RetainedFiles
from cdn.edge.selection import Part, select
from cdn.edge.site_view import SiteView
from cdn.edge.storeroom import BlobGone, Found, Storeroom
from cdn.edge.visitor import Visitor
from cdn.errors import Unavailable
from cdn.fleet.eligibility import eligibility
from cdn.fleet.node import NodeFacts
from cdn.http.cache_status import CacheStatus
from cdn.http.fields import FieldLines
from cdn.http.request import Request
from cdn.journal.takedown_fold import TakedownFold
from cdn.sites.catalog import Binding
from cdn.sites.deploy import Deploy
from cdn.sites.name import PRODUCTION
from cdn.sites.representation import Representation, representation_of
from cdn.sites.route import (
    AbsentRoute,
    DeniedRoute,
    FileRoute,
    ProxyRoute,
    RedirectRoute,
    Route,
    may_be_retained,
    resolve,
)
from cdn.sites.site import Site

RETAINED_RECALL_S = 60.0
"""How long a prepared response of a retained file is used without asking whether its retention is over."""

KNOWN_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE", "PURGE"})
"""Methods that a bundle does not allow (405); others are not implemented (501, RFC 9110 section 9.1)."""


MOVED = 308
"""To another address of the site: unlike 301 the method stays (RFC 9110 section 15.4.9)."""

UNPLACED = NodeFacts("")
"""A node of which nobody said where it stands."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, resolved: which site, alias and deploy it is about.

    `generation` is the site's when it came, and `was_attached` whether the node had its lease then: what is decided by
    an older state is neither kept for a newer one nor passed off as current.
    """

    request: Request
    site: Site
    alias: str
    deploy: Deploy
    generation: int
    was_attached: bool


class Pipeline:
    """Answers every well-formed request of a node; an Application."""

    def __init__(
        self,
        *,
        cache_name: str,
        node_id: str,
        view: SiteView,
        manifests: ManifestCache,
        retained: RetainedFiles,
        prepared: MemoryTier[Prepared],
        storeroom: Storeroom,
        counters: NodeCounters,
        clocks: Clocks,
        is_attached: Callable[[], bool],
        pull: PullRoad,
        facts: NodeFacts = UNPLACED,
        detached: DetachedAliases | None = None,
        lease_left_s: Callable[[], float] = lambda: inf,
        may_answer: Callable[[], bool] = lambda: True,
        rules: HttpsRules | None = None,
        takedowns: TakedownFold | None = None,
        coded: CodedFiles | None = None,
    ) -> None:
        self._coded = coded
        self._rules = rules
        self._takedowns = takedowns
        self._may_answer = may_answer
        self._detached = detached
        self._lease_left_s = lease_left_s
        self._pull = pull
        self._facts = facts
        self._faults = FaultLog(clocks.monotonic)
        self._cache_name = cache_name
        self._node_id = node_id
        self._view = view
        self._manifests = manifests
        self._retained = retained
        self._prepared = prepared
        self.hints = Recall(view, prepared, pull.memory, rules)
        self._storeroom = storeroom
        self._counters = counters
        self._clocks = clocks
        self._is_attached = is_attached

    def recall(self, request: Request, now: float) -> Prepared | None:
        prepared = self.hints.find(request, now)
        if prepared is not None:
            self._counters.hits += 1
        return prepared

    async def answer(self, request: Request, content: RequestContent, visitor: Visitor) -> Response:
        self._counters.answered += 1
        if self._rules is not None and request.method in SERVED_METHODS:
            value = self._rules.answer_of_challenge(request, self._clocks.wall())
            if value is not None:
                return local_answer.challenge(self._cache_name, value)
        if not self._may_answer():
            return local_answer.starting(self._cache_name)
        catalog = self._view.catalog
        binding = catalog.bind(request.host)
        site = catalog.site(binding.site_id) if binding is not None else None
        if binding is None or site is None:
            return local_answer.unknown_host(self._cache_name, request.host, catalog.zone)
        if not (found := eligibility(self._facts, site)).allows:
            return local_answer.misdirected(self._cache_name, found.value)
        if self._rules is not None and self._rules.moves(request, site):
            response = local_answer.redirect(self._cache_name, MOVED, self._rules.location(request, site))
        else:
            response = await self._answer_site(request, content, visitor, site, binding)
        return replace(response, fields=with_hsts(response.fields, request, site))

    async def _answer_site(
        self, request: Request, content: RequestContent, visitor: Visitor, site: Site, binding: Binding
    ) -> Response:
        catalog = self._view.catalog
        if site.settings.is_pull:
            if binding.alias != PRODUCTION:
                return local_answer.no_previews(self._cache_name)
            return await self._pull.answer(request, content, visitor, site)
        if request.method not in SERVED_METHODS:
            return self._answer_method(request.method)
        state = catalog.alias(site.id, binding.alias)
        generation, was_attached = self._view.runtime(site.id).generation, self._is_attached()
        if site.settings.validates_on_detach and self._detached is not None and not was_attached:
            try:
                state = await self._detached.state(site, binding.alias, state)
            except Unavailable as exc:
                self._counters.upstream_failed += 1
                self._faults.tell(f"detached {site.id}", f"site {site.name} cannot be validated: {exc}")
                text = "This site cannot be shown at the moment. Please try again in a little while."
                return local_answer.unavailable(self._cache_name, "detached-store-down", text)
        if state is None or state.active is None:
            return local_answer.nothing_deployed(self._cache_name, binding.alias)
        visit = Visit(request, site, binding.alias, state.active, generation, was_attached)
        try:
            manifest = await self._manifests.load(site.id, state.active.manifest_digest)
            route = resolve(manifest, {}, request.target)
            if not _is_active_file(route) and may_be_retained(request.target.decoded_path, site.settings.keep):
                retained = await self._retained.of(site, binding.alias, state, self._clocks.wall())
                route = resolve(manifest, retained, request.target)
        except ManifestUnavailable as exc:
            self._counters.site_failed += 1
            self._faults.tell(f"manifest {site.id}", f"site {site.name}: {exc}")
            text = "This site cannot be served here at the moment. Please try again in a little while."
            return local_answer.unavailable(self._cache_name, "no-manifest", text)
        return await self._answer_route(visit, route)

    def _answer_method(self, method: str) -> Response:
        """What a bundle says to a method that does not read it."""
        if method == "OPTIONS":
            return local_answer.allowed_methods(self._cache_name)
        if method in KNOWN_METHODS:
            return local_answer.method_not_allowed(self._cache_name, method)
        return local_answer.method_unknown(self._cache_name, method)

    async def _answer_route(self, visit: Visit, route: Route) -> Response:
        match route:
            case RedirectRoute(location, status):
                return local_answer.redirect(self._cache_name, status, location, self._told(visit))
            case AbsentRoute():
                return local_answer.not_found(self._cache_name, self._told(visit))
            case FileRoute():
                return await self._answer_file(visit, route)
            case DeniedRoute(status, realm):
                return local_answer.denied(self._cache_name, status, realm)
            case ProxyRoute():
                return local_answer.not_found(self._cache_name, self._told(visit))
            case _:
                assert_never(route)

    async def _answer_file(self, visit: Visit, route: FileRoute) -> Response:
        if self._takedowns is not None and self._takedowns.of(visit.site.id, route.entry.digest) is not None:
            return local_answer.taken_down(self._cache_name, self._told(visit))
        representation = representation_of(route.path, route.entry, visit.site.settings, route.status)
        try:
            return await self._answer_best_form(visit, route, representation)
        except (BlobGone, UpstreamDamaged) as exc:
            self._counters.upstream_failed += 1
            self._faults.tell(f"faulty {visit.site.id} {route.path}", f"site {visit.site.name}: {exc}")
            return local_answer.store_faulty(self._cache_name)
        except Unavailable as exc:
            self._counters.upstream_failed += 1
            self._faults.tell(f"down {visit.site.id}", f"site {visit.site.name}, {route.path}: {exc}")
            return local_answer.store_down(self._cache_name)

    async def _answer_best_form(self, visit: Visit, route: FileRoute, representation: Representation) -> Response:
        """The form of the file that the visitor likes best; as it is when that cannot be had. Raises Unavailable."""
        if self._coded is None:
            return await self._answer_choice(visit, route, Choice(route.entry, representation))
        where = Where(visit.site.id, visit.alias, visit.deploy.manifest_digest, route.is_retained)
        choice = await self._coded.choose(visit.request, where, route.entry, representation)
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
                if selected.part is Part.ALL and visit.request.target.path in representation.names:
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

    def _prepare(self, visit: Visit, choice: Choice, found: Found, *, is_retained: bool) -> None:
        """Encode the hit that the next request for this path will be, unless it could only be used once."""
        if found.content is None or not found.is_stored or DEBUG_FIELD in visit.request.fields:
            return
        representation = choice.representation
        fresh_until = found.fresh_until
        if is_retained:  # its time runs out without a record that says so
            fresh_until = min(fresh_until, self._clocks.monotonic() + RETAINED_RECALL_S)
        hit = CacheStatus(self._cache_name, hit=True, detail=None if self._has_lease(visit) else "detached")
        self.hints.put(
            visit.request,
            BundlePlace(visit.site.id, visit.alias, bundle_place(visit.request, visit.site), choice.codings),
            Prepared(
                status=representation.status,
                fields=with_hsts(
                    (*representation.fields, ("cache-status", hit.serialise())), visit.request, visit.site
                ),
                content=found.content,
                base_age_at=found.validated_at,
                site=self._view.runtime(visit.site.id),
                generation=visit.generation,
                fresh_until=fresh_until,
                usable_until=min(self._usable_until(visit), choice.usable_until),
                extends_max_age=representation.extends_max_age,
                wall_clock=self._clocks.wall,
                on_use=partial(self._storeroom.note_use, found.stored.key),
            ),
        )

    def _usable_until(self, visit: Visit) -> float:
        """Until when a hit needs no look at the lease."""
        if visit.site.settings.validates_on_detach:
            return self._clocks.monotonic() + self._lease_left_s()
        return inf if self._has_lease(visit) else self._clocks.monotonic() + DETACHED_RECALL_S

    def _has_lease(self, visit: Visit) -> bool:
        """Whether the visit's answer is that of a node with a lease, from its beginning to now."""
        return visit.was_attached and self._is_attached()

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

    def _told(self, visit: Visit) -> FieldLines:
        """Deploy, position and node, for a request that asks (DESIGN I13)."""
        if DEBUG_FIELD not in visit.request.fields:
            return ()
        return (
            ("cdn-deploy", visit.deploy.id),
            ("cdn-position", str(self._view.position)),
            ("cdn-node", self._node_id),
        )


def _is_active_file(route: Route) -> bool:
    """Whether the active deploy itself answers; only otherwise retained files are looked at."""
    return isinstance(route, RedirectRoute) or (isinstance(route, FileRoute) and route.status == 200)


def _with_age(fields: FieldLines, representation: Representation, age_s: int) -> FieldLines:
    """max-age counts from delivery: see docs/decisions/004."""
    lifetime_s = representation.extends_max_age
    if lifetime_s is None or age_s == 0:
        return fields
    old, new = f"max-age={lifetime_s}", f"max-age={lifetime_s + age_s}"
    return tuple((name, value.replace(old, new, 1) if name == "cache-control" else value) for name, value in fields)
