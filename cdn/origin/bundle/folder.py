"""The files of a bundle that lies in a folder."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cdn.errors import InvalidInput
from cdn.origin.bundle.admission import IGNORED_NAMES, Admission, SourceFile
from cdn.origin.bundle.digest import digest_content
from cdn.sites.manifest import CHUNK_BYTES, DEFAULT_LIMITS, BundleLimits, FileEntry

__all__ = ["SourceFile", "hash_folder", "scan_folder"]

FILES_PER_TURN = 32
"""Files that a thread hashes in one go: handing over a single small one would cost more than hashing it."""


def scan_folder(
    root: Path, limits: BundleLimits = DEFAULT_LIMITS, left_out: set[str] | None = None
) -> list[SourceFile]:
    """Every file below a folder, sorted by path, but for `.git` and `.DS_Store` anywhere: `left_out` collects those.

    Links count as what they point to when that lies in the folder. Raises InvalidInput, naming the file, for links that
    are broken, point outside or to a folder around them, for devices and pipes, and for names that cannot be a path or
    collide; TooLarge when over a limit.
    """
    real_root = root.resolve()
    if not real_root.is_dir():
        raise InvalidInput(f"{root} is not a folder.", field="source")
    admission = Admission(limits)
    found = []
    for path, place, status in _walk(str(real_root), set() if left_out is None else left_out):
        admission.admit(path)
        admission.admit_bytes(path, status.st_size, status.st_size)
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        found.append(SourceFile(path, place, status.st_size, stamp))
    return sorted(found, key=lambda source: source.path)


def hash_folder(files: Sequence[SourceFile], workers: int | None = None) -> dict[str, FileEntry]:
    """The entry of each file by its path; `workers` threads (default: one per core) read and hash at once.

    Raises InvalidInput naming a file that cannot be read.
    """
    turns = [files[start : start + FILES_PER_TURN] for start in range(0, len(files), FILES_PER_TURN)]
    with ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="hash") as threads:
        return {path: entry for hashed in threads.map(_hash_files, turns) for path, entry in hashed}


def _hash_files(files: Sequence[SourceFile]) -> list[tuple[str, FileEntry]]:
    return [(source.path, _hash_file(source)) for source in files]


def _hash_file(source: SourceFile) -> FileEntry:
    try:
        descriptor = os.open(source.place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _small_entry(descriptor, source.size_bytes) or _entry_of(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise _unreadable(source.file, exc) from exc


def _small_entry(descriptor: int, size_bytes: int) -> FileEntry | None:
    """The entry of a file below a chunk in size, in as few calls as can be; None when it is larger or has grown."""
    if size_bytes >= CHUNK_BYTES:
        return None
    content = os.read(descriptor, size_bytes + 1)
    return FileEntry(hashlib.sha256(content).hexdigest(), size_bytes) if len(content) == size_bytes else None


def _entry_of(descriptor: int) -> FileEntry:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
        return digest_content(file)


def _walk(root: str, left_out: set[str]) -> Iterator[tuple[str, str, os.stat_result]]:
    """Path in the bundle, place and facts of every file below a folder, in no order."""
    around: tuple[str, ...] = (root,)  # the real places of a folder and of those it lies in, the root first
    waiting = [(root, "", around)]
    while waiting:
        folder, path, around = waiting.pop()
        for entry in _listed(folder):
            if entry.name in IGNORED_NAMES:
                left_out.add(entry.name)
                continue
            inner = f"{path}/{entry.name}"
            if is_link := entry.is_symlink():
                _check_link(inner, Path(entry.path), [Path(place) for place in around])
            status = None if entry.is_dir() else _status(entry)
            if status is None:
                # Only a link leads elsewhere; asking the system where every folder lies would take half of the scan.
                place = str(Path(entry.path).resolve()) if is_link else f"{around[-1]}/{entry.name}"
                waiting.append((entry.path, inner, (*around, place)))
            elif stat.S_ISREG(status.st_mode):
                yield inner, entry.path, status
            else:
                raise InvalidInput(f"{inner!r} is a device, pipe or socket; a bundle has only files.", field="source")


def _listed(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except OSError as exc:
        raise _unreadable(Path(folder), exc) from exc


def _check_link(path: str, link: Path, around: Sequence[Path]) -> None:
    try:
        pointed_to = link.resolve(strict=True)
    except (OSError, RuntimeError) as exc:  # RuntimeError: links that point at each other
        raise InvalidInput(f"{path!r} is a link that leads nowhere.", field="source") from exc
    if not pointed_to.is_relative_to(around[0]):
        raise InvalidInput(f"{path!r} is a link that leads out of the folder, to {pointed_to}.", field="source")
    if any(folder.is_relative_to(pointed_to) for folder in around):
        raise InvalidInput(f"{path!r} is a link to a folder that it lies in itself.", field="source")


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError as exc:
        raise _unreadable(Path(entry.path), exc) from exc


def _unreadable(file: Path, exc: OSError) -> InvalidInput:
    return InvalidInput(f"{str(file)!r} cannot be read: {exc.strerror or exc}.", field="source")
