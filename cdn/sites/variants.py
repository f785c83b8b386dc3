"""Coded forms of a deploy's files: made by control, kept as blobs of the site, listed in an object of their own.

The list belongs to one manifest and is named by its own SHA-256; the record `VariantsSet` says which list counts. A
coded form is a blob like any other (named by the digest of its coded octets), so it is fetched, checked, stored and
scrubbed as files are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdn.sites.manifest import FileEntry

VARIANTS_VERSION = 1
"""Of the list's form: the version this program writes and the only one it reads."""


@dataclass(frozen=True, slots=True)
class Variants:
    """`coded`: by the digest of a file's content, then by content coding ("zstd", "br", "gzip"): the coded form. A file
    is not in it where coding does not pay."""

    coded: Mapping[str, Mapping[str, FileEntry]]


NO_VARIANTS = Variants({})
