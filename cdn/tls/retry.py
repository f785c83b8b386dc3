"""How long to wait after an order that failed. Pure: chance is an argument."""

from __future__ import annotations

MINUTE_S = 60.0
HOUR_S = 3600.0

PAUSES_S = (
    1 * MINUTE_S,
    2 * MINUTE_S,
    2 * MINUTE_S,
    5 * MINUTE_S,
    10 * MINUTE_S,
    10 * MINUTE_S,
    10 * MINUTE_S,
    20 * MINUTE_S,
    20 * MINUTE_S,
    30 * MINUTE_S,
    30 * MINUTE_S,
    1 * HOUR_S,
    1 * HOUR_S,
    2 * HOUR_S,
    2 * HOUR_S,
    3 * HOUR_S,
    6 * HOUR_S,
)
"""After the first failure, the second and so on; then the last one always. Most faults are over within minutes, and
somebody waits then; authorities let an account fail five times an hour for one name."""

SPREAD = 0.2
"""The part of a pause by which names differ that failed together."""

LONGEST_ASKED_S = 7 * 86_400.0
"""Longest patience an authority gets: limits by the week are the longest there are; more is a mistake of its."""

TRIES_LEFT = 8
"""Tries at least in what is left of the certificate that is in service, as far as the first pause allows."""


def try_again_s(failures: int, point: float, retry_after_s: float | None = None, left_s: float | None = None) -> float:
    """How long after the `failures`th order in a row that failed (from 1) the next one is made, in seconds.

    `retry_after_s`, what the authority asked for, wins, up to LONGEST_ASKED_S. `point` in [0, 1) spreads. `left_s`:
    what is left of the certificate in service; None or less: there is none any more, and it does not count.
    """
    spread = 1 + SPREAD * point
    if retry_after_s is not None:
        # Never before it: an authority counts what comes early.
        asked_s = min(max(retry_after_s, PAUSES_S[0]), LONGEST_ASKED_S)
        return asked_s + PAUSES_S[0] * SPREAD * point
    pause_s = PAUSES_S[min(max(failures, 1), len(PAUSES_S)) - 1]
    if left_s is not None and left_s > 0:
        pause_s = min(pause_s, max(left_s / TRIES_LEFT, PAUSES_S[0]))
    return pause_s * spread
