"""What a coding process is asked, and how it codes: messages, levels, and the check that every result has to pass.

Nothing here is of control's state: a process that has only this makes coded forms of content that it is given.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

import brotli
import msgspec
import zstandard

from cdn.errors import CdnError, InvalidInput
from cdn.http.content_coding import CODINGS, MAX_CODED_BYTES

MAX_MESSAGE_BYTES: Final = (1 + len(CODINGS)) * MAX_CODED_BYTES + 64 * 1024
"""Content and a form of it for every coding, none larger than what is coded at all."""

MIN_GAIN_BYTES: Final = 256
MIN_GAIN: Final = 0.1
"""A form that saves less is not worth its object in the store and its place on every node."""

MAX_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Of zstd: browsers refuse a larger one (RFC 9659 section 3)."""

_MEGABYTE: Final = 1024 * 1024

EFFORT: Final[tuple[tuple[int, Mapping[str, int]], ...]] = (
    (_MEGABYTE, {"zstd": 19, "br": 11, "gzip": 9}),
    (4 * _MEGABYTE, {"zstd": 15, "br": 9, "gzip": 9}),
    (MAX_CODED_BYTES, {"zstd": 9, "br": 6, "gzip": 6}),
)
"""Levels by size, up to and including so many bytes: the best of each coding takes two seconds for a megabyte, and no
content takes more than some four (docs/decisions/038)."""

_LENGTH: Final = struct.Struct(">I")


class CodingFault(CdnError):
    """Coded content that cannot be decoded, or a message that makes no sense."""


class CodingJob(msgspec.Struct, frozen=True, array_like=True):
    """`codings`: what to make of `content`. `ready`: forms that somebody made already; a right one is taken."""

    content: bytes
    codings: tuple[str, ...]
    ready: dict[str, bytes] = {}


class CodingAnswer(msgspec.Struct, frozen=True, array_like=True):
    """By coding: the coded content, or None where it is the one in `ready`. One that does not pay is not there.

    `faults`: what was wrong with forms in `ready` that were not taken, a sentence each.
    """

    forms: dict[str, bytes | None]
    faults: tuple[str, ...] = ()


_encode_message = msgspec.msgpack.Encoder().encode
_read_job = msgspec.msgpack.Decoder(CodingJob).decode
_read_answer = msgspec.msgpack.Decoder(CodingAnswer).decode


def framed(message: CodingJob | CodingAnswer) -> bytes:
    """A message with its length before it. Raises CodingFault when it is too long."""
    raw = _encode_message(message)
    length_of(_LENGTH.pack(len(raw)))
    return _LENGTH.pack(len(raw)) + raw


HEAD_BYTES: Final = _LENGTH.size


def length_of(head: bytes) -> int:
    """How many bytes follow. Raises CodingFault beyond MAX_MESSAGE_BYTES."""
    (length,) = _LENGTH.unpack(head)
    if length > MAX_MESSAGE_BYTES:
        raise CodingFault(f"a message of {length} bytes, at most {MAX_MESSAGE_BYTES} are taken")
    return int(length)


def job_of(raw: bytes) -> CodingJob:
    """Raises CodingFault."""
    try:
        return _read_job(raw)
    except msgspec.MsgspecError as exc:
        raise CodingFault(f"this is no job: {exc}") from exc


def answer_of(raw: bytes) -> CodingAnswer:
    """Raises CodingFault."""
    try:
        return _read_answer(raw)
    except msgspec.MsgspecError as exc:
        raise CodingFault(f"this is no answer: {exc}") from exc


def pays(size_bytes: int, coded_bytes: int) -> bool:
    """Whether a coded form is worth keeping."""
    gain_bytes = size_bytes - coded_bytes
    return gain_bytes >= MIN_GAIN_BYTES and gain_bytes >= MIN_GAIN * size_bytes


def work(job: CodingJob) -> CodingAnswer:
    """Code content. Every form in the answer was decoded and is the content.

    Raises InvalidInput for content beyond MAX_CODED_BYTES and for unknown codings.
    """
    content = job.content
    if len(content) > MAX_CODED_BYTES or not set(job.codings) <= set(CODINGS):
        raise InvalidInput(f"{len(content)} bytes in {', '.join(job.codings)}: at most {MAX_CODED_BYTES} are coded")
    forms: dict[str, bytes | None] = {}
    faults: list[str] = []
    for coding in job.codings:
        ready = job.ready.get(coding)
        if ready is not None and pays(len(content), len(ready)):
            fault = fault_of(ready, coding, content)
            if fault is None:
                forms[coding] = None
                continue
            faults.append(f"{coding}: {fault}")
        coded = encode(content, coding)
        if not pays(len(content), len(coded)):
            continue
        if (fault := fault_of(coded, coding, content)) is not None:
            faults.append(f"{coding}, made here: {fault}")  # a library that is wrong must not reach a visitor
            continue
        forms[coding] = coded
    return CodingAnswer(forms, tuple(faults))


def encode(content: bytes, coding: str) -> bytes:
    """The content in that coding, at the level for its size. The same octets for the same content, as long as the
    libraries stay the same."""
    level = next(levels for most_bytes, levels in EFFORT if len(content) <= most_bytes)[coding]
    return _ENCODERS[coding](content, level)


def fault_of(coded: bytes, coding: str, content: bytes) -> str | None:
    """Why these octets are not `content` in that coding; None: they are. Takes no more memory than the content."""
    try:
        decoded = _DECODERS[coding](coded, len(content))
    except CodingFault as exc:
        return exc.message
    return None if decoded == content else "it is other content"


def _zstd(content: bytes, level: int) -> bytes:
    return zstandard.ZstdCompressor(level=level).compress(content)


def _br(content: bytes, level: int) -> bytes:
    return bytes(brotli.compress(content, quality=level))


def _gzip(content: bytes, level: int) -> bytes:
    """Without a time in its head, which would make every encoding another one."""
    coder = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return coder.compress(content) + coder.flush()


def _unzstd(coded: bytes, size_bytes: int) -> bytes:
    try:
        facts = zstandard.get_frame_parameters(coded)
        if facts.window_size > MAX_WINDOW_BYTES:
            raise CodingFault(f"its window of {facts.window_size} bytes is larger than browsers take")
        if facts.dict_id:
            raise CodingFault("it was made with a dictionary")
        if facts.content_size not in (size_bytes, zstandard.CONTENTSIZE_UNKNOWN):
            raise CodingFault("it is other content")  # so much memory would be taken for it
        decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        return decoder.decompress(coded, max_output_size=size_bytes, read_across_frames=False, allow_extra_data=False)
    except zstandard.ZstdError as exc:
        raise CodingFault(f"it cannot be decoded: {exc}") from exc


def _unbr(coded: bytes, size_bytes: int) -> bytes:
    decoder = brotli.Decompressor()
    try:
        decoded = decoder.process(coded, output_buffer_limit=size_bytes + 1)
        while not decoder.is_finished() and len(decoded) <= size_bytes:
            if decoder.can_accept_more_data():
                raise CodingFault("it breaks off")
            decoded += decoder.process(b"", output_buffer_limit=size_bytes + 1 - len(decoded))
    except brotli.error as exc:
        raise CodingFault("it cannot be decoded") from exc
    return bytes(decoded)


def _ungzip(coded: bytes, size_bytes: int) -> bytes:
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        decoded = decoder.decompress(coded, size_bytes + 1)
    except zlib.error as exc:
        raise CodingFault(f"it cannot be decoded: {exc}") from exc
    if not decoder.eof or decoder.unused_data or decoder.unconsumed_tail:
        raise CodingFault("it breaks off, or something follows it")
    return decoded


_ENCODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {"zstd": _zstd, "br": _br, "gzip": _gzip}
_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {"zstd": _unzstd, "br": _unbr, "gzip": _ungzip}
