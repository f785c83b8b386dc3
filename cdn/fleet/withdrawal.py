"""How much of each node stands in DNS: lag takes nodes out, within bounds (DESIGN I16).

Shares are made region by region, in this order:

1. A node without weight, down by the observer's own checks, joining, draining or gone has none.
2. A region that is below half healthy ignores lag and ramps: whoever is up is needed.
3. Lagging and detached nodes are taken out, the most stale first, until a third of the healthy weight is out; the node
   at which that third ends keeps the rest of its weight.
4. A node that comes back rises from RAMP_FLOOR, or from what it had kept, to all of its weight. What is still missing
   after lag counts into the third; what is missing after it was down or new does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum

from cdn.fleet.condition import NodeState

MAX_WITHDRAWN_SHARE = 1 / 3
"""Of the healthy weight of a region: the others can take that over, and a mistake about lag costs no more."""

ENOUGH_HEALTHY_SHARE = 1 / 2
"""Of a region's weight: with less of it up, every node is needed however stale."""

RAMP_S = 60.0
"""From coming back to all of the weight: caches warm up, and one that falls again takes few visitors with it."""

RAMP_FLOOR = 0.1
"""The share with which a node comes back: a region whose only node returns is answered from at once."""

_IN_SERVICE = frozenset({NodeState.SERVING, NodeState.LAGGING, NodeState.DETACHED})


@dataclass(frozen=True, slots=True)
class Member:
    """A node as the journal shows it. `weight` 0: DNS sends it nobody. `lag_s`: how long it has been behind, or 0."""

    node_id: str
    region: str
    weight: float
    state: NodeState
    lag_s: float = 0.0


class ShareReason(Enum):
    """Why a node has the share it has."""

    FULL = "full"
    LAG_IGNORED = "lag-ignored"  # it lags, and its region cannot spare it
    WITHDRAWN = "withdrawn"  # it lags: out of DNS, or out as far as its region can spare it
    RAMPING = "ramping"  # it is back and takes on more and more
    DOWN = "down"  # the observer's own checks fail
    OUT = "out"  # joining, draining or gone
    UNWEIGHTED = "unweighted"  # its weight is 0


@dataclass(frozen=True, slots=True)
class Share:
    """What of a node's weight stands in DNS: `fraction`, from 0 to 1.

    A node that comes back rises from `ramp_from`, which it had at `ramp_began_at` (None: it rises no more).
    `lagged`: it was taken out by lag, not for being down or new.
    """

    fraction: float
    reason: ShareReason
    ramp_from: float = 1.0
    ramp_began_at: float | None = None
    lagged: bool = False

    def risen(self, now: float) -> float:
        """How far the ramp has come."""
        if self.ramp_began_at is None:
            return 1.0
        return min(1.0, self.ramp_from + max(0.0, now - self.ramp_began_at) / RAMP_S)


_FULL = Share(1.0, ShareReason.FULL)
_IN_NO_ANSWER = frozenset({ShareReason.DOWN, ShareReason.OUT, ShareReason.UNWEIGHTED})


def dns_shares(
    members: Sequence[Member], up: AbstractSet[str], previous: Mapping[str, Share] | None, now: float
) -> dict[str, Share]:
    """Each member's share, by node id.

    `up` are the nodes that the observer's own checks reach. `previous` is what this gave the last time: a node that it
    does not name is new; None: nothing was answered before, and nobody has to rise. `now` is monotonic seconds. Call it
    when anything changes, and as often as shares on the rise shall be followed.
    """
    regions: dict[str, list[Member]] = {}
    for member in members:
        regions.setdefault(member.region, []).append(member)
    shares: dict[str, Share] = {}
    for region in regions.values():
        weighted = [member for member in region if member.weight > 0]
        shares.update(_shares_of_region(weighted, up, previous, now))
        shares.update({each.node_id: Share(0.0, ShareReason.UNWEIGHTED) for each in region if each.weight <= 0})
    return shares


def _shares_of_region(
    members: Sequence[Member], up: AbstractSet[str], previous: Mapping[str, Share] | None, now: float
) -> dict[str, Share]:
    shares = {member.node_id: Share(0.0, ShareReason.OUT) for member in members if member.state not in _IN_SERVICE}
    in_service = [member for member in members if member.state in _IN_SERVICE]
    shares |= {member.node_id: Share(0.0, ShareReason.DOWN) for member in in_service if member.node_id not in up}
    healthy = [member for member in in_service if member.node_id in up]
    healthy_weight = sum(member.weight for member in healthy)
    # Whoever drains will be back: its weight is the region's, and missing now.
    weight = sum(member.weight for member in (*in_service, *_draining(members)))
    if healthy_weight < weight * ENOUGH_HEALTHY_SHARE:
        return shares | {member.node_id: _unreduced(member) for member in healthy}
    left = healthy_weight * MAX_WITHDRAWN_SHARE
    for member in sorted((one for one in healthy if _lags(one)), key=_most_stale_first):
        taken = min(member.weight, left)
        left -= taken
        shares[member.node_id] = _withdrawn(member, 1 - taken / member.weight, _before(member, previous), now)
    returning = [(_ramp(_before(member, previous), now), member) for member in healthy if not _lags(member)]
    for ramp, member in sorted(returning, key=lambda each: (each[0].fraction, each[1].node_id)):
        share = ramp
        if ramp.lagged:
            taken = min(member.weight * (1 - ramp.fraction), left)
            left -= taken
            share = _at_least(ramp, 1 - taken / member.weight, now)
        shares[member.node_id] = share
    return shares


def _before(member: Member, previous: Mapping[str, Share] | None) -> Share:
    return _FULL if previous is None else previous.get(member.node_id, Share(0.0, ShareReason.OUT))


def _ramp(before: Share, now: float) -> Share:
    """The share of a healthy node that does not lag, by where it comes from."""
    if before.reason in _IN_NO_ANSWER:
        return Share(RAMP_FLOOR, ShareReason.RAMPING, RAMP_FLOOR, now)
    if before.reason is ShareReason.WITHDRAWN:
        fraction = max(before.fraction, RAMP_FLOOR)
        return Share(fraction, ShareReason.RAMPING, fraction, now, before.lagged)
    fraction = before.risen(now)
    if fraction >= 1.0:
        return _FULL
    return Share(fraction, ShareReason.RAMPING, before.ramp_from, before.ramp_began_at, before.lagged)


def _at_least(ramp: Share, fraction: float, now: float) -> Share:
    """The ramp, gone on from where the region needs the node to be."""
    if fraction <= ramp.fraction:
        return ramp
    return _FULL if fraction >= 1.0 else Share(fraction, ShareReason.RAMPING, fraction, now, ramp.lagged)


def _withdrawn(member: Member, kept: float, before: Share, now: float) -> Share:
    """The share of a node that lags: what its region cannot spare, and no more than it has risen to if it was down."""
    was_out = before.reason in _IN_NO_ANSWER
    if not was_out and (before.lagged or before.risen(now) >= 1.0):
        return Share(kept, ShareReason.WITHDRAWN if kept < 1.0 else ShareReason.LAG_IGNORED, lagged=kept < 1.0)
    ramp_from, began_at = (RAMP_FLOOR, now) if was_out else (before.ramp_from, before.ramp_began_at)
    risen = Share(0.0, ShareReason.WITHDRAWN, ramp_from, began_at).risen(now)
    return Share(min(kept, risen), ShareReason.WITHDRAWN, ramp_from, began_at)


def _unreduced(member: Member) -> Share:
    return Share(1.0, ShareReason.LAG_IGNORED) if _lags(member) else _FULL


def _lags(member: Member) -> bool:
    return member.state is not NodeState.SERVING


def _draining(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if member.state is NodeState.DRAINING]


def _most_stale_first(member: Member) -> tuple[float, bool, str]:
    """Of two that are equally behind, the one that is cut off: it will not catch up."""
    return (-member.lag_s, member.state is not NodeState.DETACHED, member.node_id)
