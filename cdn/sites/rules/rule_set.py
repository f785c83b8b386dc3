"""All rules of one deploy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cdn.http.fields import FieldLines
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.cache_rule import CacheRule
from cdn.sites.rules.clean_urls import CleanUrls
from cdn.sites.rules.cors_rule import CorsRule
from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_rule import RedirectRule

RULES_VERSION = 1
"""Of the form in which rules stand in a manifest: the version this program writes, and the newest it reads."""

RULE_FILES = ("_redirects", "_headers", "cdn.toml", "netlify.toml")
"""At the root of a bundle: read when it is deployed, never answered."""


@dataclass(frozen=True)
class RuleSet:
    """Immutable. What a request asks of it is computed once, when the manifest is loaded (`prepare`).

    `error_pages`: file paths by the status they stand for (401, 403, 404, 451, 500, 502, 503, 504). `spa`: the page
    that answers where nothing else does and the path looks like no asset, "" none. `keep`: patterns of files of superseded
    deploys that stay reachable while THIS deploy is active, beside the site's. `retention_s`: they and fingerprinted
    ones only so long (None, or more than the site says: as the site says).
    """

    mode: RulesMode = RulesMode.NETLIFY
    redirects: tuple[RedirectRule, ...] = ()
    fields: tuple[FieldRule, ...] = ()
    caching: tuple[CacheRule, ...] = ()
    guards: tuple[Guard, ...] = ()
    countries: tuple[CountryRule, ...] = ()
    cors: tuple[CorsRule, ...] = ()
    error_pages: tuple[tuple[int, str], ...] = ()
    spa: str = ""
    clean_urls: CleanUrls = CleanUrls.SERVE
    keep: tuple[str, ...] = ()
    retention_s: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether a manifest without rules says the same."""
        return self == NO_RULES

    def prepare(self) -> RuleSet:
        """Compute now what requests look up."""
        return self

    def error_page(self, status: int) -> str | None:
        """The path of the file that is the content of answers with `status`; None: there is none."""
        return dict(self.error_pages).get(status)

    def preflight(self, path: str, asking: Asking) -> FieldLines | None:
        """The fields of the answer (204) to a CORS preflight for the decoded `path`; None when the request is no
        preflight, or no rule covers it. They depend on more than the path: nobody may keep them."""
        raise NotImplementedError

    def answer_fields(self, path: str, asking: Asking) -> FieldLines:
        """What the rules add to answers that are no file: redirects, absence, refusals (CORS and fields by path)."""
        raise NotImplementedError

    def to_document(self) -> dict[str, Any]:
        """As JSON builtins, what is not the default alone; equal sets give equal documents."""
        raise NotImplementedError


NO_RULES = RuleSet()


def rules_from(document: Any) -> RuleSet:
    """The rules that `to_document` gave. Raises InvalidInput for another version and what is no such document."""
    raise NotImplementedError
