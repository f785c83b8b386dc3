from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.cache_policy import CachePolicy
from cdn.http.date import format_date
from cdn.http.fields import Fields
from cdn.http.freshness import Lifetime, LifetimeSource
from cdn.http.response_head import ResponseHead
from cdn.http.reuse_terms import ReuseTerms, retry_after_s, reuse_terms

NOW = 1_700_000_000.0
DATE = ("date", format_date(NOW))
MODIFIED = ("last-modified", format_date(NOW - 1000))
POLICY = CachePolicy(
    default_lifetime_s=None,
    overrides_lifetime=False,
    negative_lifetime_s=10.0,
    stores_set_cookie=True,
    stale_while_revalidate_s=None,
    stale_if_error_s=300.0,
)
DEFAULT = replace(POLICY, default_lifetime_s=40.0)
OVERRIDE = replace(DEFAULT, overrides_lifetime=True)


def terms(*lines: tuple[str, str], status: int = 200, policy: CachePolicy = POLICY) -> ReuseTerms:
    return reuse_terms(ResponseHead(status, Fields(lines)), NOW - 1, NOW, policy)


def cc(text: str) -> tuple[str, str]:
    return "cache-control", text


def test_the_terms_of_a_plain_response() -> None:
    assert terms(cc("max-age=60"), ("age", "5"), DATE) == ReuseTerms(
        lifetime=Lifetime(60.0, LifetimeSource.MAX_AGE),
        initial_age_s=6.0,
        must_validate=False,
        may_serve_stale=True,
        stale_while_revalidate_s=0.0,
        stale_if_error_s=300.0,
        withheld_fields=frozenset(),
    )


@pytest.mark.parametrize(
    ("status", "lines", "policy", "lifetime"),
    [
        (200, (), POLICY, Lifetime(0.0, LifetimeSource.NONE)),
        (200, (MODIFIED, DATE), POLICY, Lifetime(100.0, LifetimeSource.HEURISTIC)),
        (201, (MODIFIED, DATE), POLICY, Lifetime(0.0, LifetimeSource.NONE)),
        (599, (MODIFIED, DATE, cc("public")), POLICY, Lifetime(100.0, LifetimeSource.HEURISTIC)),
        (599, (cc("public"),), DEFAULT, Lifetime(0.0, LifetimeSource.NONE)),
        (200, (cc("max-age=0"), MODIFIED, DATE), POLICY, Lifetime(0.0, LifetimeSource.MAX_AGE)),
        # The site's default goes before a guess, never before what the response says
        (200, (MODIFIED, DATE), DEFAULT, Lifetime(40.0, LifetimeSource.SITE_DEFAULT)),
        (301, (), DEFAULT, Lifetime(40.0, LifetimeSource.SITE_DEFAULT)),
        (302, (), DEFAULT, Lifetime(0.0, LifetimeSource.NONE)),
        (200, (cc("max-age=5"),), DEFAULT, Lifetime(5.0, LifetimeSource.MAX_AGE)),
        # unless the site says so, for what is no error.
        (200, (cc("s-maxage=5"),), OVERRIDE, Lifetime(40.0, LifetimeSource.SITE_OVERRIDE)),
        (200, (), OVERRIDE, Lifetime(40.0, LifetimeSource.SITE_OVERRIDE)),
        (302, (cc("max-age=5"),), OVERRIDE, Lifetime(40.0, LifetimeSource.SITE_OVERRIDE)),
        (302, (), OVERRIDE, Lifetime(0.0, LifetimeSource.NONE)),
        (400, (cc("max-age=5"),), OVERRIDE, Lifetime(5.0, LifetimeSource.MAX_AGE)),
        (404, (cc("max-age=5"),), OVERRIDE, Lifetime(5.0, LifetimeSource.MAX_AGE)),
        (503, (cc("max-age=5"),), OVERRIDE, Lifetime(5.0, LifetimeSource.MAX_AGE)),
        (200, (cc("max-age=5"),), replace(POLICY, overrides_lifetime=True), Lifetime(5.0, LifetimeSource.MAX_AGE)),
        # Errors that say nothing have a short lifetime of their own
        (404, (), POLICY, Lifetime(10.0, LifetimeSource.NEGATIVE)),
        (405, (MODIFIED, DATE), DEFAULT, Lifetime(10.0, LifetimeSource.NEGATIVE)),
        (410, (), OVERRIDE, Lifetime(10.0, LifetimeSource.NEGATIVE)),
        (414, (cc("public"),), POLICY, Lifetime(10.0, LifetimeSource.NEGATIVE)),
        (501, (("retry-after", "3"),), POLICY, Lifetime(3.0, LifetimeSource.NEGATIVE)),
        (404, (("retry-after", "60"),), POLICY, Lifetime(10.0, LifetimeSource.NEGATIVE)),
        (404, (), replace(POLICY, negative_lifetime_s=0.0), Lifetime(0.0, LifetimeSource.NEGATIVE)),
        # and those that pass only where upstream says when to come back.
        (503, (), DEFAULT, Lifetime(0.0, LifetimeSource.NONE)),
        (503, (MODIFIED, DATE), POLICY, Lifetime(0.0, LifetimeSource.NONE)),
        (503, (("retry-after", "4"),), POLICY, Lifetime(4.0, LifetimeSource.NEGATIVE)),
        (500, (("retry-after", "400"),), POLICY, Lifetime(10.0, LifetimeSource.NEGATIVE)),
        (502, (("retry-after", "0"),), POLICY, Lifetime(0.0, LifetimeSource.NONE)),
        (504, (("retry-after", "soon"),), POLICY, Lifetime(0.0, LifetimeSource.NONE)),
        (503, (("retry-after", "4"),), replace(POLICY, negative_lifetime_s=0.0), Lifetime(0.0, LifetimeSource.NONE)),
        (403, (("retry-after", "4"),), POLICY, Lifetime(0.0, LifetimeSource.NONE)),
    ],
)
def test_lifetimes(status: int, lines: tuple[tuple[str, str], ...], policy: CachePolicy, lifetime: Lifetime) -> None:
    assert terms(*lines, status=status, policy=policy).lifetime == lifetime


@pytest.mark.parametrize("directive", ["no-cache", "must-revalidate", "proxy-revalidate", "s-maxage=60"])
def test_what_forbids_serving_stale_closes_both_windows(directive: str) -> None:
    found = terms(
        cc(f"max-age=60, stale-while-revalidate=9, stale-if-error=9, {directive}"),
        policy=replace(POLICY, stale_while_revalidate_s=5.0),
    )
    assert (found.may_serve_stale, found.stale_while_revalidate_s, found.stale_if_error_s) == (False, 0.0, 0.0)


def test_the_windows_of_the_response_go_before_those_of_the_site() -> None:
    policy = replace(POLICY, stale_while_revalidate_s=5.0)
    found = terms(cc("max-age=1"), policy=policy)
    assert (found.stale_while_revalidate_s, found.stale_if_error_s) == (5.0, 300.0)
    found = terms(cc("max-age=1, stale-while-revalidate=0, stale-if-error=7"), policy=policy)
    assert (found.stale_while_revalidate_s, found.stale_if_error_s) == (0.0, 7.0)


def test_no_cache_must_validate_but_not_with_a_list_of_fields() -> None:
    assert terms(cc("no-cache, max-age=9")).must_validate
    found = terms(cc('no-cache="A, b", private="C", max-age=9'))
    assert not found.must_validate
    assert found.may_serve_stale
    assert found.withheld_fields == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        ("0", 0.0),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("2147483649", 2.0**31),
        ("9" * 5000, 2.0**31),
        (format_date(NOW + 60), 60.0),
        (format_date(NOW - 60), 0.0),
        ("soon", None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(Fields(() if text is None else (("retry-after", text),)), NOW) == seconds


@given(st.integers(200, 599), st.lists(st.tuples(st.sampled_from(["cache-control", "expires", "age"]), st.text())))
def test_terms_are_never_negative(status: int, lines: list[tuple[str, str]]) -> None:
    found = terms(*lines, status=status)
    assert min(found.lifetime.seconds, found.initial_age_s) >= 0
    assert min(found.stale_while_revalidate_s, found.stale_if_error_s) >= 0
