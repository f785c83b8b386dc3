"""Redirects and absence: answers that a deploy gives without a file, kept in memory for the next request like it.

What they say never changes between two records, and the whole road takes 300 us to find it; memory takes a hit's time.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from cdn.edge.asked_before import AskedBefore
from cdn.edge.clocks import Clocks
from cdn.edge.error_pages import with_rules
from cdn.edge.https_rules import bundle_place, with_hsts
from cdn.edge.prepared import Prepared
from cdn.edge.private_fields import unindexed
from cdn.edge.recall import DEBUG_FIELD, BundlePlace, Recall
from cdn.edge.response import Response
from cdn.edge.site_view import SiteView
from cdn.edge.visit import Visit
from cdn.sites.name import PRODUCTION


class RuledAnswers:
    """One per node."""

    def __init__(
        self,
        view: SiteView,
        hints: Recall,
        clocks: Clocks,
        asked_before: AskedBefore,
        usable_until: Callable[[Visit], float],
    ) -> None:
        """`usable_until`: the monotonic time until which an answer to a visit holds if no record comes."""
        self._view = view
        self._hints = hints
        self._clocks = clocks
        self._asked_before = asked_before
        self._usable_until = usable_until

    def answer(self, visit: Visit, response: Response) -> Response:
        """`response`, which follows from the visit's deploy and target, with what the rules say of such answers. Kept
        when everybody who asks gets it."""
        dressed = with_rules(visit, response)
        is_kept = (
            visit.is_for_all
            and DEBUG_FIELD not in visit.request.fields
            and self._asked_before.has_come(visit)
            and visit.rules.answers_all_alike(visit.request.target.decoded_path, visit.asking)
        )
        if is_kept and isinstance(dressed.content, bytes):
            self._keep(visit, dressed, dressed.content)
        return dressed

    def _keep(self, visit: Visit, response: Response, content: bytes) -> None:
        request, site = visit.request, visit.site
        fields = response.fields if visit.alias == PRODUCTION else unindexed(response.fields)
        prepared = Prepared(
            status=response.status,
            fields=with_hsts(fields, request, site),
            content=content,
            base_age_at=None,
            site=self._view.runtime(site.id),
            generation=visit.generation,
            fresh_until=inf,
            usable_until=self._usable_until(visit),
            wall_clock=self._clocks.wall,
        )
        self._hints.put(request, BundlePlace(site.id, visit.alias, bundle_place(request, site)), prepared)
