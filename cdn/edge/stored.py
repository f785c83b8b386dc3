"""Stored responses: what a node keeps of an answer, and under which key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from cdn.fleet.position import Position
from cdn.http.response_head import ResponseHead
from cdn.http.vary import Selecting
from cdn.sites.manifest import FileEntry

Content = bytes | memoryview
"""Bytes ready to be written to a socket: a small chunk as bytes, a large one as a mapped slice."""


@dataclass(frozen=True, slots=True)
class PulledHead:
    """What is kept of an upstream's answer beside its content: the head, and what a cache has to know to reuse it.

    `requested_at` and `received_at` are wall times in seconds. `complete_length` is that of the representation in
    bytes, None when the upstream did not say; content that starts at `part_start` above 0, or ends before the complete
    length, is a part of it (RFC 9110 section 15.3.7). `coding` is the content coding that this node applied, and
    `base_incarnation` then names the stored response it was made from (0: it is as the upstream sent it).
    """

    head: ResponseHead
    selecting: Selecting
    requested_at: float
    received_at: float
    complete_length: int | None = None
    part_start: int = 0
    coding: str | None = None
    base_incarnation: int = 0


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What a stored response is found by.

    For a bundle `path` is the file's path in the manifest and `digest` its SHA-256 in hex. For a pull site `path` is
    the primary key of the request, and `digest` tells the responses stored under it apart: a variant's id in hex.
    """

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
    higher one, and never meets the chunks of the one before. `DiskTier.admit` gives it (for a pulled one
    `DiskTier.new_content`); 0 means not admitted yet.

    `pulled` is there for what came from an upstream of a pull site, None for a file of a bundle. The chunks of a file
    may be stored in part and are fetched singly; a pulled response is stored with all of its content or not at all,
    and `entry` says what that content is, not what the site knows of it.
    """

    key: StoredKey
    entry: FileEntry
    names: tuple[str, ...]
    tags: tuple[str, ...]
    admitted: Position
    stored_at: float
    validated_at: float
    incarnation: int = 0
    pulled: PulledHead | None = None

    @property
    def file_count(self) -> int:
        """How many files its content takes when all of it is stored: none for a pulled response without content."""
        if self.pulled is not None and self.entry.size_bytes == 0:
            return 0
        return self.entry.chunk_count

    def is_below(self, hard: int, epoch: str) -> bool:
        """Whether a hard floor at sequence `hard` of `epoch` forbids this response for ever (0: there is none).

        A response of another epoch cannot be compared with the floor, so any floor forbids it.
        """
        if hard == 0:
            return False
        return self.admitted.epoch != epoch or self.admitted.sequence < hard


class StoreOutcome(Enum):
    """What became of a chunk or a whole response that was offered to the disk tier. Values double as metric labels."""

    STORED = "stored"
    DETACHED = "detached"  # a floor rose while it was fetched
    SUPERSEDED = "superseded"  # the key was admitted anew meanwhile
    BUSY = "busy"  # the index has too many writes waiting
    FULL = "full"  # the disk has no room, or refuses, or running writes take what they may
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
