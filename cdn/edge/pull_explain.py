"""Why this node would answer a URL of a pull site as it does: the road walked without asking the upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdn.edge.clocks import Clocks
from cdn.edge.disk_tier import DiskTier
from cdn.edge.pull_flight import Flights
from cdn.edge.pull_shelf import PullShelf, is_whole, terms_of
from cdn.edge.pull_visit import visit_of
from cdn.edge.stored import StoredResponse
from cdn.edge.visitor import Visitor
from cdn.http.decide import Decision, Forwarded, Serve, ServeStale, Validate, decide
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import Target
from cdn.origin.upstream import UpstreamFault
from cdn.sites.cache_policy import cache_policy
from cdn.sites.site import Site

MAX_SHOWN = 20
"""Stored responses of one key that are described: an explanation is read by people."""


class PullExplainer:
    """Describes what lies under a key, and what would be done with it for a plain GET."""

    def __init__(
        self,
        *,
        shelf: PullShelf,
        disk: DiskTier,
        flights: Flights,
        clocks: Clocks,
        cdn_id: str,
        last_faults: Mapping[str, tuple[float, UpstreamFault, str]],
    ) -> None:
        self._last_faults = last_faults
        self._shelf = shelf
        self._disk = disk
        self._flights = flights
        self._clocks = clocks
        self._cdn_id = cdn_id

    async def explain(self, site: Site, host: str, target: Target) -> dict[str, Any]:
        """The steps as JSON builtins, for a GET without any field but Host."""
        request = Request("GET", target, host, None, Fields(), "http")
        visitor = Visitor("127.0.0.1", lambda status, fields: None)
        visit = visit_of(request, visitor, site, generation=0, number=0, cdn_id=self._cdn_id)
        now = self._clocks.monotonic()
        on_shelf = await self._shelf.look(visit)
        decision: Decision | None = None
        floors: dict[str, int] | None = None
        if on_shelf.whole is not None:
            required = self._shelf.required(visit.key, on_shelf.whole.stored)
            floors = {"hard": required.hard, "soft": required.soft}
            decision = decide(self._shelf.facts(on_shelf.whole, now), required, now)
        stored = await self._disk.find_all(site.id, visit.key.path)
        said = _said(decision)
        return {
            "origin": str(site.settings.origin),
            "key": f"{site.id} {visit.key.path}",
            "name": visit.key.name,
            "stored": [self._described(site, each, now) for each in stored[:MAX_SHOWN]],
            "floors": floors,
            "fetches": len(self._flights.of(visit.key)),
            "collapsing": "not now" if self._flights.is_passed(visit.key, now) else "yes",
            "last_failure": self._last_failure(site.id),
            "decision": said,
            "answer": said,
        }

    def _last_failure(self, site_id: str) -> str | None:
        found = self._last_faults.get(site_id)
        if found is None:
            return None
        at, fault, sentence = found
        return f"{fault.value}, {max(0, int(self._clocks.wall() - at))} s ago: {sentence}"

    def _described(self, site: Site, stored: StoredResponse, now: float) -> dict[str, Any]:
        pulled = stored.pulled
        assert pulled is not None, "under a key of a pull site lies nothing else"
        terms = terms_of(pulled, cache_policy(site.settings))
        age_s = int(now - self._shelf.age_zero_at(stored, terms, now))
        part = "whole" if is_whole(stored) else f"{pulled.part_start}+{stored.entry.size_bytes}"
        return {
            "status": pulled.head.status,
            "bytes": stored.entry.size_bytes,
            "part": part if pulled.coding is None else f"{pulled.coding} form",
            "vary": dict(pulled.selecting),
            "etag": pulled.head.fields.get("etag"),
            "age_s": age_s,
            "lifetime_s": int(terms.lifetime.seconds),
            "lifetime_from": terms.lifetime.source.value,
            "tags": list(stored.tags),
            "admitted": str(stored.admitted),
        }


def _said(decision: Decision | None) -> str:
    match decision:
        case None:
            return "nothing stored answers a plain GET: ask the upstream"
        case Serve(age_s):
            return f"serve what is stored, {age_s:.0f} s old"
        case ServeStale(age_s, reason):
            return f"serve what is stored, stale ({reason.value}, {age_s:.0f} s old), and ask the upstream behind"
        case Validate(age_s, may_serve_stale, reason):
            otherwise = "serve it stale if that fails" if may_serve_stale else "fail if that fails"
            return f"ask the upstream whether it is still good ({reason.value}, {age_s:.0f} s old); {otherwise}"
        case Forwarded(reason):
            return f"ask the upstream for the whole ({reason.value}): a purge forbids what is stored"
