from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.cache_policy import CachePolicy
from cdn.http.date import format_date
from cdn.http.fields import Fields
from cdn.http.freshness import Lifetime, LifetimeSource
from cdn.http.request import Request
from cdn.http.response_head import ResponseHead
from cdn.http.reuse_terms import ReuseTerms, reuse_terms
from cdn.http.storability import NEVER_STORED_STATUSES, UNDERSTOOD_STATUSES, NotStored, storability
from cdn.http.target import Target

NOW = 1_700_000_000.0
POLICY = CachePolicy(
    default_lifetime_s=None,
    overrides_lifetime=False,
    negative_lifetime_s=10.0,
    stores_set_cookie=True,
    stale_while_revalidate_s=None,
    stale_if_error_s=300.0,
)
FRESH = ("cache-control", "max-age=60")
Lines = tuple[tuple[str, str], ...]


def request(method: str = "GET", *lines: tuple[str, str]) -> Request:
    return Request(method, Target("/a", "q", "/a"), "www.example.com", None, Fields(lines), "http")


def judged(
    *lines: tuple[str, str], status: int = 200, asked: Request | None = None, policy: CachePolicy = POLICY
) -> ReuseTerms | NotStored:
    return storability(asked or request(), ResponseHead(status, Fields(lines)), NOW, NOW, policy)


def is_stored(
    *lines: tuple[str, str], status: int = 200, asked: Request | None = None, policy: CachePolicy = POLICY
) -> bool:
    return isinstance(judged(*lines, status=status, asked=asked, policy=policy), ReuseTerms)


def test_the_terms_are_those_of_reuse() -> None:
    head = ResponseHead(200, Fields((FRESH, ("age", "7"))))
    assert storability(request(), head, NOW - 2, NOW, POLICY) == reuse_terms(head, NOW - 2, NOW, POLICY)


# Methods


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "X", "get"])
def test_other_methods_are_not_stored(method: str) -> None:
    assert judged(FRESH, asked=request(method)) is NotStored.METHOD


@pytest.mark.parametrize(
    ("lines", "status", "expected"),
    [
        ((FRESH, ("content-location", "/a?q")), 200, True),
        ((("expires", format_date(NOW + 9)), ("content-location", "http://www.example.com/a?q")), 200, True),
        ((("content-location", ""), FRESH), 200, True),
        ((FRESH,), 200, False),
        ((FRESH, ("content-location", "/a")), 200, False),
        ((FRESH, ("content-location", "https://www.example.com/a?q")), 200, False),
        ((FRESH, ("content-location", "/a?q")), 201, False),
        ((FRESH, ("content-location", "/a?q")), 404, False),
        ((("etag", '"x"'), ("content-location", "/a?q")), 200, False),
    ],
)
def test_the_answer_to_a_post_that_represents_its_target(lines: Lines, status: int, expected: bool) -> None:
    assert is_stored(*lines, status=status, asked=request("POST")) is expected


def test_a_lifetime_given_by_the_site_does_not_make_a_post_storable() -> None:
    policy = replace(POLICY, default_lifetime_s=60.0, overrides_lifetime=True)
    assert judged(("content-location", "/a?q"), asked=request("POST"), policy=policy) is NotStored.METHOD
    assert is_stored(FRESH, ("content-location", "/a?q"), asked=request("POST"), policy=policy)


# Statuses


@pytest.mark.parametrize("status", [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 503, 599])
def test_any_final_status_with_a_lifetime_of_its_own_is_stored(status: int) -> None:
    assert is_stored(FRESH, status=status)


@pytest.mark.parametrize("status", [100, 101, 103, 199, *sorted(NEVER_STORED_STATUSES)])
def test_what_is_about_one_request_is_not_stored(status: int) -> None:
    assert judged(FRESH, ("etag", '"x"'), status=status) is NotStored.STATUS


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
def test_statuses_that_need_no_lifetime_of_their_own(status: int) -> None:
    assert is_stored(("last-modified", format_date(NOW - 1000)), status=status)


@pytest.mark.parametrize("status", [201, 202, 205, 302, 303, 307, 400, 401, 403, 500, 502, 503, 504, 599])
def test_statuses_that_need_one(status: int) -> None:
    lines = (("last-modified", format_date(NOW - 1000)), ("etag", '"x"'))
    assert judged(*lines, status=status) is NotStored.STATUS
    assert judged(*lines, ("cache-control", 'private="x"'), status=status) is NotStored.STATUS
    assert is_stored(*lines, ("cache-control", "public"), status=status)


def test_an_error_that_says_when_to_come_back_is_stored_until_then() -> None:
    terms = judged(("retry-after", "4"), status=503)
    assert isinstance(terms, ReuseTerms)
    assert terms.lifetime == Lifetime(4.0, LifetimeSource.NEGATIVE)
    assert judged(("retry-after", "0"), ("etag", '"x"'), status=503) is NotStored.STATUS


def test_must_understand() -> None:
    both = ("cache-control", "no-store, must-understand, max-age=60")
    assert is_stored(both)
    assert judged(both, status=599) is NotStored.NOT_UNDERSTOOD
    assert judged(("cache-control", "must-understand, max-age=60"), status=599) is NotStored.NOT_UNDERSTOOD
    assert all(is_stored(both, ("content-range", "bytes 0-0/1"), status=status) for status in UNDERSTOOD_STATUSES)
    assert {200, 206, 302, 400, 404, 451, 500, 505} <= UNDERSTOOD_STATUSES
    assert not UNDERSTOOD_STATUSES & NEVER_STORED_STATUSES


def test_a_part_must_say_which_part_it_is() -> None:
    assert is_stored(FRESH, ("content-range", "bytes 0-9/100"), status=206)
    assert judged(FRESH, ("content-type", "multipart/byteranges; boundary=x"), status=206) is NotStored.PARTIAL


# Fields


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((("cache-control", "no-store"), FRESH), NotStored.NO_STORE),
        ((("cache-control", "max-age=60, No-StOrE"),), NotStored.NO_STORE),
        ((("cache-control", "private, max-age=60"),), NotStored.PRIVATE),
        ((("cdn-cache-control", "private"), FRESH), NotStored.PRIVATE),
        ((("surrogate-control", "no-store"), FRESH), NotStored.NO_STORE),
        ((FRESH, ("vary", "*")), NotStored.VARY_STAR),
        ((FRESH, ("vary", "Accept, *")), NotStored.VARY_STAR),
        ((FRESH, ("vary", "Accept"), ("vary", "*")), NotStored.VARY_STAR),
        ((FRESH, ("vary", "not a name")), NotStored.VARY_STAR),
    ],
)
def test_what_a_response_forbids(lines: Lines, expected: NotStored) -> None:
    assert judged(*lines) is expected


def test_a_targeted_field_allows_what_cache_control_forbids() -> None:
    assert is_stored(("cdn-cache-control", "max-age=60"), ("cache-control", "no-store, private"))
    assert is_stored(("surrogate-control", "max-age=60"), ("cache-control", "no-store, private"))


def test_a_list_of_private_fields_withholds_only_those() -> None:
    terms = judged(("cache-control", 'private="X-User", max-age=60'))
    assert isinstance(terms, ReuseTerms)
    assert terms.withheld_fields == {"x-user"}


def test_a_request_may_forbid_storing() -> None:
    assert judged(FRESH, asked=request("GET", ("cache-control", "no-store"))) is NotStored.REQUEST_NO_STORE
    assert is_stored(FRESH, asked=request("GET", ("cache-control", "no-cache, max-age=0")))


@pytest.mark.parametrize(
    ("cache_control", "expected"),
    [
        ("max-age=60", False),
        ("max-age=60, must-understand, immutable, proxy-revalidate", False),
        ("public=x, max-age=60", False),
        ("max-age=60, public", True),
        ("max-age=60, must-revalidate", True),
        ("s-maxage=60", True),
    ],
)
def test_answers_to_authorised_requests(cache_control: str, expected: bool) -> None:
    asked = request("GET", ("authorization", "Basic x"))
    policy = replace(POLICY, default_lifetime_s=60.0, overrides_lifetime=True)
    for one in (POLICY, policy):
        found = judged(("cache-control", cache_control), asked=asked, policy=one)
        assert isinstance(found, ReuseTerms) if expected else found is NotStored.AUTHORIZATION


def test_cookies_are_stored_unless_the_site_refuses() -> None:
    assert is_stored(FRESH, ("set-cookie", "a=b"))
    policy = replace(POLICY, stores_set_cookie=False)
    assert judged(FRESH, ("set-cookie", "a=b"), policy=policy) is NotStored.SET_COOKIE
    assert is_stored(FRESH, policy=policy)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (("etag", '"a"'),),
        (("last-modified", "Mon, 01 Jan 2001 00:00:00 GMT"),),
        (("cache-control", "max-age=0"), ("etag", '"a"')),
        (("cache-control", "max-age=60, no-cache"), ("etag", '"a"')),
        (("cache-control", "stale-while-revalidate=60"),),
    ],
)
@pytest.mark.parametrize("status", [200, 404])
def test_cookies_are_not_shared_unless_upstream_says_so(lines: tuple[tuple[str, str], ...], status: int) -> None:
    """What the cache guesses, or a site's lifetime, or a validator alone, hands no session to others."""
    policy = replace(POLICY, default_lifetime_s=60.0, overrides_lifetime=True)
    assert judged(*lines, ("set-cookie", "a=b"), status=status) is NotStored.SET_COOKIE
    assert judged(*lines, ("set-cookie", "a=b"), status=status, policy=policy) is NotStored.SET_COOKIE


@pytest.mark.parametrize(
    "said", ["public", "s-maxage=60", 'max-age=0, no-cache="set-cookie"', 'private="set-cookie"', "max-age=60"]
)
def test_cookies_are_stored_where_upstream_says_for_whom(said: str) -> None:
    assert is_stored(("cache-control", said), ("etag", '"a"'), ("set-cookie", "a=b"))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), False),
        ((("cache-control", "public"),), False),
        ((("cache-control", "max-age=0"),), False),
        ((("cache-control", "no-cache, max-age=60"),), False),
        ((("expires", "0"),), False),
        ((("etag", '"x"'),), True),
        ((("last-modified", format_date(NOW)),), True),
        ((("cache-control", "no-cache"), ("etag", '"x"')), True),
        ((("cache-control", "max-age=60"), ("age", "100")), True),  # a client's max-stale may still want it
        ((("cache-control", "max-age=0, stale-while-revalidate=60"),), True),
        ((("cache-control", "max-age=0, stale-if-error=60"),), True),
        ((("cache-control", "max-age=0, stale-if-error=0"),), False),
        ((("cache-control", "max-age=0, must-revalidate, stale-if-error=60"),), False),
    ],
)
def test_what_could_never_be_used_is_not_stored(lines: Lines, expected: bool) -> None:
    found = judged(*lines)
    assert isinstance(found, ReuseTerms) if expected else found is NotStored.NO_LIFETIME_OR_VALIDATOR


def test_reasons_are_labels() -> None:
    values = [reason.value for reason in NotStored]
    assert len(set(values)) == len(values)
    assert all(value.replace("-", "").isalpha() and value.islower() for value in values)


# RFC 9111 section 3, read once more without a word of the code above

DIRECTIVES = [
    "no-store",
    "private",
    "public",
    "must-understand",
    "must-revalidate",
    "no-cache",
    "max-age=60",
    "s-maxage=9",
]
HEURISTIC = {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501}


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
    st.sampled_from([103, 200, 201, 302, 304, 404, 503, 599]),
    st.sets(st.sampled_from([*DIRECTIVES, "s-maxage=9"])),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([POLICY, replace(POLICY, default_lifetime_s=30.0), CachePolicy(30.0, True, 1.0, True, 5.0, 5.0)]),
)
def test_nothing_is_stored_that_the_standard_forbids(
    method: str,
    status: int,
    directives: set[str],
    has_expires: bool,
    is_authorised: bool,
    asks_no_store: bool,
    policy: CachePolicy,
) -> None:
    lines: list[tuple[str, str]] = [("cache-control", one) for one in sorted(directives)] + [("etag", '"x"')]
    if has_expires:
        lines.append(("expires", format_date(NOW + 60)))
    asked_lines: list[tuple[str, str]] = [("authorization", "x")] if is_authorised else []
    if asks_no_store:
        asked_lines.append(("cache-control", "no-store"))
    found = judged(*lines, status=status, asked=request(method, *asked_lines), policy=policy)
    is_explicit = bool({"max-age=60", "s-maxage=9"} & directives) or has_expires
    understands = status in {200, 201, 302, 404, 503}
    may_be_stored = (
        method == "GET"
        and status >= 200
        and status != 304
        and (understands if "must-understand" in directives else "no-store" not in directives)
        and not asks_no_store
        and "private" not in directives
        and (not is_authorised or bool({"public", "must-revalidate", "s-maxage=9"} & directives))
        and ("public" in directives or is_explicit or status in HEURISTIC)
    )
    # With an entity tag whatever may be stored is of use.
    assert isinstance(found, ReuseTerms) is may_be_stored


@given(
    st.integers(100, 599),
    st.lists(st.tuples(st.sampled_from(["cache-control", "cdn-cache-control", "vary", "expires"]), st.text())),
)
def test_nothing_raises(status: int, lines: list[tuple[str, str]]) -> None:
    judged(*lines, status=status, asked=request("GET", *lines))
    judged(*lines, ("content-location", lines[0][1] if lines else ""), status=status, asked=request("POST"))
