"""The entries of a zip. Its directory stands at its end, so it has to be whole before anything is read."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from cdn.errors import InvalidInput, TooLarge
from cdn.origin.bundle.digest import Readable
from cdn.origin.bundle.staging import Staging

COPY_BYTES = 256 * 1024

MAX_DIRECTORY_BYTES = 256 * 1024 * 1024
"""Bound of the directory of a zip, which is read whole: 200,000 entries with the longest names and attributes."""

_ENTRY_MARK = b"PK\x01\x02"
_ENTRY_BYTES = 46
_ENCRYPTED = 0x1
_UTF8 = 0x800
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def unpack_zip(archive: BinaryIO, source: Readable, staging: Staging) -> None:
    """Put every file of a zip into the staging; a zip that cannot be sought is spooled there first.

    Raises InvalidInput, TooLarge, Unavailable.
    """
    if archive.seekable():
        _unpack_seekable(archive, staging)
        return
    spool = staging.new_file()
    staging.copy(spool, iter(lambda: source.read(COPY_BYTES), b""))
    with spool.open("rb") as file:
        _unpack_seekable(file, staging)
    spool.unlink()


def _unpack_seekable(archive: BinaryIO, staging: Staging) -> None:
    archive_bytes = archive.seek(0, 2)
    unpacked_bytes = 0
    try:
        with zipfile.ZipFile(_Guard(archive, staging)) as entries:
            for entry in entries.infolist():
                name = _name_of(entry)
                staging.begin(name)
                _check_kind(entry, name)
                if name.endswith("/"):
                    staging.check_folder(name)
                    continue
                unpacked_bytes += entry.file_size
                staging.check_ratio(unpacked_bytes, archive_bytes)
                staging.write(name, entry.file_size, _content(entries, entry))
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"The name {exc.object!r} in the archive is not valid UTF-8.") from exc
    except _DAMAGE as exc:
        raise InvalidInput(f"The zip is damaged{staging.at_entry()}: {exc}.") from exc


def _content(entries: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    with entries.open(entry) as content:
        while piece := content.read(COPY_BYTES):
            yield piece


def _name_of(entry: zipfile.ZipInfo) -> str:
    """The name as UTF-8: many programs write it so without saying it, and `zipfile` then takes it for code page 437."""
    if entry.flag_bits & _UTF8:
        return entry.orig_filename
    raw = entry.orig_filename.encode("cp437")
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise InvalidInput(f"The name {raw!r} in the archive is not valid UTF-8.") from exc


def _check_kind(entry: zipfile.ZipInfo, name: str) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise InvalidInput(f"{name!r} is a symbolic link; a bundle has only files and folders.")
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise InvalidInput(f"{name!r} is a device, pipe or socket; a bundle has only files and folders.")
    if entry.flag_bits & _ENCRYPTED:
        raise InvalidInput(f"{name!r} is encrypted; pack it without a password.")
    if entry.compress_type not in _METHODS:
        raise InvalidInput(f"{name!r} is compressed by a method other than deflate; pack it with deflate.")


class _Guard:
    """The archive as `zipfile` may read it: by itself it reads a directory of any size and keeps every entry."""

    def __init__(self, archive: BinaryIO, staging: Staging) -> None:
        self._archive = archive
        self._max_entries = staging.limits.max_entries
        self.tell = archive.tell
        self.seekable = archive.seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go there. Raises BadZipFile for a place before the beginning."""
        if whence == 0 and offset < 0:
            raise zipfile.BadZipFile("an entry begins before the archive")
        return self._archive.seek(offset, whence)

    def read(self, size_bytes: int = -1) -> bytes:
        """At most this many bytes; without a size at most MAX_DIRECTORY_BYTES. Raises TooLarge."""
        if size_bytes > MAX_DIRECTORY_BYTES:
            raise TooLarge(f"The zip has a directory of {size_bytes} bytes, at most {MAX_DIRECTORY_BYTES} are allowed.")
        piece = self._archive.read(size_bytes if size_bytes >= 0 else MAX_DIRECTORY_BYTES)
        if piece.startswith(_ENTRY_MARK):
            self._check_count(piece)
        return piece

    def _check_count(self, directory: bytes) -> None:
        count = position = 0
        while directory.startswith(_ENTRY_MARK, position) and len(directory) - position >= _ENTRY_BYTES:
            count += 1
            if count > self._max_entries:
                raise TooLarge(f"The archive has more than {self._max_entries} entries, the limit.")
            variable = directory[position + 28 : position + 34]
            position += _ENTRY_BYTES + sum(int.from_bytes(variable[start : start + 2], "little") for start in (0, 2, 4))
