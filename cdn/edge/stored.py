"""Stored responses: what a node keeps of an answer, and under which key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from cdn.fleet.position import Position
from cdn.sites.manifest import FileEntry

Content = bytes | memoryview
"""Bytes ready to be written to a socket: a small chunk as bytes, a large one as a mapped slice."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What a stored response is found by. `path` is the file's path in the manifest, `digest` its SHA-256 in hex."""

    site_id: str
    path: str
    digest: str

    def fingerprint(self) -> bytes:
        """16 bytes that stand for this key in the index and in file names."""
        joined = "\0".join((self.site_id, self.path, self.digest))
        return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).digest()[:16]


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One stored response; its content lies beside it in chunks.

    `admitted` is the last position the node had applied before it asked the store (DESIGN I1). `stored_at` and
    `validated_at` are wall times in seconds, as `ResidenceClock.wall` gives them.

    `incarnation` tells admissions under one key apart: a response that is admitted anew after a hard floor has a
    higher one, and never meets the chunks of the one before. `DiskTier.admit` gives it; 0 means not admitted yet.
    """

    key: StoredKey
    entry: FileEntry
    names: tuple[str, ...]
    tags: tuple[str, ...]
    admitted: Position
    stored_at: float
    validated_at: float
    incarnation: int = 0

    def is_below(self, hard: int, epoch: str) -> bool:
        """Whether a hard floor at sequence `hard` of `epoch` forbids this response for ever (0: there is none).

        A response of another epoch cannot be compared with the floor, so any floor forbids it.
        """
        if hard == 0:
            return False
        return self.admitted.epoch != epoch or self.admitted.sequence < hard


class StoreOutcome(Enum):
    """What became of a chunk that was offered to the disk tier. Values double as metric labels."""

    STORED = "stored"
    DETACHED = "detached"  # a floor rose while it was fetched
    SUPERSEDED = "superseded"  # the key was admitted anew meanwhile
    BUSY = "busy"  # the index has too many writes waiting
    FULL = "full"  # the disk has no room, or refuses
    TOO_LARGE = "too-large"  # larger than the whole tier


@dataclass(frozen=True, slots=True)
class ResidenceClock:
    """Ages by the monotonic clock within one run, by the wall clock only across restarts (DESIGN, Time).

    Both times are seconds, read together once when the node starts.
    """

    started_wall_s: float
    started_monotonic_s: float

    def wall(self, monotonic_s: float) -> float:
        """The wall time to remember for this moment; steps of the wall clock during the run do not show in it."""
        return self.started_wall_s + (monotonic_s - self.started_monotonic_s)

    def monotonic(self, wall_s: float, now: float) -> float:
        """The moment `wall_s` on this run's monotonic clock, never after `now`: a remembered future means now."""
        return min(now, self.started_monotonic_s + (wall_s - self.started_wall_s))
