"""Which names and sizes a bundle takes, whether they come from a folder or from an archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cdn.errors import InvalidInput, TooLarge
from cdn.sites.manifest import BundleLimits, check_path
from cdn.sites.path import folded

IGNORED_NAMES = frozenset({".git", ".DS_Store"})
"""Files and folders that are left out: what git and the macOS Finder put beside what people publish."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that goes into a bundle: its path there, and where its content is now.

    `stamp` of a file in a user's folder: its times of modification and of change in nanoseconds, and its inode.
    """

    path: str  # "/docs/index.html"
    place: str
    size_bytes: int
    stamp: tuple[int, int, int] | None = None

    @property
    def file(self) -> Path:
        """Where its content is; made when asked for, since most files of a bundle are never opened by it."""
        return Path(self.place)


def is_ignored(path: str) -> bool:
    """Whether a path lies in what bundles leave out."""
    return not IGNORED_NAMES.isdisjoint(path.split("/"))


class Admission:
    """Takes the files of one bundle, one after the other. Every error names the file."""

    def __init__(self, limits: BundleLimits) -> None:
        self._limits = limits
        self._files: dict[str, str] = {}  # by the form in which names collide
        self._folders: dict[str, str] = {}
        self._total_bytes = 0

    def check_name(self, path: str) -> None:
        """Raises InvalidInput unless a bundle may have this path."""
        check_path(path, max_octets=self._limits.max_path_bytes)

    def admit(self, path: str) -> None:
        """Take a path. Raises InvalidInput when it is none or collides with another, TooLarge when over a limit."""
        self.check_name(path)
        name = folded(path)
        other = self._files.get(name) or self._folders.get(name)
        if other is not None:
            raise InvalidInput(_collision(path, other), field="files")
        if len(self._files) >= self._limits.max_files:
            raise TooLarge(
                f"{path!r} is one file too many: a bundle has at most {self._limits.max_files}.", field="files"
            )
        self._files[name] = path
        self._admit_folders(path)

    def admit_bytes(self, path: str, file_bytes: int, new_bytes: int) -> None:
        """Count content: the file has `file_bytes` now, `new_bytes` of them were not counted yet. Raises TooLarge."""
        if file_bytes > self._limits.max_file_bytes:
            raise TooLarge(f"{path!r} has more than {self._limits.max_file_bytes} bytes, the limit for one file.")
        self._total_bytes += new_bytes
        if self._total_bytes > self._limits.max_total_bytes:
            raise TooLarge(
                f"With {path!r} the bundle has more than {self._limits.max_total_bytes} bytes, the limit for all files."
            )

    def _admit_folders(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        while folder and (name := folded(folder)) not in self._folders:
            if name in self._files:
                raise InvalidInput(
                    f"{self._files[name]!r} is a file, but {path!r} needs it as a folder.", field="files"
                )
            if len(self._folders) >= self._limits.max_folders:
                raise TooLarge(
                    f"{path!r} makes one folder too many: a bundle has at most {self._limits.max_folders}.",
                    field="files",
                )
            self._folders[name] = folder
            folder = folder.rpartition("/")[0]


def _collision(path: str, other: str) -> str:
    if path == other:
        return f"{path!r} is there twice."
    return f"{path!r} and {other!r} are the same name on many systems; rename one of them."
