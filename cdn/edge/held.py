"""A stored response in memory: its facts, and its content when it is small."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.edge.stored import StoredResponse
from cdn.http.decide import StoredFacts
from cdn.sites.settings import SiteSettings

HELD_OVERHEAD_BYTES = 1024
"""What one held response costs beside its content: keys, names, entry and the object itself."""


@dataclass(frozen=True, slots=True)
class Held:
    """`validated_at` is on this run's monotonic clock. `content` is None for what is served from the disk tier."""

    stored: StoredResponse
    validated_at: float
    content: bytes | None

    @property
    def cost_bytes(self) -> int:
        return HELD_OVERHEAD_BYTES + (len(self.content) if self.content is not None else 0)

    def facts(self, epoch: str, freshness_lifetime_s: float, settings: SiteSettings) -> StoredFacts:
        """What decide() needs, seen from a node that stands in `epoch`."""
        return StoredFacts(
            admitted_sequence=self.stored.admitted.sequence,
            is_same_epoch=self.stored.admitted.epoch == epoch,
            validated_at=self.validated_at,
            freshness_lifetime_s=freshness_lifetime_s,
            stale_if_error_s=settings.stale_if_error_s,
            stale_while_revalidate_s=settings.stale_while_revalidate_s,
        )

