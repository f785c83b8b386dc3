"""From a target to what answers it, within exactly one deploy (DESIGN I4). Pure, a few look-ups per request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdn.http.target import Target, encode_path
from cdn.sites.fingerprint import has_fingerprint, is_hidden
from cdn.sites.manifest import FileEntry, Manifest
from cdn.sites.path import INDEX, MAX_PATH_OCTETS, PAGE_SUFFIX
from cdn.sites.pattern import matches
from cdn.sites.rules.asking import NOBODY, Asking
from cdn.sites.rules.guard import Guard

MAX_RETAINED_FILES = 200_000
"""Files of earlier deploys that one alias keeps reachable; the most recent deploys' come first."""


@dataclass(frozen=True, slots=True)
class FileRoute:
    """A file answers: `status` is 200, or 404 when it is a 404.html that stands in for something absent.

    `is_general`, here and below: whoever asks for this path gets this answer; otherwise rules looked at more of the
    request than its path, and the answer must not be kept for others. `rule`: the rule that led there, for people.
    """

    path: str
    entry: FileEntry
    status: int = 200
    is_retained: bool = False
    is_general: bool = True
    rule: str = ""


@dataclass(frozen=True, slots=True)
class RedirectRoute:
    """The target has another, canonical URL: an absolute path on the same host, with the query."""

    location: str
    status: int = 308
    is_general: bool = True
    rule: str = ""


@dataclass(frozen=True, slots=True)
class AbsentRoute:
    """Nothing answers, and no 404.html stands in."""

    is_general: bool = True


@dataclass(frozen=True, slots=True)
class ProxyRoute:
    """Another server answers, under the address that was asked for: `url` is absolute, with path and query."""

    url: str
    is_general: bool = True
    rule: str = ""


@dataclass(frozen=True, slots=True)
class DeniedRoute:
    """A rule keeps this visitor out. 401: credentials are wanted for `realm` (RFC 7617), those of `guard`: who has
    verified them resolves again with `Asking.passed`; 403 and 451: they would not help."""

    status: int
    realm: str = ""
    is_general: bool = False
    guard: Guard | None = None


Route = FileRoute | RedirectRoute | AbsentRoute | ProxyRoute | DeniedRoute

ABSENT = AbsentRoute()


def resolve(active: Manifest, retained: Mapping[str, FileEntry], target: Target, asking: Asking = NOBODY) -> Route:
    """What answers `target`: active file, directory index, clean URL, redirect, retained file, nearest 404.html.

    With rules: access, forced rules, active file, rules, retained file, fallback. `retained` is what `add_retained`
    made of the same alias' other deploys; whoever leaves it out asks again with it when `may_be_retained` and the active
    deploy has no file at that very path, whatever the first answer was.
    """
    path = target.decoded_path
    files = active.files
    entry = files.get(path)
    if entry is not None:
        return FileRoute(path, entry)
    if path[-1:] == "/":
        page = path + INDEX
        entry = files.get(page)
        if entry is not None:
            return FileRoute(page, entry)
    else:
        page = path + PAGE_SUFFIX
        entry = files.get(page)
        if entry is not None:
            return _clean(page, entry, target)
        if f"{path}/{INDEX}" in files:
            return RedirectRoute(_location(path + "/", target.query))
    entry = retained.get(path)
    if entry is not None:
        return FileRoute(path, entry, is_retained=True)
    return _fallback(active, path)


def add_retained(files: dict[str, FileEntry], manifest: Manifest, keep: Sequence[str] = ()) -> None:
    """Add to `files` what stays reachable of one more deploy that is not active: fingerprinted or matching `keep`.

    The most recent deploy is added first; what an older one has under the same path does not replace it, and beyond
    MAX_RETAINED_FILES nothing is added. A `*` of `keep` does not reach hidden files and folders (`/.env`): those go
    with their deploy.
    """
    found = manifest.fingerprinted
    for path, entry in manifest.files.items() if keep else found.items():
        if len(files) >= MAX_RETAINED_FILES:
            return
        if path not in files and (path in found or _is_kept(path, keep)):
            files[path] = entry


def may_be_retained(path: str, keep: Sequence[str]) -> bool:
    """Whether a path is one that `add_retained` keeps; for all others no earlier deploy need be looked at."""
    return len(path) <= MAX_PATH_OCTETS and (has_fingerprint(path) or _is_kept(path, keep))


def _is_kept(path: str, keep: Sequence[str]) -> bool:
    return bool(keep) and not is_hidden(path) and any(matches(pattern, path) for pattern in keep)


def _clean(page: str, entry: FileEntry, target: Target) -> Route:
    """`/about` is about.html; `/docs/index` is not the clean URL of docs/index.html, `/docs/` is."""
    folder, _, name = page.rpartition("/")
    if name == INDEX:
        return RedirectRoute(_location(folder + "/", target.query))
    return FileRoute(page, entry)


def _location(path: str, query: str | None) -> str:
    """`path` is of a folder in the manifest, so it never starts with "//", which would name another host."""
    location = encode_path(path)
    return location if query is None else f"{location}?{query}"


def _fallback(active: Manifest, path: str) -> Route:
    """Walks down from the root and stops at the first folder the deploy does not have."""
    pages = active.not_found_pages
    page = pages["/"]
    cut = path.find("/", 1)
    while cut != -1:
        folder = path[: cut + 1]
        if folder not in pages:
            break
        page = pages[folder]
        cut = path.find("/", cut + 1)
    return ABSENT if page is None else FileRoute(page, active.files[page], status=404)
