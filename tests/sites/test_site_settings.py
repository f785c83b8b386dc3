"""Settings are read strictly, every fault is told with its place, and what was read is written back unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import InvalidInput
from cdn.sites.header_rule import EDGE_OWNED_FIELDS, MAX_HEADER_RULES, MAX_HEADER_RULES_BYTES, HeaderRule
from cdn.sites.origin import BUNDLE, BucketOrigin, HttpOrigin
from cdn.sites.query_policy import AllowQuery, DropQuery, KeepQuery, QueryPolicy, SortQuery
from cdn.sites.query_setting import MAX_QUERY_NAME_LENGTH, MAX_QUERY_NAMES, query_policy_to
from cdn.sites.settings import (
    BUNDLE_ONLY,
    DEFAULT_SETTINGS,
    MAX_KEEP,
    MAX_REGIONS,
    ONE_YEAR_S,
    PULL_ONLY,
    OnDetach,
    SiteSettings,
    recorded_settings,
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
            "region": ["eu", "us-east-1", "eu"],
            "on_detach": "validate",
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
        region=("eu", "us-east-1"),
        on_detach=OnDetach.VALIDATE,
    )
    assert settings.validates_on_detach
    assert not SiteSettings().validates_on_detach
    assert settings_from({"edge_ttl_s": None}).edge_ttl_s is None


def test_everything_of_a_pull_site_set() -> None:
    settings = settings_from(
        {
            "origin": "https://Upstream.example:444/app/",
            "edge_ttl_s": 300,
            "edge_ttl_overrides": True,
            "stale_while_revalidate_s": None,
            "query": {"allow": ["page", "q", "page"]},
            "negative_ttl_s": 0,
            "pass_s": 5,
            "upstream_host": "WWW.Example.com:8080",
            "connect_timeout_s": 1,
            "read_timeout_s": 2.5,
            "upstream_retries": 0,
            "stores_set_cookie": False,
            "compresses": False,
            "obeys_client_directives": False,
        }
    )
    assert settings == SiteSettings(
        origin=HttpOrigin("https", "upstream.example", 444, "/app"),
        edge_ttl_s=300,
        edge_ttl_overrides=True,
        query=AllowQuery(("page", "q")),
        negative_ttl_s=0,
        pass_s=5,
        upstream_host="www.example.com:8080",
        connect_timeout_s=1.0,
        read_timeout_s=2.5,
        upstream_retries=0,
        stores_set_cookie=False,
        compresses=False,
        obeys_client_directives=False,
    )
    assert settings.is_pull
    assert settings_from({"origin": "s3://bucket/a"}).is_pull
    assert not SiteSettings().is_pull


def test_a_bundle_is_served_while_it_is_validated_unless_told_otherwise() -> None:
    assert SiteSettings().bundle_stale_while_revalidate_s == 60
    assert SiteSettings(stale_while_revalidate_s=0).bundle_stale_while_revalidate_s == 0


@pytest.mark.parametrize("sent", ["visitor", "www.example.com", "[::1]:81"])
def test_the_host_sent_upstream(sent: str) -> None:
    assert settings_from({"origin": "http://h", "upstream_host": sent}).upstream_host == sent


@pytest.mark.parametrize(
    ("written", "policy"),
    [("keep", KeepQuery()), ("sort", SortQuery()), ("drop", DropQuery()), ({"allow": []}, AllowQuery(()))],
)
def test_query_policies(written: Any, policy: QueryPolicy) -> None:
    assert settings_from({"query": written}).query == policy
    assert settings_to(SiteSettings(query=policy))["query"] == written


def test_only_a_policy_is_written() -> None:
    with pytest.raises(AssertionError):
        query_policy_to("keep")  # type: ignore[arg-type]


def rule(**changes: Any) -> dict[str, Any]:
    return {"path": "/*", "fields": [["x-a", "1"]]} | changes


@pytest.mark.parametrize(
    ("mapping", "field"),
    [
        ({"edge_tll_s": 5}, "edge_tll_s"),
        ({1: 5}, "1"),
        ({"origin": "ftp://host/prefix"}, "origin"),
        ({"origin": None}, "origin"),
        ({"origin": "https://user:x@h"}, "origin"),
        ({"edge_ttl_overrides": 1, "edge_ttl_s": 5}, "edge_ttl_overrides"),
        ({"edge_ttl_overrides": True}, "edge_ttl_overrides"),
        ({"region": "eu"}, "region"),
        ({"region": ["eu"] * (MAX_REGIONS + 1)}, "region"),
        ({"region": ["eu", "EU"]}, "region[1]"),
        ({"region": ["e" * 33]}, "region[0]"),
        ({"region": [""]}, "region[0]"),
        ({"region": ["eu--west"]}, "region[0]"),
        ({"region": [3]}, "region[0]"),
        ({"on_detach": "stop"}, "on_detach"),
        ({"on_detach": None}, "on_detach"),
        ({"on_detach": ["serve"]}, "on_detach"),
        ({"query": "Keep"}, "query"),
        ({"query": None}, "query"),
        ({"query": ["a"]}, "query"),
        ({"query": {}}, "query"),
        ({"query": {"allow": ["a"], "deny": []}}, "query"),
        ({"query": {"allow": "a"}}, "query.allow"),
        ({"query": {"allow": ["a"] * (MAX_QUERY_NAMES + 1)}}, "query.allow"),
        ({"query": {"allow": ["a", ""]}}, "query.allow[1]"),
        ({"query": {"allow": [1]}}, "query.allow[0]"),
        ({"query": {"allow": ["a\n"]}}, "query.allow[0]"),
        ({"query": {"allow": ["a" * (MAX_QUERY_NAME_LENGTH + 1)]}}, "query.allow[0]"),
        ({"negative_ttl_s": 86_401}, "negative_ttl_s"),
        ({"pass_s": 3_601}, "pass_s"),
        ({"upstream_host": "visitor"}, "upstream_host"),
        ({"origin": "s3://bucket", "upstream_host": "a.example"}, "upstream_host"),
        ({"origin": "https://h", "upstream_host": ""}, "upstream_host"),
        ({"origin": "https://h", "upstream_host": "a b"}, "upstream_host"),
        ({"origin": "https://h", "upstream_host": "a\r\nx: y"}, "upstream_host"),
        ({"origin": "https://h", "upstream_host": 7}, "upstream_host"),
        ({"connect_timeout_s": 0}, "connect_timeout_s"),
        ({"connect_timeout_s": 61}, "connect_timeout_s"),
        ({"read_timeout_s": 601}, "read_timeout_s"),
        ({"upstream_retries": 6}, "upstream_retries"),
        ({"upstream_retries": True}, "upstream_retries"),
        ({"upstream_retries": 0.5}, "upstream_retries"),
        ({"stores_set_cookie": "no"}, "stores_set_cookie"),
        ({"compresses": None}, "compresses"),
        ({"obeys_client_directives": 0}, "obeys_client_directives"),
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
    origin=st.sampled_from([BUNDLE, HttpOrigin("https", "h", 8443, "/a"), BucketOrigin("bucket", "a b/c")]),
    query=st.sampled_from([KeepQuery(), SortQuery(), DropQuery()])
    | st.lists(st.text("abc[]\u00fc", min_size=1, max_size=3), unique=True, max_size=3).map(tuple).map(AllowQuery),
    negative_ttl_s=st.integers(0, 86_400),
    pass_s=st.integers(0, 3_600),
    connect_timeout_s=st.floats(0.001, 60),
    read_timeout_s=st.floats(0.001, 600),
    upstream_retries=st.integers(0, 5),
    stores_set_cookie=st.booleans(),
    compresses=st.booleans(),
    obeys_client_directives=st.booleans(),
    edge_ttl_s=st.none() | SECONDS,
    browser_ttl_s=SECONDS,
    retention_s=SECONDS,
    keep=st.lists(PATTERNS, max_size=3).map(tuple),
    header_rules=st.lists(
        st.builds(HeaderRule, PATTERNS, st.lists(LINES, min_size=1, max_size=3).map(tuple)), max_size=3
    ).map(tuple),
    stale_if_error_s=SECONDS,
    stale_while_revalidate_s=st.none() | SECONDS,
    prepare_timeout_s=st.floats(0.001, 300),
    region=st.lists(st.sampled_from(["eu", "us-1"]), unique=True).map(tuple),
    on_detach=st.sampled_from(OnDetach),
)


@given(SETTINGS)
def test_settings_survive_json(settings: SiteSettings) -> None:
    assert settings_from(json.loads(json.dumps(settings_to(settings)))) == settings
    assert settings_from(json.loads(json.dumps(recorded_settings(settings)))) == settings


def test_records_name_only_what_is_set() -> None:
    """So a program of an earlier release follows sites that use nothing it does not know."""
    assert recorded_settings(SiteSettings()) == {}
    settings = SiteSettings(origin=HttpOrigin("http", "h", 80), retention_s=7, query=DropQuery())
    assert recorded_settings(settings) == {"origin": "http://h", "retention_s": 7, "query": "drop"}


def test_what_was_recorded_is_read_though_it_does_nothing() -> None:
    for origin, idle in (("bundle", PULL_ONLY), ("https://a.example", BUNDLE_ONLY)):
        recorded = {"origin": origin, **{name: settings_to(DEFAULT_SETTINGS)[name] for name in idle}}
        settings = settings_from(recorded)
        assert settings == settings_from({"origin": origin})
        with pytest.raises(InvalidInput) as caught:
            settings_from(recorded, given=sorted(idle))
        assert [detail.partition(":")[0] for detail in caught.value.details] == sorted(idle)
        settings_from(recorded, given=sorted(set(settings_to(DEFAULT_SETTINGS)) - idle))


def test_what_does_nothing_is_said_before_what_does_not_go_together() -> None:
    with pytest.raises(InvalidInput, match="edge_ttl_overrides: it does nothing on a site of bundles"):
        settings_from({"edge_ttl_overrides": True}, given=("edge_ttl_overrides",))
