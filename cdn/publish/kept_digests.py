"""Digests kept from the last deploy of a folder, so that files that have not changed since are not read again.

A file counts as unchanged while its size, its times of modification and of change, and its inode are what they were;
programs cannot set the time of change back. A file that changed just before it was hashed is not kept, since it could
change again within the same tick of the file system's clock.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from cdn.origin.bundle.admission import SourceFile
from cdn.sites.manifest import FileEntry

VERSION = 1
"""Of the files below; one of another version is passed over and written anew."""

MAX_FOLDERS = 64
"""Folders whose digests are kept, about 170 bytes for each of their files; those deployed longest ago go first."""

SETTLED_NS = 2_000_000_000
"""How long a file must have been left alone when it is hashed: the coarsest clock of a file system in use."""


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    size_bytes: int
    stamp: tuple[int, int, int]
    digest: str
    chunk_digests: tuple[str, ...] = ()


class _Document(msgspec.Struct, frozen=True):
    version: int
    root: str
    files: dict[str, _Kept]


class KeptDigests:
    """The digests kept of one folder, in a file of `directory`. Losing it, or failing to write it, only costs time."""

    def __init__(self, directory: Path, root: Path) -> None:
        self._root = str(root.resolve())
        self._path = directory / f"{hashlib.sha256(os.fsencode(self._root)).hexdigest()[:32]}.json"
        self._files = self._read()

    def entries(self, files: Sequence[SourceFile]) -> dict[str, FileEntry]:
        """The entries of those files that are as they were."""
        kept_files = self._files
        found: dict[str, FileEntry] = {}
        for file in files:
            kept = kept_files.get(file.path)
            if kept is not None and kept.stamp == file.stamp and kept.size_bytes == file.size_bytes:
                found[file.path] = FileEntry(kept.digest, kept.size_bytes, kept.chunk_digests)
        return found

    def keep(self, files: Sequence[SourceFile], entries: Mapping[str, FileEntry], scanned_ns: int) -> bool:
        """Keep what was hashed after a scan that began at `scanned_ns` (wall time); whether it could be written."""
        settled_ns = scanned_ns - SETTLED_NS
        files_kept: dict[str, _Kept] = {}
        for file in files:
            entry, kept = entries[file.path], self._files.get(file.path)
            if kept is not None and kept.stamp == file.stamp and kept.digest == entry.digest:
                files_kept[file.path] = kept
            elif file.stamp is not None and max(file.stamp[:2]) < settled_ns and entry.size_bytes == file.size_bytes:
                files_kept[file.path] = _Kept(entry.size_bytes, file.stamp, entry.digest, entry.chunk_digests)
        if files_kept == self._files:
            return True
        try:
            self._write(msgspec.json.encode(_Document(VERSION, self._root, files_kept)))
            self._trim()
        except (OSError, UnicodeEncodeError):
            return False
        return True

    def _read(self) -> dict[str, _Kept]:
        try:
            document = msgspec.json.decode(self._path.read_bytes(), type=_Document)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return {}
        is_ours = document.version == VERSION and document.root == self._root
        return document.files if is_ours else {}

    def _write(self, content: bytes) -> None:
        """Whole or not at all; readable by its owner only, since names of files may be private."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).replace(self._path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _trim(self) -> None:
        """Keep MAX_FOLDERS of these files; one that another deploy removes meanwhile is gone as it should be."""
        dated = []
        with os.scandir(self._path.parent) as listing:
            for entry in listing:
                dated.append((entry.stat().st_mtime_ns, entry.path))
        for _, path in sorted(dated)[:-MAX_FOLDERS]:
            Path(path).unlink(missing_ok=True)
