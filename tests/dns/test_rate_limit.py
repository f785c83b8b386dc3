"""Response rate limiting: counts per network and second, what is above them, and bounds."""

from __future__ import annotations

from typing import Any

import pytest

from cdn.dns import rate_limit as subject
from cdn.dns.rate_limit import Kind, RateLimiter, RateLimits
from cdn.errors import InvalidInput

LIMITS = RateLimits(answers_per_s=3, absences_per_s=2, errors_per_s=1, slip=2, exempt=("10.0.0.0/8", "fd00::/8"))


def taken(limiter: RateLimiter, source: str, times: int, kind: Kind = Kind.ANSWER, at: float = 100.0) -> int:
    """How many of them may go."""
    return sum(limiter.take(source, kind, at) >= 0 for _ in range(times))


def test_a_network_has_so_many_answers_of_each_kind_a_second() -> None:
    limiter = RateLimiter(LIMITS)
    assert [taken(limiter, "192.0.2.1", 9, kind) for kind in Kind] == [3, 2, 1]
    assert taken(limiter, "192.0.2.200", 9) == 0, "the same /24"
    assert taken(limiter, "192.0.3.1", 9) == 3
    assert taken(limiter, "192.0.2.1", 9, at=100.999) == 0
    assert taken(limiter, "192.0.2.1", 9, at=101.0) == 3
    assert taken(limiter, "192.0.2.1", 9, at=50.0) == 3, "the clock was set back"


def test_networks_of_ipv6_are_56_bits() -> None:
    limiter = RateLimiter(LIMITS)
    assert taken(limiter, "2001:db8:0:1::1", 2) + taken(limiter, "2001:db8:0:ff::2", 9) == 3
    assert taken(limiter, "2001:db8:0:100::1", 9) == 3
    assert taken(limiter, "fe80::1%lo", 9) == 3


def test_who_is_exempt_has_no_limit() -> None:
    limiter = RateLimiter(LIMITS)
    assert taken(limiter, "10.1.2.3", 1000) == 1000
    assert taken(limiter, "fd00::1", 1000) == 1000


@pytest.mark.parametrize(("slip", "sent"), [(0, 0), (1, 12), (2, 6), (3, 4), (100, 0)])
def test_every_so_many_th_answer_above_the_limit_slips(slip: int, sent: int) -> None:
    limiter = RateLimiter(RateLimits(answers_per_s=1, slip=slip))
    limiter.take("192.0.2.1", Kind.ANSWER, 1.0)
    assert sum(limiter.is_slip(limiter.take("192.0.2.1", Kind.ANSWER, 1.0)) for _ in range(12)) == sent


def test_a_flood_from_everywhere_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_SOURCES", 100)
    limiter = RateLimiter(LIMITS)
    for number in range(1000):
        limiter.take(f"192.{number // 250}.2.{number % 250}", Kind.ERROR, 1.0)
        assert len(limiter._left) <= 100
        assert len(limiter._of_networks) <= 100
    for number in range(1000):  # and those of the seconds before are gone
        limiter.take("192.0.2.1", Kind.ERROR, float(number))
    assert len(limiter._left) == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"answers_per_s": 0}, "answers_per_s is 0"),
        ({"absences_per_s": -1}, "absences_per_s is -1"),
        ({"errors_per_s": 0}, "errors_per_s"),
        ({"slip": -1}, "slip is -1"),
        ({"slip": 101}, "slip is 101"),
        ({"exempt": ("192.0.2.1/24",)}, "no network"),
        ({"exempt": ("everybody",)}, "no network"),
    ],
)
def test_settings_that_mean_nothing(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        RateLimits(**given)
