"""The entries of a tar, read once from its beginning to its end.

`tarfile` reads the headers; it is fed by a guard, because by itself it takes headers of any size, and takes damage or a
tar that breaks off for its end.
"""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Iterator
from typing import Protocol

from cdn.errors import InvalidInput, TooLarge
from cdn.origin.bundle.digest import Readable, read_exactly
from cdn.origin.bundle.staging import Staging

TAR_HEADER_BYTES = 512

MAX_EXTENDED_HEADER_BYTES = 64 * 1024
"""Bound of one read for a header: the longest names and attributes that tar programs write are far shorter."""

COPY_BYTES = MAX_EXTENDED_HEADER_BYTES

_END_MARK = bytes(TAR_HEADER_BYTES)
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


class Counted(Protocol):
    """Knows how much of the archive, as it was sent, has been read."""

    read_bytes: int


def is_tar_header(block: bytes) -> bool:
    """Whether a tar may begin with this block: a header with its checksum, or the mark of the end."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # it is there, but typeshed does not know it
        return True
    except tarfile.HeaderError:
        return False
    return True


def unpack_tar(content: Readable, source: Counted, staging: Staging) -> None:
    """Put every file of a tar into the staging. Raises InvalidInput, TooLarge, and what reading raises."""
    guard = _Guard(content, source, staging)
    try:
        with tarfile.open(fileobj=guard, mode="r:", encoding="utf-8", errors="surrogateescape") as entries:  # type: ignore[call-overload]
            while (entry := entries.next()) is not None:
                _take(entry, guard, staging)
                entries.members.clear()  # a bound: it would remember every entry
    except RecursionError as exc:  # tarfile calls itself for the header that follows
        raise InvalidInput(f"The tar is damaged{staging.at_entry()}: it has headers upon headers.") from exc
    except tarfile.TarError as exc:
        raise InvalidInput(f"The tar is damaged{staging.at_entry()}: {exc}.") from exc
    except (struct.error, ValueError, OverflowError) as exc:
        raise InvalidInput(f"The tar is damaged{staging.at_entry()}: a header of it makes no sense.") from exc
    guard.finish()


def _take(entry: tarfile.TarInfo, guard: _Guard, staging: Staging) -> None:
    name = entry.name
    staging.begin(name)
    if not name.isascii():
        _check_utf8(name)
    if entry.size < 0:
        raise InvalidInput(f"The tar is damaged at {name!r}: it has a negative size.")
    if entry.isdir():
        staging.check_folder(name)
    elif entry.issparse():
        raise InvalidInput(f"{name!r} is a sparse file; pack it without holes.")
    elif entry.isreg():
        staging.write(name, entry.size, guard.content(entry.size))
    else:
        kind = _KINDS.get(entry.type, "of an unknown kind")
        raise InvalidInput(f"{name!r} is {kind}; a bundle has only files and folders.")


def _check_utf8(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raw = name.encode(errors="surrogateescape")
        raise InvalidInput(f"The name {raw!r} in the archive is not valid UTF-8.") from exc


class _Guard:
    """A file that goes only forward, bounds every read, and remembers how the tar ended."""

    def __init__(self, content: Readable, source: Counted, staging: Staging) -> None:
        self._content = content
        self._source = source
        self._staging = staging
        self._position = 0
        self._last = b""
        self._max_bytes = staging.limits.max_stream_bytes

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def read(self, size_bytes: int) -> bytes:
        """This many bytes, fewer only at the end."""
        if not 0 <= size_bytes <= MAX_EXTENDED_HEADER_BYTES:
            raise TooLarge(
                f"The tar has a header of {size_bytes} bytes{self._staging.at_entry()}, "
                f"at most {MAX_EXTENDED_HEADER_BYTES} are allowed."
            )
        self._last = read_exactly(self._content, size_bytes)
        self._position += len(self._last)
        if self._position > self._max_bytes:
            raise TooLarge(f"The archive unpacks to more than {self._max_bytes} bytes{self._staging.at_entry()}.")
        self._staging.check_ratio(self._position, self._source.read_bytes)
        return self._last

    def seek(self, position: int) -> None:
        """Read on until there, or to the end."""
        if position < self._position:
            raise InvalidInput(f"The tar is damaged{self._staging.at_entry()}: its sizes lead backwards.")
        while self._position < position and self.read(min(COPY_BYTES, position - self._position)):
            pass

    def content(self, size_bytes: int) -> Iterator[bytes]:
        """The next so many bytes in pieces, fewer only when the tar ends."""
        end = self._position + size_bytes
        while self._position < end and (piece := self.read(min(COPY_BYTES, end - self._position))):
            yield piece

    def finish(self) -> None:
        """Read to the end, which also checks the checksum of what it was compressed with.

        Raises InvalidInput unless the tar ended with its mark and nothing but padding follows.
        """
        if self._last != _END_MARK:
            raise InvalidInput(f"The tar is damaged or incomplete{self._staging.at_entry()}: it has no end mark.")
        while piece := self.read(COPY_BYTES):
            if piece.strip(b"\0"):
                raise InvalidInput("The tar has content after its end mark; send one tar, not several joined.")
