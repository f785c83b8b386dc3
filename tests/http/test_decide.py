from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
