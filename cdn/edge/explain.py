"""Why this node would answer a URL as it does: the request road walked without fetching anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cdn.edge.clocks import Clocks
from cdn.edge.disk_tier import DiskTier
from cdn.edge.manifest_cache import ManifestCache, ManifestUnavailable
from cdn.edge.pull_explain import PullExplainer
from cdn.edge.retained import RetainedFiles
from cdn.edge.site_view import SiteView
from cdn.edge.storeroom import Storeroom, wanted_of
from cdn.fleet.eligibility import eligibility
from cdn.fleet.node import NodeFacts
from cdn.http.decide import Decision, Forwarded, Serve, ServeStale, Validate
from cdn.http.target import Target, parse_target
from cdn.sites.deploy import AliasState
from cdn.sites.representation import representation_of
from cdn.sites.route import AbsentRoute, DeniedRoute, FileRoute, ProxyRoute, RedirectRoute, resolve
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.rule_set import RuleSet
from cdn.sites.site import Site


class Explainer:
    """Answers control's question `explain host target` about this node."""

    def __init__(
        self,
        *,
        view: SiteView,
        manifests: ManifestCache,
        retained: RetainedFiles,
        storeroom: Storeroom,
        disk: DiskTier,
        clocks: Clocks,
        pull: PullExplainer,
        facts: NodeFacts,
    ) -> None:
        self._pull = pull
        self._facts = facts
        self._view = view
        self._manifests = manifests
        self._retained = retained
        self._storeroom = storeroom
        self._disk = disk
        self._clocks = clocks

    async def explain(self, host: str, target: str) -> dict[str, Any]:
        """The steps as JSON builtins, as far as the request would get."""
        steps: dict[str, Any] = {"position": str(self._view.position)}
        parsed = parse_target(target.encode("utf-8", "replace"))
        if not isinstance(parsed, Target):
            return {**steps, "answer": "400: the target is refused before any site is looked at"}
        binding = self._view.catalog.bind(host)
        site = self._view.catalog.site(binding.site_id) if binding is not None else None
        if binding is None or site is None:
            return {**steps, "answer": "404: no site has this host"}
        steps |= {"site": site.name, "site_id": site.id, "alias": binding.alias}
        found = eligibility(self._facts, site)
        if site.settings.region:
            steps |= {"regions": list(site.settings.region), "region": self._facts.region, "eligibility": found.value}
        if not found.allows:
            return {**steps, "answer": "421: the site may not be answered from the region of this node"}
        if site.settings.is_pull:
            return {**steps, **await self._pull.explain(site, host, parsed)}
        state = self._view.catalog.alias(site.id, binding.alias)
        if state is None or state.active is None:
            return {**steps, "answer": "404: nothing is deployed under this alias"}
        steps |= {"deploy": state.active.id, "activated_sequence": state.activated_sequence, **_of_alias(state)}
        if state.is_over(self._clocks.wall()):
            return {**steps, "answer": "410: the time of this preview is over"}
        try:
            return {**steps, **await self._explain_route(site, binding.alias, state, parsed, Asking(host=host))}
        except ManifestUnavailable as exc:
            return {**steps, "answer": f"503: {exc}"}

    async def _explain_route(
        self, site: Site, alias: str, state: AliasState, target: Target, asking: Asking
    ) -> dict[str, Any]:
        """As for a visitor of whom nothing is known: without fields, from no country."""
        assert state.active is not None, "the caller looked"
        manifest = await self._manifests.load(site.id, state.active.manifest_digest)
        rules = manifest.rules
        retained = await self._retained.of(site, alias, state, self._clocks.wall(), rules)
        route = resolve(manifest, retained, target, asking)
        steps: dict[str, Any] = {} if route.is_general else {"depends_on": "who asks, or how"}
        if isinstance(route, DeniedRoute) and route.guard is not None:
            steps["access"] = f"for users of {route.realm!r}"
            route = resolve(manifest, retained, target, replace(asking, passed=route.guard))
        match route:
            case RedirectRoute(location, status, rule=rule):
                return {**steps, "rule": rule or "folder", "answer": f"{status}: redirect to {location}"}
            case AbsentRoute():
                return {**steps, "rule": "none", "answer": "404: no such file, and the deploy has no 404.html"}
            case FileRoute():
                return {**steps, **await self._explain_file(site, route, target, rules, asking)}
            case DeniedRoute(status):
                return {**steps, "rule": "access", "answer": f"{status}: a rule keeps the visitor out"}
            case ProxyRoute(url, rule=rule):
                return {**steps, "rule": rule or "rewrite", "answer": f"as {url} answers"}

    async def _explain_file(
        self, site: Site, route: FileRoute, target: Target, rules: RuleSet, asking: Asking
    ) -> dict[str, Any]:
        representation = representation_of(
            route.path,
            route.entry,
            site.settings,
            route.status,
            rules=rules,
            asked_path=target.decoded_path,
            asking=asking,
        )
        wanted = wanted_of(site, route.path, route.entry, representation)
        stored = await self._disk.find(wanted.key)
        required = self._storeroom.required(wanted, stored)
        decision = self._storeroom.decide(wanted, stored)
        is_content_here = stored is not None and await self._disk.read_chunk(stored, 0) is not None
        said = _said(decision, is_content_here=is_content_here)
        rule = "file of a former deploy" if route.is_retained else "fallback" if route.status == 404 else "file"
        return {
            "rule": route.rule or rule,
            "file": route.path,
            "key": f"{site.id} {route.path} {route.entry.digest}",
            "tags": list(representation.tags),
            "floors": {"hard": required.hard, "soft": required.soft},
            "admitted": str(stored.admitted) if stored is not None else None,
            "content": "here" if is_content_here else "not here",
            "decision": said,
            "answer": f"{route.status}: {said}" if is_content_here else f"{route.status} if the store has it: {said}",
        }


def _of_alias(state: AliasState) -> dict[str, Any]:
    """What is set of the alias; the password itself is nobody's business."""
    given: dict[str, Any] = {"password": "is asked for"} if state.password else {}
    if state.expires_at is not None:
        given["expires_at"] = datetime.fromtimestamp(state.expires_at, tz=UTC).isoformat(timespec="seconds")
    if state.lock:
        given["lock"] = state.lock
    return given


def _said(decision: Decision, *, is_content_here: bool) -> str:
    match decision:
        case Serve() | ServeStale() if not is_content_here:
            return "a response is stored, but its content is not here and has to be fetched from the store"
        case Serve(age_s):
            return f"serve what is stored, {age_s:.0f} s old"
        case ServeStale(age_s, reason):
            return f"serve what is stored, stale ({reason.value}, {age_s:.0f} s old), and validate it behind"
        case Validate(age_s, may_serve_stale, reason):
            otherwise = "else serve it stale" if may_serve_stale else "else fail"
            return f"ask the store first ({reason.value}, {age_s:.0f} s old), {otherwise}"
        case Forwarded(reason):
            return f"fetch from the store ({reason.value})"
