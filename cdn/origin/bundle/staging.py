"""Where an archive is unpacked: files under names of our own, removed together when anything is wrong."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from cdn.errors import InvalidInput, TooLarge, Unavailable
from cdn.origin.bundle.admission import Admission, SourceFile, is_ignored
from cdn.sites.manifest import DEFAULT_LIMITS, BundleLimits

OVERHEAD_BYTES_PER_ENTRY = 4096
"""Names, headers and padding that each entry may have beside its content, on average."""

RATIO_GRACE_BYTES = 16 * 1024 * 1024
"""What an archive may unpack to whatever its size: a few small files are mostly padding, and that much harms nobody."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What one archive may unpack to."""

    max_files: int = DEFAULT_LIMITS.max_files
    max_file_bytes: int = DEFAULT_LIMITS.max_file_bytes
    max_total_bytes: int = DEFAULT_LIMITS.max_total_bytes
    max_ratio: float = 200.0  # unpacked bytes for one byte of the archive: text has 10, bombs have thousands
    max_path_bytes: int = DEFAULT_LIMITS.max_path_bytes
    max_folders: int = DEFAULT_LIMITS.max_folders

    @property
    def max_entries(self) -> int:
        """Files and folders together, those that are left out included."""
        return self.max_files + self.max_folders

    @property
    def max_stream_bytes(self) -> int:
        """All of a tar when it is not compressed, or of a zip as it was sent."""
        return self.max_total_bytes + OVERHEAD_BYTES_PER_ENTRY * self.max_entries


class Staging:
    """Takes the entries of one archive. Every error names the entry."""

    def __init__(self, folder: Path, limits: ArchiveLimits) -> None:
        self.folder = folder
        self.limits = limits
        self._admission = Admission(
            BundleLimits(
                max_files=limits.max_files,
                max_file_bytes=limits.max_file_bytes,
                max_total_bytes=limits.max_total_bytes,
                max_path_bytes=limits.max_path_bytes,
                max_folders=limits.max_folders,
            )
        )
        self._files: list[SourceFile] = []
        self._made: list[Path] = []
        self._prefix = secrets.token_hex(4)
        self._entry_count = 0
        self._entry: str | None = None

    def files(self) -> list[SourceFile]:
        """What was taken, sorted by path."""
        return sorted(self._files, key=lambda source: source.path)

    def at_entry(self) -> str:
        """Where in the archive we are, for a sentence; empty before its first entry."""
        return "" if self._entry is None else f" at {self._entry!r}"

    def begin(self, name: str) -> None:
        """Go on to the entry of this name. Raises TooLarge when it is one too many."""
        self._entry = name
        self._entry_count += 1
        if self._entry_count > self.limits.max_entries:
            raise TooLarge(f"{name!r} is one entry too many: an archive has at most {self.limits.max_entries}.")

    def check_folder(self, name: str) -> None:
        """Take the name of a folder. Raises InvalidInput."""
        path = path_of_entry(name)
        if path != "/":
            self._admission.check_name(path)

    def write(self, name: str, size_bytes: int, content: Iterable[bytes]) -> None:
        """Take a file. Raises InvalidInput when its content does not have the size that was said, TooLarge."""
        path = path_of_entry(name)
        self._admission.check_name(path)
        if is_ignored(path):
            return
        self._admission.admit(path)
        self._admission.admit_bytes(path, size_bytes, size_bytes)
        file = self.new_file()
        written_bytes = 0
        with self._opened(file) as out:
            for piece in content:
                self._write(out, piece)
                written_bytes += len(piece)
        if written_bytes != size_bytes:
            raise InvalidInput(f"The archive is incomplete: {name!r} has {written_bytes} of its {size_bytes} bytes.")
        self._files.append(SourceFile(path, str(file), size_bytes))

    def new_file(self) -> Path:
        """A name that is free in the folder."""
        return self.folder / f"{self._prefix}-{len(self._made):06}"

    def check_ratio(self, unpacked_bytes: int, archive_bytes: int) -> None:
        """Raises TooLarge when so much from so little is a bomb."""
        if unpacked_bytes > RATIO_GRACE_BYTES and unpacked_bytes > self.limits.max_ratio * archive_bytes:
            raise TooLarge(
                f"The archive unpacks to more than {self.limits.max_ratio:g} times its size{self.at_entry()}; "
                "send what compresses so well as a folder or in a .tar."
            )

    def copy(self, file: Path, content: Iterable[bytes]) -> None:
        """Put content that is not an entry into a new file. Raises TooLarge, Unavailable."""
        size_bytes = 0
        with self._opened(file) as out:
            for piece in content:
                size_bytes += len(piece)
                if size_bytes > self.limits.max_stream_bytes:
                    raise TooLarge(f"The archive has more than {self.limits.max_stream_bytes} bytes, the limit.")
                self._write(out, piece)

    def _opened(self, file: Path) -> FileIO:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            opened = FileIO(file, "xb")
        except OSError as exc:
            raise self._unavailable(exc) from exc
        self._made.append(file)
        return opened

    def _write(self, out: FileIO, content: bytes) -> None:
        left = memoryview(content)
        try:
            while left:
                left = left[out.write(left) :]
        except OSError as exc:
            raise self._unavailable(exc) from exc

    def _unavailable(self, exc: OSError) -> Unavailable:
        return Unavailable(
            f"The archive cannot be unpacked into {self.folder}{self.at_entry()}: {exc.strerror or exc}. "
            "Make room on the disk, then send it again."
        )

    @contextmanager
    def removed_on_error(self) -> Iterator[None]:
        """Leave nothing behind unless the block ends well."""
        try:
            yield
        except BaseException:
            for file in self._made:
                file.unlink(missing_ok=True)
            raise


def path_of_entry(name: str) -> str:
    """The path in the bundle: `./docs/index.html` is `/docs/index.html`. Raises InvalidInput for an absolute name."""
    if name.startswith("/"):
        raise InvalidInput(f"{name!r} is an absolute path; an archive has names relative to the site's root.")
    relative = name.rstrip("/")
    while relative.startswith("./"):
        relative = relative[2:]
    return "/" if relative == "." else f"/{relative}"
