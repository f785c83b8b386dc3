"""Response rate limiting: who has answers sent to the address of somebody else gets few of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Answers over UDP a second for one network of clients, /24 or /56; who shows a valid cookie has no limit."""

    answers_per_s: int = 1_000
    """Records and referrals: what all resolvers of a large provider together ask for."""
    absences_per_s: int = 500
    """That there is no such name, or nothing of that type."""
    errors_per_s: int = 100
    """Everything else: refused, malformed, failed."""
    slip: int = 2
    """Of the answers above the limit every so many-th is sent, truncated: who is there asks again over TCP. 0: none."""
    exempt: tuple[str, ...] = ()
    """Networks without a limit."""
