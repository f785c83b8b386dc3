"""What an observer of the fleet goes by: the last word of the journal, frozen when the journal is lost (DESIGN I16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cdn.fleet.withdrawal import Member

FREEZE_AFTER_S = 5.0
"""Without a word from it for so long the journal is lost. Less than a lease, or all nodes would seem detached."""

THAW_AFTER_S = 5.0
"""The journal is back for so long before its word counts: heartbeats that it carries need that time to come in."""


@dataclass(frozen=True, slots=True)
class FleetView:
    """`members` as they were known at `seen_at`. Times are monotonic seconds.

    While `is_frozen` nothing that was known of lag changes, whatever time goes by; the observer's own checks still say
    who is up. `heard_again_at`: since when, of a frozen view, the journal has been back.
    """

    members: tuple[Member, ...]
    seen_at: float
    is_frozen: bool = False
    heard_again_at: float | None = None


def next_view(previous: FleetView | None, observed: Sequence[Member], journal_heard_at: float, now: float) -> FleetView:
    """The view at `now`, when `observed` is what the journal's last word, of `journal_heard_at`, makes of the nodes.

    An observer that never had a view takes what there is: it has nothing better to keep.
    """
    if previous is None:
        return FleetView(tuple(observed), now)
    if now - journal_heard_at >= FREEZE_AFTER_S:
        return replace(previous, is_frozen=True, heard_again_at=None)
    if previous.is_frozen:
        heard_again_at = now if previous.heard_again_at is None else previous.heard_again_at
        if now - heard_again_at < THAW_AFTER_S:
            return replace(previous, heard_again_at=heard_again_at)
    return FleetView(tuple(observed), now)
