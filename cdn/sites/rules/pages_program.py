"""What Cloudflare Pages runs instead of answering with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

_FILES = ("_worker.js", "_routes.json")
_FOLDERS = ("functions/", "_worker.js/")


def is_pages_program(path: str) -> bool:
    """Whether the file of a bundle is one of them."""
    return path[1:] in _FILES or path[1:].startswith(_FOLDERS)


def pages_programs(files: Collection[str]) -> Iterator[str]:
    """The names of those that are among `files`, each folder once."""
    found = {
        next((folder for folder in _FOLDERS if path[1:].startswith(folder)), path[1:])
        for path in files
        if is_pages_program(path)
    }
    yield from sorted(found)
