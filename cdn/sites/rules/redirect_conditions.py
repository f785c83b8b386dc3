"""What a rule looks at beyond the path: host, scheme, query, country, language, cookies. Read when first asked for."""

from __future__ import annotations

from functools import cached_property

from cdn.http.search_params import search_params
from cdn.http.target import Target
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_rule import RedirectRule

COUNTRY_COOKIE = "nf_country"
LANGUAGE_COOKIE = "nf_lang"
"""With these a page lets its visitors choose for themselves, as on Netlify."""

COOKIES_READ = 200
"""Cookies of one request that are looked at: more than browsers keep for a site."""

PARAMETERS_READ = 200
"""Parameters of one query that are looked at. A query has up to 8 KiB, and a rule names a few of them."""

RANGES_READ = 50
"""Languages of one Accept-Language that are looked at; browsers send fewer than ten."""


class Visitor:
    """One request, as rules ask about it."""

    def __init__(self, target: Target, asking: Asking, mode: RulesMode) -> None:
        self._target = target
        self._asking = asking
        self._chooses = mode is RulesMode.NETLIFY

    @property
    def host(self) -> str:
        """Lower-case, without port."""
        return self._asking.host

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self._asking.scheme

    @cached_property
    def params(self) -> dict[str, str]:
        """The first value of each parameter of the query, decoded."""
        found: dict[str, str] = {}
        parts = (self._target.query or "").split("&", PARAMETERS_READ)[:PARAMETERS_READ]
        for name, value in search_params("&".join(parts)):
            found.setdefault(name, value)
        return found

    @cached_property
    def cookies(self) -> dict[str, str]:
        """The first value of each cookie (RFC 6265 section 5.4)."""
        found: dict[str, str] = {}
        for line in self._asking.fields.get_all("cookie"):
            for pair in line.split(";", COOKIES_READ)[:COOKIES_READ]:
                name, equals, value = pair.partition("=")
                if equals:
                    found.setdefault(name.strip(" \t"), value.strip(' \t"'))
        return found

    @cached_property
    def country(self) -> str:
        """ISO 3166-1 alpha-2 in upper case, "" when nobody knows."""
        chosen = self.cookies.get(COUNTRY_COOKIE, "") if self._chooses else ""
        return chosen.upper() or self._asking.country()

    @cached_property
    def language(self) -> str:
        """The language that is wanted most, in lower case, "" when none is."""
        chosen = self.cookies.get(LANGUAGE_COOKIE, "") if self._chooses else ""
        return chosen.lower() or preferred_language(self._asking.fields.get("accept-language") or "")

    def meets(self, rule: RedirectRule) -> bool:
        """Whether country, language and cookies are such as the rule wants."""
        if rule.countries and self.country not in rule.countries:
            return False
        if rule.languages and not any(is_in_range(self.language, language) for language in rule.languages):
            return False
        return not rule.cookies or not self.cookies.keys().isdisjoint(rule.cookies)


def preferred_language(field: str) -> str:
    """The range of an Accept-Language field (RFC 9110 section 12.5.4) with the highest weight, the first of equals."""
    best, best_weight = "", 0.0
    for item in field.split(",", RANGES_READ)[:RANGES_READ]:
        language, *parameters = item.split(";")
        weight = _weight(parameters)
        if weight > best_weight and language.strip(" \t") not in {"", "*"}:
            best, best_weight = language.strip(" \t").lower(), weight
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip(" \t").lower() == "q":
            try:
                return min(float(value), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def is_in_range(language: str, wanted: str) -> bool:
    """Basic filtering (RFC 4647 section 3.3.1): `en` has `en-GB` in it. Both in lower case."""
    return language == wanted or language.startswith(wanted + "-")
