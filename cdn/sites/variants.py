"""Coded forms of a deploy's files: made by control, kept as blobs of the site, listed in an object of their own.

The list belongs to one manifest and is named by its own SHA-256; the record `VariantsSet` says which list counts. A
coded form is a blob like any other (named by the digest of its coded octets), so it is fetched, checked, stored and
scrubbed as files are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cdn.errors import InvalidInput
from cdn.sites.manifest import FileEntry

VARIANTS_VERSION = 1
"""Of the list's form: the version this program writes and the only one it reads."""


@dataclass(frozen=True, slots=True)
class Variants:
    """`coded`: by the digest of a file's content, then by content coding ("zstd", "br", "gzip"): the coded form. A file
    is not in it where coding does not pay."""

    coded: Mapping[str, Mapping[str, FileEntry]]


NO_VARIANTS = Variants({})


def parse_variants(raw: bytes) -> Variants:
    """The list in `raw`. Raises InvalidInput for another version and what is no list."""
    try:
        document = json.loads(raw)
        version, coded = document["version"], document["coded"]
        if version != VARIANTS_VERSION:
            raise InvalidInput(f"the list has version {version!r}, this program reads {VARIANTS_VERSION}")
        return Variants({source: {name: _entry(one) for name, one in forms.items()} for source, forms in coded.items()})
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise InvalidInput("this is not a list of coded forms") from exc


def _entry(document: Mapping[str, object]) -> FileEntry:
    digest, size_bytes, chunks = document["digest"], document["size_bytes"], document.get("chunks", ())
    if not isinstance(digest, str) or not isinstance(size_bytes, int) or not isinstance(chunks, list | tuple):
        raise TypeError
    return FileEntry(digest, size_bytes, tuple(map(str, chunks)))
