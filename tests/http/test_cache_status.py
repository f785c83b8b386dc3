from __future__ import annotations

import pytest

from cdn.http.cache_status import CacheStatus, Forward


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (CacheStatus("edge-1"), "edge-1"),
        (CacheStatus("edge-1", hit=True), "edge-1; hit"),
        (CacheStatus("edge", hit=True, ttl_s=376, detail="memory"), "edge; hit; ttl=376; detail=memory"),
        (
            CacheStatus("edge", fwd=Forward.URI_MISS, fwd_status=200, stored=True, collapsed=True, key="/a b"),
            'edge; fwd=uri-miss; fwd-status=200; stored; collapsed; key="/a b"',
        ),
        (CacheStatus("edge", fwd=Forward.STALE, ttl_s=-412), "edge; fwd=stale; ttl=-412"),
        (CacheStatus("edge", ttl_s=10**20), "edge; ttl=999999999999999"),
        (CacheStatus("edge", ttl_s=-(10**20)), "edge; ttl=-999999999999999"),
        (CacheStatus("my edge"), '"my edge"'),
        (CacheStatus("9edge"), '"9edge"'),
        (CacheStatus(""), '""'),
        (CacheStatus("e", key='a"b\\c'), 'e; key="a\\"b\\\\c"'),
        (CacheStatus("e", detail="é\r\nx"), 'e; detail="%C3%A9%0D%0Ax"'),
        (CacheStatus("e", detail="\ud800"), 'e; detail="%3F"'),
        (CacheStatus("e", detail="soft purge"), 'e; detail="soft purge"'),
    ],
)
def test_serialise(status: CacheStatus, expected: str) -> None:
    assert status.serialise() == expected


def test_the_forward_reasons_are_those_of_the_standard() -> None:
    assert {reason.value for reason in Forward} == {
        *("bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial")
    }


def test_hit_and_forward_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="never both"):
        CacheStatus("edge", hit=True, fwd=Forward.MISS)
