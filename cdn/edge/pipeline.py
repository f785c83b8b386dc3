"""The request road: host, site, route, key, decision, stored response or fetch, response.

`answer` reads top to bottom; what it calls is either pure (http, sites, purge) or one tier. A request is resolved
against exactly one deploy (DESIGN I4): alias state and manifest are taken once, at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from typing import assert_never

from cdn.edge import local_answer, purge_method
from cdn.edge.admission import Admission, Refused, Turned, without_credentials
from cdn.edge.asked_before import AskedBefore
from cdn.edge.clocks import Clocks
from cdn.edge.coded_files import CodedFiles
from cdn.edge.counters import NodeCounters
from cdn.edge.countries import Countries, NoCountries
from cdn.edge.detached import DetachedAliases
from cdn.edge.error_pages import ErrorPages, with_rules
from cdn.edge.fault_log import FaultLog
from cdn.edge.fetch import UpstreamDamaged
from cdn.edge.file_answers import FileAnswers
from cdn.edge.https_rules import HttpsRules, with_hsts
from cdn.edge.manifest_cache import ManifestCache, ManifestUnavailable
from cdn.edge.memory_tier import MemoryTier
from cdn.edge.password_checks import PasswordChecks
from cdn.edge.prepared import Prepared
from cdn.edge.private_fields import private_fields, unindexed
from cdn.edge.proxied import proxied
from cdn.edge.pull_road import PullRoad
from cdn.edge.purge_method import PurgeMethod
from cdn.edge.recall import DEBUG_FIELD, SERVED_METHODS, Recall
from cdn.edge.request_content import RequestContent
from cdn.edge.response import Response
from cdn.edge.retained import RetainedFiles
from cdn.edge.ruled_answers import RuledAnswers
from cdn.edge.site_view import SiteView
from cdn.edge.storeroom import BlobGone, Storeroom
from cdn.edge.visit import Visit
from cdn.edge.visitor import Visitor
from cdn.errors import InvalidInput, Unavailable
from cdn.fleet.eligibility import eligibility
from cdn.fleet.node import NodeFacts
from cdn.http.cache_status import CacheStatus
from cdn.http.fields import FieldLines
from cdn.http.request import Request
from cdn.journal.takedown_fold import TakedownFold
from cdn.sites.catalog import Binding
from cdn.sites.deploy import Deploy
from cdn.sites.manifest import Manifest
from cdn.sites.name import PRODUCTION
from cdn.sites.representation import representation_of
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
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.rule_set import NO_RULES
from cdn.sites.site import Site

KNOWN_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE", "PURGE"})
"""Methods that a bundle does not allow (405); others are not implemented (501, RFC 9110 section 9.1)."""


MOVED = 308
"""To another address of the site: unlike 301 the method stays (RFC 9110 section 15.4.9)."""

UNKNOWN_COUNTRIES = NoCountries()

UNPLACED = NodeFacts("")
"""A node of which nobody said where it stands."""


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
        countries: Countries = UNKNOWN_COUNTRIES,
        passwords: PasswordChecks | None = None,
    ) -> None:
        self._countries = countries
        self._admission = Admission(passwords or PasswordChecks(clocks.monotonic))
        self._rules = rules
        self._takedowns = takedowns
        self._may_answer = may_answer
        self.purging: PurgeMethod | None = None
        """What answers PURGE; None: no site does but pull sites, whose upstreams are asked."""
        self._detached = detached
        self._pull = pull
        self._facts = facts
        self._faults = FaultLog(clocks.monotonic)
        self._cache_name = cache_name
        self._node_id = node_id
        self._view = view
        self._manifests = manifests
        self._retained = retained
        self.hints = Recall(view, prepared, pull.memory, rules)
        self._pages = ErrorPages(manifests, storeroom, self._is_taken_down)
        self._counters = counters
        self._clocks = clocks
        self._is_attached = is_attached
        asked_before = AskedBefore()
        self._files = FileAnswers(
            cache_name=cache_name,
            view=view,
            storeroom=storeroom,
            coded=coded,
            hints=self.hints,
            clocks=clocks,
            faults=self._faults,
            has_lease=self._has_lease,
            lease_left_s=lease_left_s,
            told=self._told,
            is_taken_down=self._is_taken_down,
            asked_before=asked_before,
        )
        self._ruled = RuledAnswers(view, self.hints, clocks, asked_before, self._files.usable_until)

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
        if request.method == purge_method.METHOD and self.purging is not None:
            return await self.purging.answer(request, visitor)
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
            if request.method not in SERVED_METHODS:
                return self._answer_method(request.method)
            return local_answer.nothing_deployed(self._cache_name, binding.alias)
        if state.is_over(self._clocks.wall()):
            over = local_answer.preview_over(self._cache_name)
            return replace(over, fields=unindexed(over.fields))
        if request.method not in SERVED_METHODS and not _may_have_rules(state.active):
            return self._answer_method(request.method)
        visit = Visit(request, visitor, site, binding.alias, state, state.active, generation, was_attached)
        try:
            response = await self._answer_visit(visit, content)
        except ManifestUnavailable as exc:
            self._counters.site_failed += 1
            self._faults.tell(f"manifest {site.id}", f"site {site.name}: {exc}")
            text = "This site cannot be served here at the moment. Please try again in a little while."
            response = local_answer.unavailable(self._cache_name, "no-manifest", text)
        return response if binding.alias == PRODUCTION else replace(response, fields=unindexed(response.fields))

    async def _answer_visit(self, visit: Visit, content: RequestContent) -> Response:
        """Preflight, route, and the credentials that it or the preview wants. Raises ManifestUnavailable."""
        manifest = await self._manifests.load(visit.site.id, visit.deploy.manifest_digest)
        if manifest.rules is not NO_RULES:
            visit = replace(visit, rules=manifest.rules, asking=self._asking_of(visit))
            if manifest.rules.asks_countries:
                await self._countries.ready()
            preflight = manifest.rules.preflight(visit.request.target.decoded_path, visit.asking)
            if preflight is not None:
                return local_answer.preflight(self._cache_name, preflight)
        route = await self._route(visit, manifest)
        is_known = False
        if isinstance(route, DeniedRoute) and route.guard is not None:
            turned = await self._admission.by_guard(visit, route.guard)
            if turned is not None:
                return await self._turn_away(visit, turned)
            is_known = True
            visit = replace(visit, asking=replace(visit.asking, passed=route.guard))
            route = await self._route(visit, manifest)
        elif visit.state.password:
            turned = await self._admission.to_preview(visit)
            if turned is not None:
                return await self._turn_away(visit, turned)
            is_known = True
        if is_known:
            visit = replace(without_credentials(visit), is_for_all=False)
        return await self._answer_route(visit, route, content)

    async def _route(self, visit: Visit, manifest: Manifest) -> Route:
        """What answers, within exactly one deploy. Raises ManifestUnavailable."""
        target, site = visit.request.target, visit.site
        route = resolve(manifest, {}, target, visit.asking)
        keep = (*site.settings.keep, *visit.rules.keep) if visit.rules.keep else site.settings.keep
        if not _is_active_file(route) and may_be_retained(target.decoded_path, keep):
            now = self._clocks.wall()
            retained = await self._retained.of(site, visit.alias, visit.state, now, visit.rules)
            route = resolve(manifest, retained, target, visit.asking)
        return route

    def _asking_of(self, visit: Visit) -> Asking:
        request, address = visit.request, visit.visitor.address
        return Asking(
            request.host, request.scheme, request.method, request.fields, partial(self._countries.of, address)
        )

    def _answer_method(self, method: str) -> Response:
        """What a bundle says to a method that does not read it."""
        if method == "OPTIONS":
            return local_answer.allowed_methods(self._cache_name)
        if method in KNOWN_METHODS:
            return local_answer.method_not_allowed(self._cache_name, method)
        return local_answer.method_unknown(self._cache_name, method)

    async def _answer_route(self, visit: Visit, route: Route, content: RequestContent) -> Response:
        """What the route comes to; an answer that depended on who asks says so to other caches."""
        if not route.is_general and visit.is_for_all:
            visit = replace(visit, is_for_all=False)
        response = await self._answer_by(visit, route, content)
        if visit.is_for_all:
            return response
        return replace(response, fields=private_fields(response.fields, visit.rules.selecting_fields))

    async def _answer_by(self, visit: Visit, route: Route, content: RequestContent) -> Response:
        if visit.request.method not in SERVED_METHODS and not _takes_any_method(route):
            return self._answer_method(visit.request.method)
        match route:
            case RedirectRoute(location, status):
                response = local_answer.redirect(self._cache_name, status, location, self._told(visit))
                return self._ruled.answer(visit, response)
            case AbsentRoute():
                return self._ruled.answer(visit, local_answer.not_found(self._cache_name, self._told(visit)))
            case FileRoute():
                return await self._answer_file(visit, route)
            case DeniedRoute(status, realm):
                response = local_answer.denied(self._cache_name, status, realm)
                return await self._pages.dressed(visit, response)
            case ProxyRoute(url):
                return await self._answer_proxied(visit, url, content)
            case _:
                assert_never(route)

    async def _turn_away(self, visit: Visit, turned: Turned) -> Response:
        if visit.state.password:  # nothing of the deploy is shown to who has not given it
            visit = replace(visit, rules=NO_RULES)
        match turned.reason:
            case Refused.UNKNOWN:
                return await self._pages.dressed(visit, local_answer.denied(self._cache_name, 401, turned.realm))
            case Refused.TOO_MANY:
                return local_answer.too_many_guesses(self._cache_name, turned.wait_s)
            case _:
                assert_never(turned.reason)

    async def _answer_proxied(self, visit: Visit, url: str, content: RequestContent) -> Response:
        """Another server answers under the address that was asked for."""
        try:
            to = proxied(visit.site, url)
        except InvalidInput as exc:
            self._faults.tell(f"proxied {visit.site.id}", f"site {visit.site.name}: {exc}")
            return local_answer.upstream_failed(502, CacheStatus(self._cache_name, detail="no-such-upstream"))
        return await self._pull.answer(visit.request, content, visit.visitor, to.site, to=to)

    def _is_taken_down(self, site_id: str, digest: str) -> bool:
        return self._takedowns is not None and self._takedowns.of(site_id, digest) is not None

    async def _answer_file(self, visit: Visit, route: FileRoute) -> Response:
        if self._is_taken_down(visit.site.id, route.entry.digest):
            if route.status == 404:  # it stood in for what was never there
                return with_rules(visit, local_answer.not_found(self._cache_name, self._told(visit)))
            return local_answer.taken_down(self._cache_name, self._told(visit))
        representation = representation_of(
            route.path,
            route.entry,
            visit.site.settings,
            route.status,
            rules=visit.rules,
            asked_path=visit.request.target.decoded_path,
            asking=visit.asking,
        )
        try:
            return await self._files.answer(visit, route, representation)
        except (BlobGone, UpstreamDamaged) as exc:
            self._counters.upstream_failed += 1
            self._faults.tell(f"faulty {visit.site.id} {route.path}", f"site {visit.site.name}: {exc}")
            return await self._pages.dressed(visit, local_answer.store_faulty(self._cache_name))
        except Unavailable as exc:
            self._counters.upstream_failed += 1
            self._faults.tell(f"down {visit.site.id}", f"site {visit.site.name}, {route.path}: {exc}")
            return await self._pages.dressed(visit, local_answer.store_down(self._cache_name))

    def _has_lease(self, visit: Visit) -> bool:
        """Whether the visit's answer is that of a node with a lease, from its beginning to now."""
        return visit.was_attached and self._is_attached()

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
    """Whether it is certain that no retained file answers: only otherwise they are looked at."""
    match route:
        case FileRoute(status=status, rule=rule):
            return status == 200 and not rule
        case RedirectRoute(rule=rule):
            return not rule
        case _:
            return False


def _takes_any_method(route: Route) -> bool:
    """Whether a rule of the deploy answers, for whom a method is none of this CDN's business."""
    return isinstance(route, ProxyRoute) or (isinstance(route, RedirectRoute) and route.rule != "")


def _may_have_rules(deploy: Deploy) -> bool:
    """Whether its manifest may have rules; one that is known by its activation alone, because control is away, may."""
    return deploy.manifest_version > 1 or not deploy.file_count
