"""Frames between a node and its workers: a message, or bytes of content, each with its length before it.

Both ends are the same program on the same machine, started together, so the frames carry no version (DESIGN I14 is
about what leaves the machine). A frame that cannot be read ends the connection, and its worker.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

from cdn.errors import CdnError

MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
"""A snapshot of the catalog is the largest: 100,000 sites with their deploys."""

MAX_CONTENT_BYTES: Final = 1024 * 1024
"""Of one frame: content goes in parts, so that nothing waits long for a large one."""

_HEAD = struct.Struct("!BI")
HEAD_BYTES: Final = _HEAD.size
"""What stands before each frame's bytes."""

_MESSAGE = 0
_CONTENT = 1


class FrameFault(CdnError):
    """What came is no frame, or one that has no place here."""


def encode_frame_head(size_bytes: int, *, is_content: bool) -> bytes:
    """What stands before `size_bytes` of a message or of content."""
    return _HEAD.pack(_CONTENT if is_content else _MESSAGE, size_bytes)


def encode_message_frame(message: bytes) -> bytes:
    """A whole frame."""
    return encode_frame_head(len(message), is_content=False) + message


def decode_frame_head(data: bytes, at: int = 0) -> tuple[bool, int]:
    """Whether the frame that begins at `at` is content, and its size in bytes. Raises FrameFault for what is none."""
    kind, size_bytes = _HEAD.unpack_from(data, at)
    if kind not in {_MESSAGE, _CONTENT}:
        raise FrameFault(f"a frame of kind {kind}: there are {_MESSAGE} (message) and {_CONTENT} (content)")
    limit = MAX_CONTENT_BYTES if kind == _CONTENT else MAX_MESSAGE_BYTES
    if size_bytes > limit:
        raise FrameFault(f"a frame of {size_bytes} bytes, at most {limit} may be in one")
    return kind == _CONTENT, size_bytes


async def read_frame(reader: asyncio.StreamReader) -> tuple[bool, bytes]:
    """Whether it is content, and the bytes.

    Raises asyncio.IncompleteReadError when the connection ends, FrameFault for what is no frame.
    """
    is_content, size_bytes = decode_frame_head(await reader.readexactly(HEAD_BYTES))
    return is_content, await reader.readexactly(size_bytes)
