"""When a certificate is got anew. Pure: times and chance are arguments."""

from __future__ import annotations

from cdn.tls.issuer import RenewalWindow

DAY_S = 86_400.0

SHORT_LIFE_S = 10 * DAY_S
"""Certificates of a shorter life are renewed at half of it: a third would leave too few tries."""

SPREAD = 0.1
"""The part of what is left by which certificates that were got together differ, always to the early side."""

LATEST_PART = 1 / 6
"""Of its life that is left at the latest when a renewal begins, whatever the authority says: time for some tries."""

ASK_AGAIN_S = 6 * 3600.0
"""How often an authority is asked for a window when it does not say (RFC 9773 4.3.3 lets clients choose)."""

SOONEST_ASK_S = 60.0
LATEST_ASK_S = DAY_S
"""Bounds of what an authority says of when to ask again (RFC 9773 4.3.2): once a day is what it takes to hear early
enough that a certificate is to be revoked."""


def renew_at(not_before: float, not_after: float, window: RenewalWindow | None, point: float) -> float:
    """The wall time at which a certificate is got anew; it may have gone by, then it is now.

    `window` is what its authority says, None or one that ends before it begins: nothing. Then a third of the life is
    left (half, of a life below SHORT_LIFE_S), and a little more. `point` in [0, 1) is where in the window or in that
    little it stands; the same for one certificate at each call, so that a restart changes nothing (RFC 9773 4.2).
    """
    life_s = max(not_after - not_before, 0.0)
    if window is not None and window.start < window.end:
        at = window.start + point * (window.end - window.start)
    else:
        left_s = life_s / 2 if life_s < SHORT_LIFE_S else life_s / 3
        at = not_after - left_s * (1 + SPREAD * point)
    return min(at, not_after - LATEST_PART * life_s)


def ask_again_at(asked_at: float, window: RenewalWindow | None) -> float:
    """When the authority is asked next for the window, which it named (None: named none) at `asked_at`."""
    ask_again_s = ASK_AGAIN_S if window is None else window.ask_again_s
    return asked_at + min(max(ask_again_s, SOONEST_ASK_S), LATEST_ASK_S)
