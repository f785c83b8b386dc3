from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.http.cache_control import NO_DIRECTIVES, RequestDirectives
from cdn.http.cache_status import Forward
from cdn.http.decide import (
    NOTHING_REQUIRED,
    Decision,
    Forwarded,
    Required,
    Serve,
    ServeStale,
    StaleReason,
    StoredFacts,
    Validate,
    decide,
)

STORED = StoredFacts(
    admitted_sequence=10,
    is_same_epoch=True,
    validated_at=1000.0,
    freshness_lifetime_s=60.0,
    stale_if_error_s=300.0,
    stale_while_revalidate_s=30.0,
)
NO_WINDOWS = replace(STORED, stale_if_error_s=0.0, stale_while_revalidate_s=0.0)
EXPIRED, SOFT_PURGED, OTHER_EPOCH = StaleReason.EXPIRED, StaleReason.SOFT_PURGED, StaleReason.OTHER_EPOCH
REQUESTED, MUST_VALIDATE = StaleReason.REQUESTED, StaleReason.MUST_VALIDATE
NEVER_STALE = replace(STORED, may_serve_stale=False)
NO_CACHE = replace(STORED, must_validate=True)


@pytest.mark.parametrize(
    ("stored", "required", "now", "expected"),
    [
        (None, NOTHING_REQUIRED, 1000.0, Forwarded(Forward.URI_MISS)),
        (STORED, NOTHING_REQUIRED, 1000.0, Serve(0.0)),
        (STORED, NOTHING_REQUIRED, 999.0, Serve(0.0)),
        (STORED, NOTHING_REQUIRED, 1059.5, Serve(59.5)),
        (STORED, NOTHING_REQUIRED, 1060.0, ServeStale(60.0, EXPIRED)),
        (STORED, NOTHING_REQUIRED, 1089.5, ServeStale(89.5, EXPIRED)),
        (STORED, NOTHING_REQUIRED, 1090.0, Validate(90.0, True, EXPIRED)),
        (STORED, NOTHING_REQUIRED, 1359.5, Validate(359.5, True, EXPIRED)),
        (STORED, NOTHING_REQUIRED, 1360.0, Validate(360.0, False, EXPIRED)),
        (NO_WINDOWS, NOTHING_REQUIRED, 1060.0, Validate(60.0, False, EXPIRED)),
        (STORED, Required(hard=10, soft=10), 1000.0, Serve(0.0)),
        (STORED, Required(hard=11, soft=0), 1000.0, Forwarded(Forward.MISS)),
        (STORED, Required(hard=11, soft=12), 1000.0, Forwarded(Forward.MISS)),
        (STORED, Required(hard=10, soft=11), 1001.0, ServeStale(1.0, SOFT_PURGED)),
        (STORED, Required(hard=0, soft=11), 1090.0, Validate(90.0, True, SOFT_PURGED)),
        (NO_WINDOWS, Required(hard=0, soft=11), 1000.0, Validate(0.0, False, SOFT_PURGED)),
        (replace(STORED, is_same_epoch=False), NOTHING_REQUIRED, 1001.0, Validate(1.0, False, OTHER_EPOCH)),
        (replace(STORED, is_same_epoch=False), Required(hard=11, soft=11), 1001.0, Validate(1.0, False, OTHER_EPOCH)),
    ],
)
def test_decide(stored: StoredFacts | None, required: Required, now: float, expected: Decision) -> None:
    assert decide(stored, required, now) == expected


@given(
    st.builds(
        StoredFacts,
        admitted_sequence=st.integers(0, 5),
        is_same_epoch=st.booleans(),
        validated_at=st.floats(0, 100),
        freshness_lifetime_s=st.floats(0, 100),
        stale_if_error_s=st.floats(0, 100),
        stale_while_revalidate_s=st.floats(0, 100),
    ),
    st.builds(Required, hard=st.integers(0, 5), soft=st.integers(0, 5)),
    st.floats(0, 400),
)
def test_nothing_crosses_a_hard_floor_or_an_epoch(stored: StoredFacts, required: Required, now: float) -> None:
    decision = decide(stored, required, now)
    if not stored.is_same_epoch:
        assert isinstance(decision, Validate)
        assert not decision.may_serve_stale_on_error
    elif stored.admitted_sequence < required.hard:
        assert isinstance(decision, Forwarded)
    elif stored.admitted_sequence < required.soft:
        assert isinstance(decision, ServeStale | Validate)
    else:
        assert not isinstance(decision, Forwarded)


# What the client asks. STORED is fresh until 1060, may be served while validated until 1090 and on error until 1360.


def asks(
    *,
    max_age_s: int | None = None,
    max_stale_s: float | None = None,
    min_fresh_s: int | None = None,
    stale_if_error_s: int | None = None,
    no_cache: bool = False,
    no_store: bool = False,
) -> RequestDirectives:
    return RequestDirectives(
        no_cache=no_cache,
        no_store=no_store,
        max_age_s=max_age_s,
        max_stale_s=max_stale_s,
        min_fresh_s=min_fresh_s,
        stale_if_error_s=stale_if_error_s,
    )


@pytest.mark.parametrize(
    ("stored", "now", "directives", "expected"),
    [
        (STORED, 1010.0, asks(max_age_s=10), Serve(10.0)),
        (STORED, 1010.5, asks(max_age_s=10), Validate(10.5, True, REQUESTED)),
        (STORED, 1000.5, asks(max_age_s=0), Validate(0.5, True, REQUESTED)),
        (STORED, 1030.0, asks(min_fresh_s=30), Serve(30.0)),
        (STORED, 1030.5, asks(min_fresh_s=30), Validate(30.5, True, REQUESTED)),
        (STORED, 1059.0, asks(min_fresh_s=0), Serve(59.0)),
        (STORED, 1001.0, asks(no_cache=True), Validate(1.0, False, REQUESTED)),
        (STORED, 1001.0, asks(no_store=True), Validate(1.0, False, REQUESTED)),
        (STORED, 1100.0, asks(no_cache=True), Validate(100.0, False, REQUESTED)),
        (STORED, 1001.0, asks(no_cache=True, stale_if_error_s=5), Validate(1.0, True, REQUESTED)),
        (STORED, 1001.0, asks(no_cache=True, max_stale_s=math.inf), Validate(1.0, False, REQUESTED)),
        # max-stale
        (STORED, 1001.0, asks(max_stale_s=math.inf), Serve(1.0)),
        (STORED, 1070.0, asks(max_stale_s=10), ServeStale(70.0, EXPIRED, True)),
        (STORED, 1100.0, asks(max_stale_s=40), ServeStale(100.0, EXPIRED, False)),
        (STORED, 1100.5, asks(max_stale_s=40), Validate(100.5, True, EXPIRED)),
        (STORED, 9000.0, asks(max_stale_s=math.inf), ServeStale(8000.0, EXPIRED, False)),
        (NO_WINDOWS, 1060.0, asks(max_stale_s=0), ServeStale(60.0, EXPIRED, False)),
        (STORED, 1100.0, asks(max_stale_s=40, max_age_s=100), ServeStale(100.0, EXPIRED, False)),
        (STORED, 1100.0, asks(max_stale_s=40, max_age_s=99), Validate(100.0, True, EXPIRED)),
        (STORED, 1070.0, asks(max_stale_s=40, min_fresh_s=0), Validate(70.0, True, EXPIRED)),
        # A client that wants it young or fresh does not want it stale
        (STORED, 1070.0, asks(max_age_s=100), Validate(70.0, True, EXPIRED)),
        (STORED, 1070.0, asks(min_fresh_s=0), Validate(70.0, True, EXPIRED)),
        # but one whose max-stale is shorter than the response's own window gets no less than others.
        (STORED, 1070.0, asks(max_stale_s=5), ServeStale(70.0, EXPIRED, True)),
        # stale-if-error
        (STORED, 1400.0, asks(stale_if_error_s=400), Validate(400.0, True, EXPIRED)),
        (STORED, 1200.0, asks(stale_if_error_s=1), Validate(200.0, True, EXPIRED)),
        (NO_WINDOWS, 1070.0, asks(stale_if_error_s=11), Validate(70.0, True, EXPIRED)),
        (NO_WINDOWS, 1071.0, asks(stale_if_error_s=11), Validate(71.0, False, EXPIRED)),
        # What the response forbids nobody allows.
        (NEVER_STALE, 1059.0, NO_DIRECTIVES, Serve(59.0)),
        (NEVER_STALE, 1060.0, NO_DIRECTIVES, Validate(60.0, False, EXPIRED)),
        (NEVER_STALE, 1060.0, asks(max_stale_s=math.inf, stale_if_error_s=900), Validate(60.0, False, EXPIRED)),
        (NEVER_STALE, 1010.0, asks(max_age_s=0), Validate(10.0, False, REQUESTED)),
        (NO_CACHE, 1001.0, NO_DIRECTIVES, Validate(1.0, False, MUST_VALIDATE)),
        (NO_CACHE, 1001.0, asks(max_stale_s=math.inf, stale_if_error_s=900), Validate(1.0, False, MUST_VALIDATE)),
        (NO_CACHE, 1001.0, asks(no_cache=True), Validate(1.0, False, MUST_VALIDATE)),
    ],
)
def test_what_the_client_asks(
    stored: StoredFacts, now: float, directives: RequestDirectives, expected: Decision
) -> None:
    assert decide(stored, NOTHING_REQUIRED, now, directives) == expected


def test_a_client_may_want_what_a_soft_floor_made_stale_but_nothing_below_a_hard_one() -> None:
    directives = asks(max_stale_s=math.inf)
    soft = decide(NO_WINDOWS, Required(hard=0, soft=11), 1001.0, directives)
    assert soft == ServeStale(1.0, SOFT_PURGED, validates_behind=False)
    assert decide(STORED, Required(hard=11, soft=11), 1001.0, directives) == Forwarded(Forward.MISS)
    assert decide(NO_CACHE, Required(hard=11, soft=0), 1001.0, asks(no_cache=True)) == Forwarded(Forward.MISS)
    other_epoch = replace(STORED, is_same_epoch=False)
    assert decide(other_epoch, NOTHING_REQUIRED, 1001.0, directives) == Validate(1.0, False, OTHER_EPOCH)


def test_only_if_cached_is_for_the_caller() -> None:
    directives = RequestDirectives(only_if_cached=True, no_transform=True)
    for now in (1001.0, 1070.0, 1100.0, 9000.0):
        assert decide(STORED, NOTHING_REQUIRED, now, directives) == decide(STORED, NOTHING_REQUIRED, now)


SECONDS = st.integers(0, 30)
REQUESTS = st.builds(
    RequestDirectives,
    no_cache=st.booleans(),
    no_store=st.booleans(),
    max_age_s=st.none() | SECONDS,
    max_stale_s=st.none() | SECONDS | st.just(math.inf),
    min_fresh_s=st.none() | SECONDS,
    stale_if_error_s=st.none() | SECONDS,
)
FACTS = st.builds(
    StoredFacts,
    admitted_sequence=st.integers(0, 2),
    is_same_epoch=st.booleans(),
    validated_at=SECONDS,
    freshness_lifetime_s=SECONDS,
    stale_if_error_s=SECONDS,
    stale_while_revalidate_s=SECONDS,
    must_validate=st.booleans(),
    may_serve_stale=st.booleans(),
)


@given(FACTS, st.builds(Required, hard=st.integers(0, 2), soft=st.integers(0, 2)), st.integers(0, 90), REQUESTS)
def test_nothing_is_used_that_a_plain_reading_forbids(
    stored: StoredFacts, required: Required, now: int, asked: RequestDirectives
) -> None:
    """RFC 9111 sections 4, 4.2.4 and 5.2.1, RFC 5861 and the floors, each rule on its own."""
    decision = decide(stored, required, now, asked)
    age = max(0, now - stored.validated_at)
    is_fresh = stored.freshness_lifetime_s > age and stored.admitted_sequence >= required.soft
    is_stale_for = max(0, age - stored.freshness_lifetime_s)
    is_usable = stored.is_same_epoch and stored.admitted_sequence >= required.hard
    is_used = isinstance(decision, Serve | ServeStale)
    if is_used:
        assert is_usable
        assert not stored.must_validate
        assert not asked.no_cache
        assert not asked.no_store
        assert asked.max_age_s is None or age <= asked.max_age_s
        assert asked.min_fresh_s is None or stored.freshness_lifetime_s - age >= asked.min_fresh_s
        assert is_fresh or stored.may_serve_stale
        by_client = asked.max_stale_s is not None and is_stale_for <= asked.max_stale_s
        by_response = is_stale_for < stored.stale_while_revalidate_s and asked.max_age_s is None
        assert is_fresh or by_client or by_response
    if isinstance(decision, Serve):
        assert is_fresh
    if isinstance(decision, ServeStale):
        assert not is_fresh
        assert decision.validates_behind is (is_stale_for < stored.stale_while_revalidate_s)
    if isinstance(decision, Validate) and decision.may_serve_stale_on_error:
        assert is_usable
        assert stored.may_serve_stale
        assert not stored.must_validate
        assert is_stale_for < max(stored.stale_if_error_s, asked.stale_if_error_s or 0)
    # and nothing is asked of upstream that need not be.
    asks_nothing = asked == RequestDirectives(stale_if_error_s=asked.stale_if_error_s)
    if is_usable and is_fresh and not stored.must_validate and asks_nothing:
        assert decision == Serve(age)
