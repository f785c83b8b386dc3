"""All rules of one deploy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from cdn.http.cache_control import is_targeted
from cdn.http.fields import FieldLines
from cdn.sites.rules.access import Access
from cdn.sites.rules.applied_fields import applied
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.cache_rule import CacheRule
from cdn.sites.rules.clean_urls import CleanUrls
from cdn.sites.rules.cors_rule import CorsRule
from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.cross_origin import CrossOrigin
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.field_rules import FieldRules
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.path_glob import PathGlob
from cdn.sites.rules.path_index import PathIndex
from cdn.sites.rules.redirect_index import RedirectIndex
from cdn.sites.rules.redirect_rule import RedirectRule

RULE_FILES = ("_redirects", "_headers", "cdn.toml", "netlify.toml")
"""At the root of a bundle: read when it is deployed, never answered."""

_OF_FILES = ("cache-control", "content-", "etag", "expires", "link", "last-modified")
"""What rules say about files alone: nobody keeps an error for a year because the page that is missing would be kept."""


@dataclass(frozen=True)
class RuleSet:
    """Immutable. What a request asks of it is computed once, when the manifest is loaded (`prepare`).

    `error_pages`: file paths by the status they stand for (401, 403, 404, 451, 500, 502, 503, 504). `spa`: the page
    that answers where nothing else does and the path looks like no asset, "" none. `keep`: patterns of files of
    superseded deploys that stay reachable while THIS deploy is active, beside the site's. `retention_s`: they and
    fingerprinted ones only so long (None, or more than the site says: as the site says).
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

    @property
    def count(self) -> int:
        """How many rules there are: what they take in memory grows with them."""
        return sum(map(len, (self.redirects, self.fields, self.caching, self.guards, self.countries, self.cors)))

    @cached_property
    def asks_countries(self) -> bool:
        """Whether a rule looks at where a visitor is."""
        return bool(self.countries) or any(rule.countries for rule in self.redirects)

    @cached_property
    def selecting_fields(self) -> tuple[str, ...]:
        """The request fields that conditions of redirects look at, as Vary names them (RFC 9110 section 12.5.5)."""
        languages = any(rule.languages for rule in self.redirects)
        # A cookie may say another country or language than the visitor's.
        cookies = languages or any(rule.cookies or rule.countries for rule in self.redirects)
        return (*(("accept-language",) if languages else ()), *(("cookie",) if cookies else ()))

    @cached_property
    def redirect_index(self) -> RedirectIndex | None:
        """None without redirects."""
        return RedirectIndex(self.redirects, self.mode) if self.redirects else None

    @cached_property
    def field_rules(self) -> FieldRules:
        """The field rules, found by path."""
        return FieldRules(self.fields)

    @cached_property
    def access(self) -> Access | None:
        """Who may see what; None when everybody may see everything."""
        return Access(self.guards, self.countries) if self.guards or self.countries else None

    @cached_property
    def cross_origin(self) -> CrossOrigin:
        """The CORS rules, found by path."""
        return CrossOrigin(self.cors)

    @cached_property
    def cache_index(self) -> PathIndex:
        """The patterns of `caching`."""
        return PathIndex([PathGlob(rule.source) for rule in self.caching])

    def prepare(self) -> RuleSet:
        """Compute now what requests look up."""
        _ = self.redirect_index, self.field_rules, self.access, self.cross_origin, self.cache_index
        _ = self.asks_countries, self.selecting_fields
        return self

    def error_page(self, status: int) -> str | None:
        """The path of the file that is the content of answers with `status`; None: there is none."""
        return next((path for given, path in self.error_pages if given == status), None)

    def cache_rules(self, paths: Iterable[str]) -> list[CacheRule]:
        """Those for what stands at the decoded `paths`, in their order."""
        return [self.caching[number] for number, _ in self.cache_index.covering(paths)] if self.caching else []

    def preflight(self, path: str, asking: Asking) -> FieldLines | None:
        """The fields of the answer (204) to a CORS preflight for the decoded `path`; None when the request is no
        preflight, or no rule covers it. They depend on more than the path: nobody may keep them."""
        return self.cross_origin.preflight(path, asking) if self.cors else None

    def answer_fields(self, path: str, asking: Asking) -> FieldLines:
        """What the rules add to an answer for the decoded `path` that is no file: a redirect, absence, a refusal. Lines
        of a name replace those of the answer itself. They may depend on all of the request."""
        if not self.fields and not self.cors:
            return ()
        covering, _ = self.field_rules.covering((path,), asking)
        given = applied({}, covering).sent().items()
        lines = [(name, value) for name, values in given for value in values if not is_of_files(name)]
        return (*lines, *self.cross_origin.fields((path,), asking)[0])

    def answers_all_alike(self, path: str, asking: Asking) -> bool:
        """Whether whoever asks for the decoded `path` gets the `answer_fields` that this one does."""
        if not self.fields and not self.cors:
            return True
        return self.field_rules.covering((path,), asking)[1] and self.cross_origin.fields((path,), asking)[1]


def is_of_files(name: str) -> bool:
    """Whether the field `name` says something about a file, so that it does not count for what stands in for one."""
    if name in {"content-security-policy", "content-security-policy-report-only"}:
        return False
    return name.startswith(_OF_FILES) or is_targeted(name)


NO_RULES = RuleSet()
