"""Rules in a manifest: what is written is read back, equal sets look equal, and nothing else is taken for rules."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.sites.manifest import FileEntry, Manifest, load_manifest, parse_manifest
from cdn.sites.rules.cache_rule import CacheRule
from cdn.sites.rules.clean_urls import CleanUrls
from cdn.sites.rules.cors_rule import CorsRule
from cdn.sites.rules.country_rule import CountryRule
from cdn.sites.rules.field_rule import FieldRule
from cdn.sites.rules.guard import Guard
from cdn.sites.rules.mode import RulesMode
from cdn.sites.rules.redirect_rule import RedirectRule
from cdn.sites.rules.rule_form import rules_from, rules_to
from cdn.sites.rules.rule_set import NO_RULES, RuleSet

FILES = {"/index.html": FileEntry("0" * 64, 3)}

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
LISTS = st.lists(TEXTS, max_size=2).map(tuple)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=2).map(tuple)
SECONDS = st.none() | st.integers(0, 10**6)
MODES = st.sampled_from(RulesMode)
SOURCES = st.sampled_from(["/*", "/a/:b", "/x*.js"])


def some(rules: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(rules, max_size=2).map(tuple)


PARTS: dict[str, st.SearchStrategy[Any]] = {
    "mode": MODES,
    "redirects": some(st.builds(RedirectRule, st.just("/a"), st.just("/b"), status=st.sampled_from([301, 200]))),
    "fields": some(st.builds(FieldRule, SOURCES, PAIRS, LISTS, st.sampled_from(["", "a.example"]), MODES)),
    "caching": some(st.builds(CacheRule, SOURCES, SECONDS, SECONDS, LISTS)),
    "guards": some(st.builds(Guard, SOURCES, TEXTS, PAIRS)),
    "countries": some(st.builds(CountryRule, SOURCES, LISTS, st.booleans(), st.sampled_from([403, 451]))),
    "cors": some(st.builds(CorsRule, SOURCES, LISTS, LISTS, LISTS, LISTS, st.booleans(), st.integers(0, 9))),
    "error_pages": st.lists(st.tuples(st.integers(400, 599), TEXTS), max_size=3).map(tuple),
    "spa": st.sampled_from(["", "/index.html"]),
    "clean_urls": st.sampled_from(CleanUrls),
    "keep": LISTS,
    "retention_s": SECONDS,
}

SETS = st.builds(RuleSet, **PARTS)


@given(SETS)
def test_what_is_written_is_read_back(rules: RuleSet) -> None:
    assert rules_from(json.loads(json.dumps(rules_to(rules)))) == rules
    manifest = Manifest(FILES, rules)
    raw = manifest.to_bytes()
    assert load_manifest(raw) == manifest
    assert load_manifest(raw).to_bytes() == raw
    assert json.loads(raw)["version"] == manifest.version == (1 if rules == NO_RULES else 2)


@given(SETS, st.sampled_from(sorted(PARTS)), st.data())
def test_manifests_are_equal_exactly_when_their_bytes_are(one: RuleSet, part: str, data: st.DataObject) -> None:
    other = replace(one, **{part: data.draw(PARTS[part])})
    assert (one == other) == (Manifest(FILES, one).to_bytes() == Manifest(FILES, other).to_bytes())


def test_a_manifest_without_rules_stays_as_it_was() -> None:
    raw = b'{"files":{"/index.html":{"digest":"' + b"0" * 64 + b'","size_bytes":3}},"version":1}'
    assert Manifest(FILES).to_bytes() == Manifest(FILES, RuleSet()).to_bytes() == raw
    assert load_manifest(raw).rules is NO_RULES


def test_rules_come_from_the_bundle_alone() -> None:
    raw = Manifest(FILES, RuleSet(spa="/index.html")).to_bytes()
    with pytest.raises(InvalidInput, match="rules come with the bundle, in _redirects") as caught:
        parse_manifest(raw)
    assert caught.value.field == "rules"
    with pytest.raises(InvalidInput, match="has version 2, this program reads 1"):
        parse_manifest(raw.replace(b'"rules":{"spa":"/index.html","version":1},', b""))


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([], "a JSON object"),
        ({}, "version None"),
        ({"version": 2}, "version 2, this program reads 1"),
        ({"version": True}, "version True"),
        ({"version": 1, "more": 1}, "no field 'more'"),
        ({"version": 1, "spa": 1}, "RuleSet.spa is 1"),
        ({"version": 1, "mode": "vercel"}, "which this program does not know"),
        ({"version": 1, "retention_s": -1}, "retention_s is -1"),
        ({"version": 1, "retention_s": True}, "retention_s is True"),
        ({"version": 1, "keep": "x"}, "keep is 'x'"),
        ({"version": 1, "keep": [1]}, r"keep is \[1\]"),
        ({"version": 1, "guards": {}}, "no list"),
        ({"version": 1, "guards": [1]}, "a Guard is a JSON object"),
        ({"version": 1, "guards": [{"source": "/"}]}, "a Guard lacks a field"),
        ({"version": 1, "guards": [{"source": "/", "realm": "", "users": [["a"]]}]}, "Guard.users"),
        ({"version": 1, "guards": [{"source": "/", "realm": "", "users": [3]}]}, "Guard.users"),
        ({"version": 1, "guards": [{"source": "/", "realm": "", "users": {}}]}, "Guard.users"),
        ({"version": 1, "countries": [{"source": "/", "countries": [], "denies": 1}]}, "denies is 1"),
        ({"version": 1, "error_pages": {}}, "error_pages"),
        ({"version": 1, "error_pages": [["404", "/x"]]}, "error_pages"),
        ({"version": 1, "redirects": {}}, "redirects"),
    ],
)
def test_what_are_no_rules(document: Any, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        rules_from(document)
    with pytest.raises(InvalidInput):
        load_manifest(json.dumps({"files": {}, "rules": document, "version": 2}).encode())


def test_passwords_are_in_no_message() -> None:
    guard = Guard("/*", "r", (("ann", "scrypt$hash"),))
    assert "hash" not in repr(guard)
    assert "hash" not in repr(RuleSet(guards=(guard,)))
