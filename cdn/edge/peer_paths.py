"""Where a shield answers what is not a request to a pull site."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdn.edge.fetch import BlobChunk
from cdn.edge.peer_fields import read_number
from cdn.http.target import Target
from cdn.sites.manifest import CHUNK_BYTES

_SITE = r"(?P<site>[A-Za-z0-9_-]{1,64})"
_CHUNK = re.compile(rf"/v1/peer/sites/{_SITE}/blobs/(?P<digest>[0-9a-f]{{64}})/chunks/(?P<chunk>[0-9a-f]{{64}})")
_MANIFEST = re.compile(rf"/v1/peer/sites/{_SITE}/manifests/(?P<digest>[0-9a-f]{{64}})")
_SPAN = re.compile(r"start=([0-9]+)&stop=([0-9]+)")


@dataclass(frozen=True, slots=True)
class ManifestAsked:
    """A site's manifest, by its digest."""

    site_id: str
    digest: str


def chunk_path(wanted: BlobChunk) -> str:
    """The target for a chunk."""
    path = f"/v1/peer/sites/{wanted.site_id}/blobs/{wanted.digest}/chunks/{wanted.chunk_digest}"
    return f"{path}?start={wanted.start}&stop={wanted.stop}"


def manifest_path(site_id: str, digest: str) -> str:
    """The target for a manifest."""
    return f"/v1/peer/sites/{site_id}/manifests/{digest}"


def read_path(target: Target) -> BlobChunk | ManifestAsked | None:
    """What a target asks for; None when it is neither, or no chunk can have such bounds."""
    found = _MANIFEST.fullmatch(target.path)
    if found is not None and target.query is None:
        return ManifestAsked(found["site"], found["digest"])
    found = _CHUNK.fullmatch(target.path)
    span = _SPAN.fullmatch(target.query or "")
    if found is None or span is None:
        return None
    start, stop = read_number(span[1]), read_number(span[2])
    if start is None or stop is None or start % CHUNK_BYTES or not 0 < stop - start <= CHUNK_BYTES:
        return None
    return BlobChunk(found["site"], found["digest"], start, stop, found["chunk"], f"a file of {found['site']}")
