"""One request to a site of bundles, with what it is resolved against."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.edge.visitor import Visitor
from cdn.http.request import Request
from cdn.sites.deploy import AliasState, Deploy
from cdn.sites.rules.asking import NOBODY, Asking
from cdn.sites.rules.rule_set import NO_RULES, RuleSet
from cdn.sites.site import Site


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, resolved: which site, alias and deploy it is about, and whose it is.

    `generation` is the site's when it came, and `was_attached` whether the node had its lease then: what is decided by
    an older state is neither kept for a newer one nor passed off as current. `rules` are those of the deploy, and
    `asking` what they look at; `is_for_all`: nobody was asked who they are, so that others may get the same answer.
    """

    request: Request
    visitor: Visitor
    site: Site
    alias: str
    state: AliasState
    deploy: Deploy
    generation: int
    was_attached: bool
    rules: RuleSet = NO_RULES
    asking: Asking = NOBODY
    is_for_all: bool = True
