"""What came of a request is what its Cache-Status says."""

from __future__ import annotations

import pytest

from cdn.edge.outcome import Outcome, outcome_of
from cdn.http.cache_status import CacheStatus, Forward


def said(**what: object) -> str:
    return CacheStatus("cdn", **what).serialise()  # type: ignore[arg-type]


@pytest.mark.parametrize("begin", ["", "a; key=", "a; key=a, "])
@pytest.mark.parametrize("part", ['\\"', '"', "\\", '"\\', ';a="', "; ", ","])
def test_what_an_upstream_says_is_read_once(begin: str, part: str) -> None:
    """64 KiB of it would take a minute if each string in it were looked for anew."""
    for end in ("", '"'):
        outcome_of(f'{begin}"{part * (65_536 // len(part))}{end}', 200)


@pytest.mark.parametrize(
    ("status", "cache_status", "outcome"),
    [
        (200, said(hit=True, ttl_s=5), Outcome.HIT),
        (404, said(hit=True, detail="no-file"), Outcome.HIT),
        (200, said(hit=True, ttl_s=-5), Outcome.STALE),
        (500, said(hit=True, ttl_s=5), Outcome.HIT),
        (200, said(fwd=Forward.STALE, fwd_status=304, stored=True), Outcome.REVALIDATED),
        (200, said(fwd=Forward.REQUEST, fwd_status=304, stored=True), Outcome.REVALIDATED),
        (200, said(fwd=Forward.STALE, fwd_status=200, stored=True), Outcome.EXPIRED),
        (404, said(fwd=Forward.STALE, fwd_status=404), Outcome.EXPIRED),
        (503, said(fwd=Forward.STALE, fwd_status=503), Outcome.EXPIRED),
        (200, said(fwd=Forward.STALE, fwd_status=503, detail="stale-if-error"), Outcome.STALE),
        (200, said(fwd=Forward.STALE, detail="connect-timeout"), Outcome.STALE),
        (504, said(fwd=Forward.STALE, detail="connect-timeout"), Outcome.FAILED),
        (502, said(fwd=Forward.URI_MISS, detail="refused"), Outcome.FAILED),
        (503, said(fwd=Forward.URI_MISS, fwd_status=503), Outcome.MISS),
        (200, said(fwd=Forward.URI_MISS, fwd_status=200, stored=True), Outcome.MISS),
        (200, said(fwd=Forward.VARY_MISS), Outcome.MISS),
        (200, said(fwd=Forward.MISS), Outcome.MISS),
        (206, said(fwd=Forward.PARTIAL, fwd_status=206), Outcome.MISS),
        (200, said(fwd=Forward.METHOD, fwd_status=200), Outcome.BYPASS),
        (200, said(fwd=Forward.BYPASS, fwd_status=200), Outcome.BYPASS),
        (200, said(fwd=Forward.REQUEST, fwd_status=200), Outcome.BYPASS),
        (404, said(detail="unknown-host"), Outcome.LOCAL),
        (204, None, Outcome.LOCAL),
        (503, said(detail="no-deploy"), Outcome.FAILED),
        (0, None, Outcome.ABANDONED),
        (200, f'other; hit, "a, b"; fwd=miss; key="x, y; hit", {said(fwd=Forward.BYPASS)}', Outcome.BYPASS),
        (200, f"{said(fwd=Forward.URI_MISS)}, {said(hit=True, key='a; fwd=miss, b')}", Outcome.HIT),
    ],
)
def test_of_the_last_member(status: int, cache_status: str | None, outcome: Outcome) -> None:
    assert outcome_of(cache_status, status) is outcome
