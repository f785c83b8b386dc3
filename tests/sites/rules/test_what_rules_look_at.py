"""What a set of rules says that it looks at of a request."""

from __future__ import annotations

import pytest

from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.redirect_rule import RedirectRule
from cdn.sites.rules.rule_set import NO_RULES, RuleSet


@pytest.mark.parametrize(
    ("rules", "asks_countries", "selecting"),
    [
        (NO_RULES, False, ()),
        (RuleSet(redirects=(RedirectRule("/a", "/b"),)), False, ()),
        (RuleSet(redirects=(RedirectRule("/a", "/b", countries=("DE",)),)), True, ("cookie",)),
        (RuleSet(countries=(CountryRule("/*", ("DE",)),)), True, ()),
        (RuleSet(redirects=(RedirectRule("/a", "/b", languages=("de",)),)), False, ("accept-language", "cookie")),
        (
            RuleSet(redirects=(RedirectRule("/a", "/b", cookies=("c",)),)),
            False,
            ("cookie",),
        ),
    ],
)
def test_what_a_set_of_rules_looks_at(rules: RuleSet, asks_countries: bool, selecting: tuple[str, ...]) -> None:
    assert (rules.asks_countries, rules.selecting_fields) == (asks_countries, selecting)
