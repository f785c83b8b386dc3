"""Content codings, taken off again."""

from __future__ import annotations

import gzip
import zlib

import brotli
import zstandard


def decoded(content: bytes, coding: str) -> bytes | None:
    """The identity form of what was coded; None when it cannot be decoded."""
    try:
        match coding:
            case "gzip":
                return gzip.decompress(content)
            case "br":
                return bytes(brotli.decompress(content))
            case "zstd":
                return zstandard.ZstdDecompressor().decompressobj().decompress(content)
            case _:
                return None
    except (OSError, EOFError, zlib.error, brotli.error, zstandard.ZstdError):
        return None
