"""When a name has its turn. Pure: times are arguments."""

from __future__ import annotations

from cdn.control.domain_documents import spread

DAY_S = 86_400.0


def next_daily(domain: str, now: float) -> float:
    """The name's time of day: the first one after `now`."""
    at = spread(domain) * DAY_S
    return now + DAY_S - (now - at) % DAY_S
