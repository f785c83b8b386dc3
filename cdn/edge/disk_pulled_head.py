"""A pulled response's head as bytes in the disk index: MessagePack, positional, with a version in front."""

from __future__ import annotations

import msgspec

from cdn.edge.stored import PulledHead
from cdn.http.fields import FieldLines, Fields
from cdn.http.response_head import ResponseHead

HEAD_VERSION = 1
"""The layout of `_Packed`. An index whose heads have another one was written by another version of this program."""

MAX_HEAD_BYTES = 64 * 1024
"""Longest packed head. Heads from upstream are bounded when they are read; what memory keeps of them follows from this.
"""


class UnreadableHead(ValueError):
    """These bytes are not a head that `pack_head` gave."""


class _Packed(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    version: int
    status: int
    lines: FieldLines
    selecting: tuple[tuple[str, str | None], ...]
    requested_at: float
    received_at: float
    complete_length: int | None
    part_start: int
    coding: str | None
    base_incarnation: int


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Packed)


def pack_head(pulled: PulledHead) -> bytes | None:
    """The head as bytes; None when it is longer than MAX_HEAD_BYTES, or has text or numbers that cannot be kept."""
    head = pulled.head
    try:
        packed = _ENCODER.encode(
            _Packed(
                HEAD_VERSION,
                head.status,
                head.fields.lines,
                pulled.selecting,
                pulled.requested_at,
                pulled.received_at,
                pulled.complete_length,
                pulled.part_start,
                pulled.coding,
                pulled.base_incarnation,
            )
        )
    except (ValueError, OverflowError):  # lone surrogates; lengths beyond 64 bits
        return None
    return packed if len(packed) <= MAX_HEAD_BYTES else None


def unpack_head(packed: bytes) -> PulledHead:
    """What was packed. Raises UnreadableHead."""
    try:
        read = _DECODER.decode(packed)
    except msgspec.MsgspecError as exc:
        raise UnreadableHead(f"a stored response's head cannot be read: {exc}") from exc
    if read.version != HEAD_VERSION:
        raise UnreadableHead(f"a stored response's head has version {read.version}, not {HEAD_VERSION}")
    return PulledHead(
        head=ResponseHead(read.status, Fields(read.lines)),
        selecting=read.selecting,
        requested_at=read.requested_at,
        received_at=read.received_at,
        complete_length=read.complete_length,
        part_start=read.part_start,
        coding=read.coding,
        base_incarnation=read.base_incarnation,
    )
