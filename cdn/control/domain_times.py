"""When a name is looked at again, and when its certificate is got anew. Pure: times are arguments."""

from __future__ import annotations

from cdn.control.domain_documents import spread

DAY_S = 86_400.0

PAUSE_SPREAD = 0.2
"""The part of a pause by which names differ, so that those that came together do not come together again."""

TRY_PAUSES_S = (60.0, 120.0, 120.0, 300.0, 600.0, 600.0, 1200.0, 1800.0, 3600.0, 3600.0, 7200.0, 10_800.0, 21_600.0)
"""After orders that failed, as certmagic makes them."""

SHORT_LIFE_S = 10 * DAY_S
"""Certificates of a shorter life are renewed at half of it."""

RENEW_SPREAD = 0.1
"""The part of what is left by which certificates differ."""


def next_daily(domain: str, now: float) -> float:
    """The name's time of day: the first one after `now`."""
    at = spread(domain) * DAY_S
    return now + DAY_S - (now - at) % DAY_S


def try_again_s(domain: str, failures: int, retry_after_s: float | None) -> float:
    """How long after the `failures`th order that failed the next one is made; what the authority asks for wins."""
    if retry_after_s is not None:
        return retry_after_s
    pause_s = TRY_PAUSES_S[min(max(failures, 1), len(TRY_PAUSES_S)) - 1]
    return pause_s * (1 + PAUSE_SPREAD * spread(f"{domain} {failures}"))


def renew_at(certificate_id: str, not_before: float, not_after: float, window: tuple[float, float] | None) -> float:
    """When the certificate is got anew: within the window that its authority names (RFC 9773 4.2), at a point that is
    always the same for one certificate; else with a third of its life left, half of it where that is below ten days."""
    life_s = not_after - not_before
    if window is not None:
        return window[0] + spread(certificate_id) * (window[1] - window[0])
    left_s = life_s / 2 if life_s < SHORT_LIFE_S else life_s / 3
    return not_after - left_s * (1 - RENEW_SPREAD * spread(certificate_id))
