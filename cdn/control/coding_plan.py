"""Which files of a deploy are worth coding, and which of its files are coded forms of others already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cdn.http.content_coding import may_be_coded
from cdn.http.fields import Fields
from cdn.http.response_head import ResponseHead
from cdn.sites.content_type import content_type_of
from cdn.sites.manifest import FileEntry, Manifest

SUFFIXES: Mapping[str, str] = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}
"""By coding: what build tools add to the name of a file for the form that they put beside it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A content to be coded. `ready`: by coding, what the deploy itself has beside it; nobody has checked it yet."""

    entry: FileEntry
    ready: Mapping[str, FileEntry] = field(default_factory=dict)


def sources_of(manifest: Manifest, may_have: Callable[[str], bool]) -> dict[str, Source]:
    """By digest, smallest first: the contents of a deploy whose type and size are such that coding may pay.

    `may_have`: whether the site may have the content of a digest; what was taken down is neither coded nor used. Of
    files with the same content the first by path with forms beside it counts.
    """
    found: dict[str, Source] = {}
    for path, entry in sorted(manifest.files.items(), key=lambda item: (item[1].size_bytes, item[0])):
        if not _may_be_coded(path, entry) or not may_have(entry.digest):
            continue
        known = found.get(entry.digest)
        if known is None or not known.ready:
            found[entry.digest] = Source(entry, _ready(manifest, path, entry, may_have))
    return found


def _may_be_coded(path: str, entry: FileEntry) -> bool:
    """Header rules may say something else of it; then nodes do not use the forms."""
    return may_be_coded(ResponseHead(200, Fields((("content-type", content_type_of(path)),))), entry.size_bytes)


def _ready(manifest: Manifest, path: str, entry: FileEntry, may_have: Callable[[str], bool]) -> Mapping[str, FileEntry]:
    beside = {coding: manifest.files.get(path + suffix) for coding, suffix in SUFFIXES.items()}
    return {
        coding: form
        for coding, form in beside.items()
        if form is not None and form.size_bytes < entry.size_bytes and may_have(form.digest)
    }
