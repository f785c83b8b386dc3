"""Reading what a request carries, within bounds, and writing what an answer carries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec
from aiohttp import ClientPayloadError, web

from cdn.control.problem import invalid_json
from cdn.control.settings import ControlSettings, Patience
from cdn.errors import InvalidInput, TooLarge

T = TypeVar("T")

DECODE_ASIDE_BYTES = 256 * 1024
"""Longer JSON is decoded on a thread: the loop also answers heartbeats."""

MAX_VALUES_PER_FILE = 16
"""Commas and opening brackets for one file of a manifest: 7 at most, chunk digests apart, and some in its path."""

_SEPARATORS = (b",", b"[", b"{")

PATIENCE = Patience()
"""With content that holds no slot."""

_encoder = msgspec.json.Encoder()


async def pieces(
    request: web.Request, max_bytes: int, patience: Patience, received_bytes: int = 0
) -> AsyncIterator[bytes]:
    """The request's content as it arrives; `received_bytes` of it were read before.

    Raises TooLarge as soon as it is known to be longer than `max_bytes`; InvalidInput when the caller hangs up, or
    `patience` is over: only time in which content is waited for counts.
    """
    announced = request.content_length or 0  # of chunked content nothing is announced
    if max(announced, received_bytes) > max_bytes:
        raise _too_large(max_bytes)
    clock = asyncio.get_running_loop().time
    waited_s = 0.0
    while True:
        left_s = patience.stall_s + received_bytes / patience.min_rate_bytes_per_s - waited_s
        asked_at = clock()
        try:
            async with asyncio.timeout(min(patience.stall_s, left_s)):
                piece = await request.content.readany()
        except TimeoutError as error:
            raise InvalidInput(_too_slow(patience, is_silent=left_s >= patience.stall_s)) from error
        except (web.RequestPayloadError, ClientPayloadError, ConnectionError) as error:
            raise InvalidInput("The request's content ended early.") from error
        if not piece:
            return
        waited_s += clock() - asked_at
        received_bytes += len(piece)
        if received_bytes > max_bytes:
            raise _too_large(max_bytes)
        yield piece


async def read_content(
    request: web.Request, max_bytes: int, begun: bytes = b"", patience: Patience = PATIENCE
) -> bytes:
    """All content of the request; `begun` is what was read of it before. Raises as `pieces`."""
    content = bytearray(begun)
    async for piece in pieces(request, max_bytes, patience, len(begun)):
        content += piece
    return bytes(content)


async def read_manifest_json(request: web.Request, kind: type[T], settings: ControlSettings, begun: bytes = b"") -> T:
    """`read_json` for content that names every file of a bundle, `begun` being what was read of it before.

    Raises TooLarge also for content of more values than such a bundle has: a megabyte of them costs a hundred
    megabytes, and the interpreter for seconds.
    """
    raw = await read_content(request, settings.max_manifest_bytes, begun, settings.patience)
    most = MAX_VALUES_PER_FILE * settings.bundle.max_files
    if sum(map(raw.count, _SEPARATORS)) > most:
        raise TooLarge(
            f"The request's content has more than {most} values, more than a bundle of {settings.bundle.max_files} "
            "files needs."
        )
    return await decode_json(raw, kind)


async def read_json(request: web.Request, kind: type[T], max_bytes: int) -> T:
    """The request's content as `kind`; no content counts as an empty object.

    Raises InvalidInput naming the field that does not fit; TooLarge.
    """
    return await decode_json(await read_content(request, max_bytes), kind)


async def decode_json(raw: bytes, kind: type[T]) -> T:
    """`raw` as `kind`. Raises InvalidInput naming the field that does not fit."""
    raw = raw or b"{}"
    if len(raw) > DECODE_ASIDE_BYTES:
        return await asyncio.to_thread(_decode, raw, kind)
    return _decode(raw, kind)


def _decode(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise invalid_json(error) from error
    except RecursionError as error:
        raise InvalidInput("The request's content is nested too deeply.") from error


def json_response(value: Any, status: int = 200) -> web.Response:
    """An answer that no cache keeps."""
    return web.Response(
        status=status,
        body=_encoder.encode(value),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )


def _too_slow(patience: Patience, *, is_silent: bool) -> str:
    if is_silent:
        return f"Nothing more of the request's content came for {patience.stall_s:g} s."
    return f"The request's content came at less than {patience.min_rate_bytes_per_s:g} bytes a second."


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The request's content may have at most {max_bytes} bytes.")
