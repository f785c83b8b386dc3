"""Deploys, and what an alias answers from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

PREPARING_KEPT_S = 3600.0
"""How long a deploy that was prepared and never activated stays reachable: far more than any prepare takes."""


@dataclass(frozen=True, slots=True)
class Deploy:
    """One bundle of a site, complete in the object store.

    `alias` is the one it was prepared for (it may be activated on others). `prepared_at` is wall time in seconds,
    `sequence` the record's place in the journal. `commit` names what it was built from. `manifest_version` is 2 where
    its manifest has rules.
    """

    id: str
    site_id: str
    alias: str
    manifest_digest: str
    file_count: int
    size_bytes: int
    author: str
    message: str
    prepared_at: float
    sequence: int
    commit: str = ""
    manifest_version: int = 1


@dataclass(frozen=True, slots=True)
class Retained:
    """A deploy that was active; its fingerprinted files stay reachable `until` (wall time in seconds)."""

    deploy: Deploy
    until: float


@dataclass(frozen=True, slots=True)
class AliasState:
    """What an alias answers from (DESIGN I4).

    `retained` and `preparing` are most recent first. `former` holds the ids of deploys that were active, most recent
    first, however long ago: what a rollback can go back to. `password`: the hash of what visitors have to give, "":
    nothing; after the wall time `expires_at` nothing is answered; `lock`: why no other deploy may be activated, "": one
    may. `promoted`: of the active and former deploys those that were made before what they took the place of, each with
    the sequence of the record that first activated it here.
    """

    active: Deploy | None = None
    activated_sequence: int = 0
    activated_at: float = 0.0
    retained: tuple[Retained, ...] = ()
    preparing: tuple[Deploy, ...] = ()
    former: tuple[str, ...] = ()
    password: str = ""
    expires_at: float | None = None
    lock: str = ""
    promoted: tuple[tuple[str, int], ...] = ()

    def rank(self, deploy: Deploy) -> int:
        """Where the deploy stands in the order of this alias: what was activated here first after another is above it,
        whenever it was made."""
        return dict(self.promoted).get(deploy.id, deploy.sequence)

    def is_over(self, now: float) -> bool:
        """Whether its time is over at wall time `now`."""
        return self.expires_at is not None and now >= self.expires_at

    def reachable(self, now: float) -> tuple[Deploy, ...]:
        """The deploys beside the active one whose fingerprinted and kept files answer at wall time `now`.

        Those that were active come first, so that a deploy which is only being prepared replaces nothing.
        """
        retained = tuple(one.deploy for one in self.retained if one.until > now)
        return retained + tuple(one for one in self.preparing if one.prepared_at + PREPARING_KEPT_S > now)

    def reachable_until(self, now: float) -> float:
        """Until which wall time `reachable` gives what it gives at `now` unless a record changes it (inf: ever)."""
        ends = [one.until for one in self.retained]
        ends += [one.prepared_at + PREPARING_KEPT_S for one in self.preparing]
        return min((end for end in ends if end > now), default=inf)

    def without_unreachable(self, now: float) -> AliasState:
        """The state without what `reachable` no longer gives at wall time `now`; itself when nothing goes."""
        kept = {one.id for one in self.reachable(now)}
        if len(kept) == len(self.retained) + len(self.preparing):
            return self
        return replace(
            self,
            retained=tuple(one for one in self.retained if one.deploy.id in kept),
            preparing=tuple(one for one in self.preparing if one.id in kept),
        )
