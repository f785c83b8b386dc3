"""What the disk index is asked to write, and the order that sweeps impose on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdn.edge.disk_files import ChunkName
from cdn.edge.stored import StoredKey, StoredResponse
from cdn.fleet.position import Position

MAX_HORIZONS = 65_536
"""Sites whose last sweep is remembered; beyond it the oldest half is merged into one horizon for all."""


@dataclass(frozen=True, slots=True)
class PutChunk:
    """A chunk's file lies in its place."""

    stored: StoredResponse
    name: ChunkName
    size_bytes: int
    accessed_ms: int


@dataclass(frozen=True, slots=True)
class Validated:
    """Upstream confirmed a response, asked at `admitted`."""

    incarnation: int
    admitted: Position
    validated_at: float


@dataclass(frozen=True, slots=True)
class EnterContent:
    """All content of a pulled response lies in its place, written in the index's `edition`.

    `held_bytes` had been reserved for it.
    """

    stored: StoredResponse
    accessed_ms: int
    edition: int
    held_bytes: int


@dataclass(frozen=True, slots=True)
class UpdateHead:
    """Upstream confirmed a pulled response; this is how it stands now."""

    stored: StoredResponse


@dataclass(frozen=True, slots=True)
class DropChunk:
    """A chunk's file was damaged and has been removed, or was found missing. Of a bundle: pulled responses go whole."""

    name: ChunkName


@dataclass(frozen=True, slots=True)
class Touch:
    """Access times gathered over a while, in milliseconds."""

    chunks: tuple[tuple[int, int, int], ...]  # accessed_ms, incarnation, number
    keys: tuple[tuple[int, StoredKey], ...]  # accessed_ms, key


@dataclass(frozen=True, slots=True)
class Horizon:
    """From now on no response of the site that was admitted below `through` is indexed anew."""

    site_id: str
    through: Position


@dataclass(frozen=True, slots=True)
class Remove:
    """Whole responses, with their chunks."""

    incarnations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """Everything before this is durable when it is done."""


@dataclass(frozen=True, slots=True)
class MakeRoom:
    """Running writes have reserved more than is free."""


@dataclass(frozen=True, slots=True)
class Relieve:
    """The disk was found full."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """A reader found that the index's file, of this edition, is damaged."""

    edition: int


Write = (
    PutChunk
    | Validated
    | EnterContent
    | UpdateHead
    | DropChunk
    | Touch
    | Horizon
    | Remove
    | Sync
    | MakeRoom
    | Relieve
    | Damaged
)


def file_names(stored: StoredResponse) -> tuple[ChunkName, ...]:
    """The files that all of a response's content takes."""
    fingerprint = stored.key.fingerprint()
    return tuple(ChunkName(fingerprint, stored.incarnation, number) for number in range(stored.file_count))


@dataclass(slots=True)
class Horizons:
    """Where each site's last sweep began, in the order of the sweeps.

    It closes the gap between a sweep, after which floors are forgotten, and a fetch that began before it. It need not
    survive a restart: no fetch does.
    """

    by_site: dict[str, Position] = field(default_factory=dict)
    merged: Position | None = None

    def raise_to(self, site_id: str, through: Position) -> None:
        """A sweep begins at this position."""
        self.by_site.pop(site_id, None)
        self.by_site[site_id] = through
        if len(self.by_site) > MAX_HORIZONS:
            for oldest in list(self.by_site)[: MAX_HORIZONS // 2]:
                position = self.by_site.pop(oldest)
                if self.merged is None or not self.merged.covers(position):
                    self.merged = position

    def admits(self, stored: StoredResponse) -> bool:
        """Whether a response that is not indexed may be.

        What is offered is of the present epoch (see `DiskTier.put_chunk`): a horizon of another one is an earlier
        one's, and no fetch from before it is left.
        """
        horizon = self.by_site.get(stored.key.site_id, self.merged)
        return horizon is None or horizon.epoch != stored.admitted.epoch or stored.admitted.covers(horizon)
