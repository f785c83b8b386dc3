"""What may be wrong between a store and its users: bytes that changed, ends that are missing, no haste."""

from __future__ import annotations

import asyncio

SLOW_S = 0.4
"""Before each piece of a slow answer."""

SLOW_BYTES = 8 * 1024

UNAVAILABLE = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 57\r\nConnection: close\r\n\r\n"
    b"<Error><Code>SlowDown</Code><Message>no</Message></Error>"
)
"""What S3 says when it has too much to do."""

_HEAD_END = b"\r\n\r\n"


def _content_at(data: bytes) -> int:
    """Where the content begins: behind a head, if there is one."""
    return data.find(_HEAD_END) + len(_HEAD_END) if _HEAD_END in data else 0


async def flip(data: bytes, writer: asyncio.StreamWriter) -> None:
    """Change one byte in the middle of the content."""
    content_at = _content_at(data)
    if content_at < len(data):
        middle = (content_at + len(data)) // 2
        data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    writer.write(data)
    await writer.drain()


async def truncate(data: bytes, writer: asyncio.StreamWriter) -> None:
    """Pass the head and half of what content came with it; then nothing more."""
    content_at = _content_at(data)
    if content_at == len(data):
        writer.write(data)
        await writer.drain()
        return
    writer.write(data[: (content_at + len(data)) // 2])
    await writer.drain()
    raise ConnectionAbortedError("the rest is missing")


async def slow(data: bytes, writer: asyncio.StreamWriter) -> None:
    """Think before each piece."""
    for start in range(0, len(data), SLOW_BYTES):
        await asyncio.sleep(SLOW_S)
        writer.write(data[start : start + SLOW_BYTES])
        await writer.drain()
