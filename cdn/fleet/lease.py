"""The lease: how long a node may serve without validating (DESIGN I9)."""

from __future__ import annotations

from dataclasses import dataclass, replace

LEASE_MARGIN_S = 0.5
"""Control waits this much longer than a lease before it calls it surely over: clocks of two machines drift."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`sent_at` is the node's monotonic time when it SENT the last heartbeat that was answered (None: none was)."""

    sent_at: float | None
    lease_s: float

    def is_running(self, now: float) -> bool:
        """Whether the node may serve without validating at its monotonic time `now`."""
        return self.sent_at is not None and now < self.sent_at + self.lease_s

    def left_s(self, now: float) -> float:
        """How much longer it runs at the node's monotonic time `now`; 0 or less: it does not."""
        return 0.0 if self.sent_at is None else self.sent_at + self.lease_s - now

    def renewed(self, sent_at: float) -> Lease:
        """The lease after the heartbeat sent at `sent_at` was answered; an older answer changes nothing."""
        return self if self.sent_at is not None and sent_at <= self.sent_at else replace(self, sent_at=sent_at)

    def given_back(self) -> Lease:
        """The lease after the node said it no longer uses it."""
        return replace(self, sent_at=None)


def surely_over_at(answered_at: float | None, lease_s: float) -> float | None:
    """Control's monotonic time from which the node's lease cannot run any more.

    `answered_at` is when control answered its last heartbeat, which is never before the node sent it. None: the node
    holds no lease.
    """
    return None if answered_at is None else answered_at + lease_s + LEASE_MARGIN_S
