"""Settings are read strictly, every fault is told with its place, and what was read is written back unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.sites.header_rule import EDGE_OWNED_FIELDS, MAX_HEADER_RULES, MAX_HEADER_RULES_BYTES, HeaderRule
from cdn.sites.settings import (
    DEFAULT_SETTINGS,
    MAX_KEEP,
    ONE_YEAR_S,
    SiteSettings,
    settings_from,
    settings_to,
)
from cdn.sites.settings_reader import MAX_FAULTS


def test_nothing_set_is_the_defaults() -> None:
    assert settings_from({}) == DEFAULT_SETTINGS == SiteSettings()


def test_everything_set() -> None:
    settings = settings_from(
        {
            "origin": "bundle",
            "edge_ttl_s": 300,
            "browser_ttl_s": 60,
            "retention_s": 0,
            "keep": ["/data/*"],
            "header_rules": [
                {"path": "/blog/*", "fields": {"Cache-Tag": "blog, posts", "X-Frame-Options": " DENY\t"}},
                {"path": "*.css", "fields": [["Link", "</a>"], ["link", "</b>"]]},
            ],
            "stale_if_error_s": 0,
            "stale_while_revalidate_s": 1,
            "prepare_timeout_s": 3,
        }
    )
    assert settings == SiteSettings(
        edge_ttl_s=300,
        browser_ttl_s=60,
        retention_s=0,
        keep=("/data/*",),
        header_rules=(
            HeaderRule("/blog/*", (("cache-tag", "blog, posts"), ("x-frame-options", "DENY"))),
            HeaderRule("*.css", (("link", "</a>"), ("link", "</b>"))),
        ),
        stale_if_error_s=0,
        stale_while_revalidate_s=1,
        prepare_timeout_s=3.0,
    )
    assert settings_from({"edge_ttl_s": None}).edge_ttl_s is None


def rule(**changes: Any) -> dict[str, Any]:
    return {"path": "/*", "fields": [["x-a", "1"]]} | changes


@pytest.mark.parametrize(
    ("mapping", "field"),
    [
        ({"edge_tll_s": 5}, "edge_tll_s"),
        ({1: 5}, "1"),
        ({"origin": "ftp://host/prefix"}, "origin"),
        ({"origin": None}, "origin"),
        ({"edge_ttl_s": -1}, "edge_ttl_s"),
        ({"edge_ttl_s": ONE_YEAR_S + 1}, "edge_ttl_s"),
        ({"browser_ttl_s": 1.5}, "browser_ttl_s"),
        ({"browser_ttl_s": "60"}, "browser_ttl_s"),
        ({"browser_ttl_s": None}, "browser_ttl_s"),
        ({"retention_s": True}, "retention_s"),
        ({"prepare_timeout_s": 0}, "prepare_timeout_s"),
        ({"prepare_timeout_s": True}, "prepare_timeout_s"),
        ({"prepare_timeout_s": 301}, "prepare_timeout_s"),
        ({"prepare_timeout_s": float("nan")}, "prepare_timeout_s"),
        ({"prepare_timeout_s": "10"}, "prepare_timeout_s"),
        ({"keep": "/data/*"}, "keep"),
        ({"keep": ["/a", "b"]}, "keep[1]"),
        ({"keep": [1]}, "keep[0]"),
        ({"keep": ["/a"] * (MAX_KEEP + 1)}, "keep"),
        ({"header_rules": {}}, "header_rules"),
        ({"header_rules": [rule()] * (MAX_HEADER_RULES + 1)}, "header_rules"),
        ({"header_rules": [rule(), "x"]}, "header_rules[1]"),
        ({"header_rules": [{"path": "/*"}]}, "header_rules[0]"),
        ({"header_rules": [rule(extra=1)]}, "header_rules[0]"),
        ({"header_rules": [rule(path="blog")]}, "header_rules[0].path"),
        ({"header_rules": [rule(fields="x-a: 1")]}, "header_rules[0].fields"),
        ({"header_rules": [rule(fields=[])]}, "header_rules[0].fields"),
        ({"header_rules": [rule(fields={})]}, "header_rules[0].fields"),
        ({"header_rules": [rule(fields=["ab"])]}, "header_rules[0].fields[0]"),
        ({"header_rules": [rule(fields=[["a", 1]])]}, "header_rules[0].fields[0]"),
        ({"header_rules": [rule(fields=[["a", "b", "c"]])]}, "header_rules[0].fields[0]"),
        ({"header_rules": [rule(fields=[["x a", "1"]])]}, "header_rules[0].fields[0]"),
        ({"header_rules": [rule(fields=[["x-a:", "1"]])]}, "header_rules[0].fields[0]"),
        ({"header_rules": [rule(fields=[["", "1"]])]}, "header_rules[0].fields[0]"),
        ({"header_rules": [rule(fields=[["x-a", "1\r\nx-b: 2"]])]}, "header_rules[0].fields[0]"),
        ({"header_rules": [rule(fields=[["x-a", "1\n"]])]}, "header_rules[0].fields[0]"),
        ({"header_rules": [rule(fields=[["x-a", "\x00"]])]}, "header_rules[0].fields[0]"),
        ({"header_rules": [rule(fields=[["x-a", "\u65e5"]])]}, "header_rules[0].fields[0]"),
        ({"header_rules": [rule(fields=[["x-a", "1" * MAX_HEADER_RULES_BYTES]])]}, "header_rules"),
    ],
)
def test_a_fault_is_refused_with_its_place(mapping: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings_from(mapping)
    assert caught.value.field == field
    assert caught.value.details[0].startswith(f"{field}: ")


@pytest.mark.parametrize("name", sorted(EDGE_OWNED_FIELDS))
def test_what_frames_or_identifies_a_message_cannot_be_set(name: str) -> None:
    with pytest.raises(InvalidInput, match="computed by the edge"):
        settings_from({"header_rules": [rule(fields=[[name.title(), "1"]])]})


def test_every_fault_is_listed() -> None:
    with pytest.raises(InvalidInput) as caught:
        settings_from({"browser_ttl_s": -1, "keep": ["x", "/ok", "y"], "nonsense": 1})
    assert [one.split(":")[0] for one in caught.value.details] == ["browser_ttl_s", "keep[0]", "keep[2]", "nonsense"]


def test_the_list_of_faults_is_bounded() -> None:
    with pytest.raises(InvalidInput) as caught:
        settings_from({f"{n}" * 1000: 1 for n in range(100)})
    assert len(caught.value.details) == MAX_FAULTS
    assert len(caught.value.message) < 700


SECONDS = st.integers(0, ONE_YEAR_S)
PATTERNS = st.builds("/{}".format, st.text("ab/*", max_size=8))
LINES = st.tuples(
    st.sampled_from(["x-a", "cache-tag", "link"]), st.text("ab, \u00e9", max_size=5).map(lambda s: s.strip(" "))
)
SETTINGS = st.builds(
    SiteSettings,
    edge_ttl_s=st.none() | SECONDS,
    browser_ttl_s=SECONDS,
    retention_s=SECONDS,
    keep=st.lists(PATTERNS, max_size=3).map(tuple),
    header_rules=st.lists(
        st.builds(HeaderRule, PATTERNS, st.lists(LINES, min_size=1, max_size=3).map(tuple)), max_size=3
    ).map(tuple),
    stale_if_error_s=SECONDS,
    stale_while_revalidate_s=SECONDS,
    prepare_timeout_s=st.floats(0.001, 300),
)


@given(SETTINGS)
def test_settings_survive_json(settings: SiteSettings) -> None:
    assert settings_from(json.loads(json.dumps(settings_to(settings)))) == settings
