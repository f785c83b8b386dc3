"""Control's part of the object store: the snapshots, the archive of records, and which epochs there were.

Everything lies below `control/`, tokens' digests among it: what nodes reach the store with must not read there.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from cdn.errors import CdnError
from cdn.fleet.node import DEFAULT_WEIGHT
from cdn.fleet.position import Position

SNAPSHOTS = "control/snapshots/"
EPOCHS = "control/epochs/"
ENTRY_VERSION = 1
"""The version of marks and of entries of epochs that this program writes; it reads every version up to this one."""


class UnreadableEntry(CdnError):
    """A mark or an entry of an epoch is damaged, or of a newer program."""


@dataclass(frozen=True, slots=True)
class PartName:
    """What the key of an archived part says."""

    key: str
    first: int
    last: int


class KeptNode(msgspec.Struct, frozen=True):
    """A node as the directory remembers it: after a restore receipts name it until it says what it serves."""

    node_id: str
    program: str
    region: str
    record_version: int
    lease_s: float
    weight: int = DEFAULT_WEIGHT
    public_addresses: tuple[str, ...] = ()
    location: tuple[float, float] | None = None
    bias: int = 0


class Mark(msgspec.Struct, frozen=True):
    """Every record that the journal held at `at` (wall time in seconds) is archived; the last one is `sequence`."""

    version: int
    sequence: int
    at: float
    nodes: tuple[KeptNode, ...] = ()


class EpochEntry(msgspec.Struct, frozen=True):
    """`epoch` began at `begun_at` (wall time in seconds) and went on where `instead_of` ended; None: with nothing."""

    version: int
    epoch: str
    begun_at: float
    instead_of: Position | None = None


def snapshot_key(position: Position) -> str:
    """Where a snapshot lives; keys of an epoch sort by sequence."""
    return f"{SNAPSHOTS}{position.epoch}/{position.sequence:020d}"


def snapshot_prefix(epoch: str) -> str:
    """All snapshots of an epoch."""
    return f"{SNAPSHOTS}{epoch}/"


def sequence_of(snapshot: str) -> int:
    """The sequence that a snapshot's key names."""
    return int(snapshot.rsplit("/", 1)[1])


def part_key(epoch: str, first: int, last: int) -> str:
    """Where an archived part lives; keys of an epoch sort by first sequence."""
    return f"{part_prefix(epoch)}{first:020d}-{last:020d}"


def part_prefix(epoch: str) -> str:
    """All archived parts of an epoch."""
    return f"control/records/{epoch}/"


def part_name(key: str) -> PartName:
    """What a part's key says."""
    first, _, last = key.rsplit("/", 1)[1].partition("-")
    return PartName(key, int(first), int(last))


def mark_key(epoch: str) -> str:
    """Where it stands how far the archive of an epoch surely reaches."""
    return f"control/marks/{epoch}"


def epoch_key(number: int) -> str:
    """Where the epoch with this number in the order of epochs stands, from 1 on."""
    return f"{EPOCHS}{number:08d}"


def number_of(epoch_entry: str) -> int:
    """The number in an epoch's key."""
    return int(epoch_entry.rsplit("/", 1)[1])


def encode_entry(entry: Mark | EpochEntry) -> bytes:
    """JSON."""
    return msgspec.json.encode(entry)


def decode_mark(raw: bytes) -> Mark:
    """Raises UnreadableEntry."""
    try:
        mark = msgspec.json.decode(raw, type=Mark)
    except msgspec.MsgspecError as exc:
        raise UnreadableEntry(f"the archive's mark is damaged: {exc}") from exc
    _require_known(mark.version, "the archive's mark")
    return mark


def decode_epoch(raw: bytes) -> EpochEntry:
    """Raises UnreadableEntry."""
    try:
        entry = msgspec.json.decode(raw, type=EpochEntry)
    except msgspec.MsgspecError as exc:
        raise UnreadableEntry(f"the entry of an epoch is damaged: {exc}") from exc
    _require_known(entry.version, "the entry of an epoch")
    return entry


def _require_known(version: int, what: str) -> None:
    if version > ENTRY_VERSION:
        raise UnreadableEntry(
            f"{what} has version {version}, this program reads up to {ENTRY_VERSION}: upgrade this program"
        )
