"""A part of the archive: a run of records as one object, from which a lost journal is rebuilt (DESIGN I3, I14)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from cdn.errors import CdnError
from cdn.journal.record import Record, decode_record, encode_record

PART_VERSION = 1
"""The version this program writes; it reads every version up to this one."""

MAX_PART_BYTES = 32 * 1024 * 1024
"""A part unpacks to at most this much. Writers end one well before: a read of a journal gives some 8 MiB at most."""


class UnreadablePart(CdnError):
    """A part of a newer version, or damaged."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`records`, each still encoded, have the sequences `first` to `last` of `epoch`, without a hole.

    `written_at` is wall time in seconds. Parts of one epoch may overlap; then they say the same.
    """

    version: int
    epoch: str
    first: int
    last: int
    written_at: float
    records: tuple[msgspec.Raw, ...]

    def record(self, sequence: int) -> Record:
        """The record with this sequence, which is between `first` and `last`. Raises UnknownRecord, UnreadablePart."""
        record = decode_record(bytes(self.records[sequence - self.first]))
        if record.epoch != self.epoch or record.sequence != sequence:
            raise UnreadablePart(f"record {sequence} of {self.epoch} is {record.position}")
        return record


class _Head(msgspec.Struct):
    version: int


def part_of(records: Sequence[Record], written_at: float) -> Part:
    """A part of these records, of which there is at least one and which follow each other."""
    first, last = records[0], records[-1]
    raws = tuple(msgspec.Raw(encode_record(record)) for record in records)
    return Part(PART_VERSION, first.epoch, first.sequence, last.sequence, written_at, raws)


def encode_part(part: Part) -> bytes:
    """JSON, deflated; the check sum of the deflated form finds damage."""
    return zlib.compress(msgspec.json.encode(part), 3)


def decode_part(raw: bytes) -> Part:
    """The part in `raw`. Raises UnreadablePart."""
    try:
        inflate = zlib.decompressobj()
        content = inflate.decompress(raw, MAX_PART_BYTES)
        if not inflate.eof:
            raise UnreadablePart(f"it is cut off or larger than {MAX_PART_BYTES} bytes")
        version = msgspec.json.decode(content, type=_Head).version
        if version > PART_VERSION:
            raise UnreadablePart(
                f"it has version {version}, this program reads up to {PART_VERSION}: upgrade this program"
            )
        part = msgspec.json.decode(content, type=Part)
    except (zlib.error, msgspec.MsgspecError) as exc:
        raise UnreadablePart(f"it is damaged: {exc}") from exc
    if len(part.records) != part.last - part.first + 1:
        raise UnreadablePart(f"it has {len(part.records)} records for {part.first} to {part.last}")
    return part
