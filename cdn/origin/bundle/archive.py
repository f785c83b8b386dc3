"""An archive to the files of a bundle: .zip, .tar, .tar.gz and .tar.zst, told apart by their first bytes.

Archives are hostile until proven otherwise: one is taken whole or refused whole, with the name that is at fault.
"""

from __future__ import annotations

import gzip
import zlib
from enum import Enum
from pathlib import Path
from typing import BinaryIO, assert_never

import zstandard

from cdn.errors import InvalidInput
from cdn.origin.bundle.admission import SourceFile
from cdn.origin.bundle.digest import Readable, read_exactly
from cdn.origin.bundle.staging import ArchiveLimits, Staging
from cdn.origin.bundle.tar import TAR_HEADER_BYTES, is_tar_header, unpack_tar
from cdn.origin.bundle.zip import unpack_zip

__all__ = ["ArchiveFormat", "ArchiveLimits", "sniff_format", "unpack"]

MAX_ZSTD_WINDOW_BYTES = 128 * 1024 * 1024
"""Memory that unpacking a .tar.zst may take: what the zstd program itself allows without being told."""


class ArchiveFormat(Enum):
    """What `unpack` takes."""

    ZIP = "zip"
    TAR = "tar"
    TAR_GZIP = "tar.gz"
    TAR_ZSTD = "tar.zst"


def sniff_format(head: bytes) -> ArchiveFormat | None:
    """The format of content with these first bytes (512, if it has so many); None when it is in no known one."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ArchiveFormat.ZIP
    if head.startswith(b"\x1f\x8b"):
        return ArchiveFormat.TAR_GZIP
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return ArchiveFormat.TAR_ZSTD
    if is_tar_header(head[:TAR_HEADER_BYTES]):
        return ArchiveFormat.TAR
    return None


def unpack(archive: BinaryIO, into: Path, limits: ArchiveLimits | None = None) -> list[SourceFile]:
    """Unpack into a folder, under names of our own; the files' own paths are in the answer, sorted.

    A tar is unpacked while it arrives; a zip that cannot be sought is put into the folder first. `.git` and `.DS_Store`
    are left out. Blocks: call it in a thread. On any error nothing of it is left in the folder. Raises InvalidInput
    (TooLarge over a limit) naming the entry at fault, Unavailable when the disk is full, what `archive.read` raises.
    """
    source = _Source(archive)
    staging = Staging(into, limits or ArchiveLimits())
    with staging.removed_on_error():
        found = sniff_format(source.head)
        match found:
            case ArchiveFormat.ZIP:
                unpack_zip(archive, source, staging)
            case ArchiveFormat.TAR:
                unpack_tar(source, source, staging)
            case ArchiveFormat.TAR_GZIP:
                _unpack_gzip(source, staging)
            case ArchiveFormat.TAR_ZSTD:
                _unpack_zstd(source, staging)
            case None:
                raise InvalidInput("This is no archive that is known; send a .zip, .tar, .tar.gz or .tar.zst.")
            case _:
                assert_never(found)
    return staging.files()


def _unpack_gzip(source: _Source, staging: Staging) -> None:
    try:
        with gzip.GzipFile(fileobj=source, mode="rb") as content:  # type: ignore[call-overload]  # it only reads
            unpack_tar(content, source, staging)
    except (gzip.BadGzipFile, zlib.error, EOFError) as exc:
        raise InvalidInput(f"The .tar.gz is damaged or incomplete{staging.at_entry()}: {exc}.") from exc


def _unpack_zstd(source: _Source, staging: Staging) -> None:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(source, read_across_frames=True, closefd=False) as content:  # type: ignore[arg-type]
            unpack_tar(content, source, staging)
    except zstandard.ZstdError as exc:
        raise InvalidInput(f"The .tar.zst is damaged or incomplete{staging.at_entry()}: {exc}.") from exc


class _Source:
    """The archive as it arrives: its first bytes can be looked at, and what was read is counted."""

    def __init__(self, archive: Readable) -> None:
        self._archive = archive
        self.head = read_exactly(archive, TAR_HEADER_BYTES)
        self._unread = self.head
        self.read_bytes = len(self.head)

    def read(self, size_bytes: int = -1, /) -> bytes:
        """At most this many bytes, at least one unless at the end."""
        if self._unread:
            count = len(self._unread) if size_bytes < 0 else size_bytes
            piece, self._unread = self._unread[:count], self._unread[count:]
            return piece
        piece = self._archive.read(size_bytes)
        self.read_bytes += len(piece)
        return piece
