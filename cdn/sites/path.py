"""File paths of a bundle, and the URL paths they answer to."""

from __future__ import annotations

import re
import unicodedata

from cdn.errors import InvalidInput
from cdn.http.target import encode_path

MAX_PATH_OCTETS = 1024
"""One path in UTF-8: the longest name that S3 takes, and well below a request line."""

MAX_SHOWN = 200
"""Letters of a faulty name that a message repeats."""

INDEX = "index.html"
PAGE_SUFFIX = ".html"

_ORDINARY = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+)+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_path(path: str, *, max_octets: int = MAX_PATH_OCTETS) -> None:
    """Whether a bundle may hold a file of this path. Raises InvalidInput that names the path and the fault."""
    if _ORDINARY.fullmatch(path) is not None and len(path.encode()) <= max_octets:
        return
    raise InvalidInput(f"{shown(path)} cannot be a file's path: {_fault_of(path, max_octets)}", field="path")


def shown(value: object) -> str:
    """What a client sent, for a message: quoted, escaped and cut."""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"{value[:MAX_SHOWN]!r}..."
    return repr(value)


def folded(path: str) -> str:
    """The form in which two paths collide that some file systems and readers cannot tell apart."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()


def plain_names_of(path: str) -> tuple[str, ...]:
    """The decoded URL paths a file answers to, its own first.

    `/docs/index.html` also answers to `/docs/`, `/about.html` also to `/about`.
    """
    last = path.rpartition("/")[2]
    if last == INDEX:
        return (path, path.removesuffix(INDEX))
    if last.endswith(PAGE_SUFFIX) and last != PAGE_SUFFIX:
        return (path, path.removesuffix(PAGE_SUFFIX))
    return (path,)


def canonical_name_of(path: str) -> str:
    """The one decoded URL path under which a file is linked to: `/docs/` for `/docs/index.html`, `/about` for
    `/about.html`."""
    return plain_names_of(path)[-1]


def names_of(path: str) -> tuple[str, ...]:
    """`plain_names_of` as they stand in URLs: percent-encoded the one way that targets and purges are."""
    return tuple(map(encode_path, plain_names_of(path)))


def _fault_of(path: str, max_octets: int) -> str:
    segments = path.split("/")[1:]
    if not path.startswith("/"):
        return 'it does not start with "/"'
    if "" in segments:
        return "it has an empty segment"
    if "." in segments or ".." in segments:
        return 'it has a "." or ".." segment'
    if "\\" in path:
        return "it has a backslash"
    if _CONTROL.search(path) is not None:
        return "it has a control character"
    try:
        octets = len(path.encode())
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    return f"it has {octets} octets, at most {max_octets} are allowed"
