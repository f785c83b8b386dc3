"""`[[redirects]]` of netlify.toml and cdn.toml, and redirects in manifests."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from cdn.errors import InvalidInput
from cdn.http.target import Target
from cdn.sites.rules.asking import Asking
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_form import redirects_from, redirects_to
from cdn.sites.rules.redirect_index import RedirectIndex
from cdn.sites.rules.redirect_reading import RedirectsRead
from cdn.sites.rules.redirect_rule import RedirectRule
from cdn.sites.rules.redirect_tables import read_redirect_tables

NETLIFY = RulesMode.NETLIFY


def read(toml: str, mode: RulesMode = NETLIFY) -> RedirectsRead:
    return read_redirect_tables(tomllib.loads(toml)["redirects"], "netlify.toml", mode, [1, 20])


def rules(toml: str) -> list[str]:
    found = read(toml)
    assert found.faults == ()
    return [str(placed.rule) for placed in found.rules]


def test_the_example_of_netlifys_page() -> None:
    found = read("""
        [[redirects]]
          from = "/old-path"
          to = "/new-path"
          status = 301
          force = false
          query = {path = ":path"}
          conditions = {Language = ["en", "es"], Country = ["US"]}
          headers = {X-From = "Netlify"}
        [[redirects]]
          from = "/news"
          to = "/blog"
        [[redirects]]
          from = "/search"
          to = "https://api.mysearch.com"
          status = 200
          force = true
    """)
    assert [str(placed.rule) for placed in found.rules] == [
        "/old-path path=:path /new-path 301 Country=US Language=en,es",
        "/news /blog 301",
        "/search https://api.mysearch.com 200!",
    ]
    assert found.faults == ()
    assert [str(warning) for warning in found.warnings] == [
        "netlify.toml:1: redirects[0] from '/old-path': \"headers\": fields for the other server are not sent: it gets "
        "those of the visitor's request"
    ]
    assert [placed.line for placed in found.rules] == [1, 20, 0]


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ('origin = "/a"\ndestination = "/b"\nparameters = {a = "1"}', "/a a=1 /b 301"),
        ('from = "/a"\nto = "/b"\nstatus = "302!"', "/a /b 302!"),
        ('from = "/a/*"\nstatus = 200', "/a/* /a/:splat 200"),
        ('from = "/a"\nto = "/b"\nconditions = {country = "de, at"}', "/a /b 301 Country=DE,AT"),
        ('from = "https://h.com/"\nto = "/b"\nquery = {"a b" = "1+2%20"}', "https://h.com/ a b=1+2%20 /b 301"),
        ('from = "https://h.com"\nto = "/b"', "https://h.com/ /b 301"),
    ],
)
def test_what_a_table_says(table: str, rule: str) -> None:
    assert rules("[[redirects]]\n" + table) == [rule]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('from = "/a"', '"to" is missing'),
        ('to = "/a"', '"from" is missing'),
        ('from = 1\nto = "/a"', '"from" has to be text'),
        ('from = "/a"\nto = ""', '"to" has to be text'),
        ('from = "/a"\nto = "b"', "is no target"),
        ('from = "/a"\nto = "/b"\nstatus = true', '"status" is a number'),
        ('from = "/a"\nto = "/b"\nstatus = "x"', '"status" is a number'),
        ('from = "/a"\nto = "/b"\nstatus = 410', "status 410 is none that a rule can have"),
        ('from = "/a"\nto = "/b"\nforce = 1', '"force" is true or false'),
        ('from = "/a"\nto = "/b"\nquery = ["a"]', '"query" is a table'),
        ('from = "/a"\nto = "/b"\nquery = {a = 1}', '"query" is a table'),
        ('from = "/a"\nto = "/b"\nconditions = "x"', '"conditions" is a table'),
        ('from = "/a"\nto = "/b"\nconditions = {Country = 1}', "is a list of texts"),
        ('from = "/a"\nto = "/b"\nconditions = {Country = [1]}', "is a list of texts"),
        ('from = "/a"\nto = "/b"\nconditions = {Country = "de", country = "de"}', "stands twice"),
        ('from = "/a"\nto = "/b"\nconditions = {Role = ["admin"]}', "roles come from Netlify's own log-in"),
        ('from = "/a"\nto = "/b"\nsigned = "KEY"', "are not signed here"),
        ('from = "/a"\nto = "/b"\nfrm = "/c"', "a redirect has no 'frm'"),
        (f'from = "/{"a" * 9000}"\nto = "/b"', "at most 8192 are allowed"),
    ],
)
def test_what_a_table_cannot_say(table: str, words: str) -> None:
    found = read("[[redirects]]\n" + table)
    assert found.rules == ()
    assert [fault.line for fault in found.faults] == [1]
    assert words in str(found.faults[0])


@pytest.mark.parametrize("name", ["rate_limit", "edge_handler"])
def test_what_has_no_effect_is_a_warning(name: str) -> None:
    found = read(f'[[redirects]]\nfrom = "/a"\nto = "/:b"\n{name} = "x"')
    assert len(found.rules) == 1
    assert [str(warning).split('"')[1] for warning in found.warnings] == [name, ":b"]


def test_redirects_that_are_no_list_of_tables() -> None:
    assert "as a table of its own" in str(read_redirect_tables({}, "cdn.toml", NETLIFY).faults[0])
    assert "a redirect is a table" in str(read_redirect_tables([1], "cdn.toml", NETLIFY).faults[0])


def test_more_tables_than_a_deploy_may_have() -> None:
    many = read_redirect_tables([{"from": "/a", "to": "/b"}] * 10_001, "cdn.toml", NETLIFY)
    assert ["at most 10000 redirects" in str(fault) for fault in many.faults] == [True]
    assert len(read_redirect_tables([1] * 5000, "cdn.toml", NETLIFY).faults) == 1001


EVERYTHING = RedirectRule(
    "/a/*", "/b/:splat", 302, True, "h.com", "https", (("k", ":v"), ("m", "1")), ("DE",), ("en",), ("c",)
)


def test_a_manifest_gives_back_what_it_was_given() -> None:
    plain = RedirectRule("/a", "/b")
    document = redirects_to([plain, EVERYTHING])
    assert document[0] == {"source": "/a", "target": "/b"}
    assert redirects_from(document) == (plain, EVERYTHING)
    assert str(EVERYTHING) == "https://h.com/a/* k=:v m=1 /b/:splat 302! Country=DE Language=en Cookie=c"


@pytest.mark.parametrize(
    "changed",
    [
        {"source": 1},
        {"status": 500},
        {"status": True},
        {"status": "301"},
        {"is_forced": 1},
        {"query": 1},
        {"query": [["a"]]},
        {"query": [["a", "b"]] * 17},
        {"countries": "DE"},
        {"countries": [1]},
        {"cookies": ["a"] * 301},
        {"other": 1},
    ],
)
def test_a_manifest_that_is_damaged(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="was not written by this program"):
        redirects_from([redirects_to([EVERYTHING])[0] | changed])


@pytest.mark.parametrize("document", [{}, [1], [{"source": "/a"}], [{}] * 10_001])
def test_a_manifest_without_rules_where_they_belong(document: Any) -> None:
    with pytest.raises(InvalidInput, match="was not written by this program"):
        redirects_from(document)


@pytest.mark.parametrize(
    ("rule", "is_fallback"),
    [
        (RedirectRule("/*", "/index.html", 200), True),
        (RedirectRule("/en/*/", "/en/404.html", 404), True),
        (RedirectRule("/*", "/index.html", 200, is_forced=True), False),
        (RedirectRule("/*", "/index.html", 302), False),
        (RedirectRule("/*", "https://e.com/", 200), False),
        (RedirectRule("/en/a", "/index.html", 200), False),
    ],
)
def test_what_stands_in_for_whatever_is_absent(rule: RedirectRule, is_fallback: bool) -> None:
    """A chunk that an open tab still wants goes before it, not before a rule that means just this path."""
    assert rule.is_fallback is is_fallback
    found = RedirectIndex([rule], NETLIFY).find(Target("/en/a", None, "/en/a"), Asking())
    assert found.is_fallback is is_fallback
