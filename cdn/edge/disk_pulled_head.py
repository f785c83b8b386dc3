"""A pulled response's head as bytes in the disk index: MessagePack, positional, with a version in front."""

from __future__ import annotations

from sys import intern
from typing import Final

import msgspec

from cdn.edge.stored import PulledHead
from cdn.http.fields import FieldLines, Fields
from cdn.http.response_head import ResponseHead

HEAD_VERSION = 1
"""The layout of `_Packed`. An index whose heads have another one was written by another version of this program."""

MAX_HEAD_BYTES = 64 * 1024
"""Longest packed head. Heads from upstream are bounded when they are read; what memory keeps of them follows from this.
"""


MAX_SHARED_LINES = 4096
"""Field lines that heads in memory share, of at most MAX_SHARED_BYTES each: 3 MiB at worst. Without, a head of ten
lines takes 1 KiB more of what is known of each response."""

MAX_SHARED_BYTES = 512

_OF_ONE_RESPONSE: Final = frozenset(("age", "content-length", "date", "etag", "expires", "last-modified", "set-cookie"))
"""Fields that hardly two responses have alike."""

_shared: Final[dict[tuple[str, str], tuple[str, str]]] = {}


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
        head=ResponseHead(read.status, Fields(tuple(map(_share, read.lines)))),
        selecting=read.selecting,
        requested_at=read.requested_at,
        received_at=read.received_at,
        complete_length=read.complete_length,
        part_start=read.part_start,
        coding=read.coding,
        base_incarnation=read.base_incarnation,
    )


def _share(line: tuple[str, str]) -> tuple[str, str]:
    """The same line, as other heads in memory have it."""
    name, value = line
    if name in _OF_ONE_RESPONSE:
        return intern(name), value
    if len(name) + len(value) > MAX_SHARED_BYTES:
        return line
    known = _shared.get(line)
    if known is None:
        if len(_shared) >= MAX_SHARED_LINES:
            _shared.clear()
        known = _shared[line] = line
    return known
