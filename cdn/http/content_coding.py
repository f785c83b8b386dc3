"""Content codings that a cache applies itself: which one a request prefers, what may be coded, and the head of the
coded form (RFC 9110 sections 8.4 and 12.5.3).

The coded form is another representation of the same resource: it has an entity tag of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from cdn.http.entity_tag import EntityTag, entity_tag_texts, parse_entity_tag
from cdn.http.fields import FieldLines, Fields
from cdn.http.response_head import ResponseHead

CODINGS: Final = ("zstd", "br", "gzip")
"""What the edge can apply, best first: among codings that a client likes equally the first is taken."""

MIN_CODED_BYTES = 256
"""Content below this fits one packet together with its head, coded or not: nothing is gained."""

MAX_CODED_BYTES = 16 * 1024 * 1024
"""Larger content is sent as it is: it would be in memory twice while it is encoded."""

MAX_ACCEPT_LENGTH = 1024
"""Characters of an Accept-Encoding that is read: 27 KiB take 8 ms, and HTTP/2 says them again in 20 octets."""

MAX_TAGS_LENGTH = 4 * 1024
"""Characters of an If-Match or If-None-Match whose tags are led back: some hundred of them, more than any client holds
forms of a resource. Longer ones would be twice as long for the upstream, and 27 KiB took 8 ms."""

_MEMBER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?", re.I)
_MEDIA_TYPE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)/([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;.*)?", re.DOTALL)

_ENDS_OF_CODED_TAGS = tuple(f'-{coding}"' for coding in CODINGS)

_ALIASES = {"x-gzip": "gzip"}  # section 8.4.1.3
_IDENTITY = "identity"

_APPLICATION_TYPES = frozenset(
    {
        "ecmascript",
        "javascript",
        "json",
        "ndjson",
        "rtf",
        "sql",
        "toml",
        "vnd.apple.mpegurl",
        "vnd.ms-fontobject",
        "wasm",
        "x-font-otf",
        "x-font-ttf",
        "x-javascript",
        "x-ndjson",
        "x-yaml",
        "xml",
        "xml-dtd",
        "yaml",
    }
)
_OTHER_TYPES = frozenset(
    {
        ("font", "collection"),
        ("font", "otf"),
        ("font", "ttf"),
        ("image", "bmp"),
        ("image", "vnd.microsoft.icon"),
        ("image", "x-icon"),
        ("model", "gltf-binary"),
        ("model", "obj"),
    }
)
_SUFFIXES = ("+json", "+xml", "+yaml", "+text")

IDENTITY_DIGESTS = frozenset({"content-md5", "digest", "content-digest", "repr-digest"})
"""Computed over the identity form by whoever made it; for the coded form they would lie (RFC 9530)."""

_CACHE_CONTROL_FIELDS = ("cache-control", "cdn-cache-control", "surrogate-control")


def preferred_coding(accept_encoding: str | None, available: Sequence[str]) -> str | None:
    """The coding of `available` (best first) that a request prefers; None: send the identity form.

    The highest quality wins and the order of `available` decides between equals. Identity is preferred only when it
    is named with a higher quality than every coding. Without the field nothing is coded: such clients seldom decode.
    A malformed member says nothing; of repeated ones the lowest quality counts, so nothing refused is sent. When
    identity is refused and nothing else is acceptable the answer is still None (section 12.5.3). A field longer than
    MAX_ACCEPT_LENGTH counts as absent.
    """
    if not accept_encoding or len(accept_encoding) > MAX_ACCEPT_LENGTH:
        return None
    qualities = _qualities(accept_encoding)
    others = qualities.get("*", 0.0)
    best: str | None = None
    best_quality = qualities.get(_IDENTITY, 0.0)
    for coding in available:
        quality = qualities.get(coding, others)
        if quality > 0 and (quality > best_quality or (best is None and quality == best_quality)):
            best, best_quality = coding, quality
    return best


def may_be_coded(head: ResponseHead, size_bytes: int) -> bool:
    """Whether the content of a stored response to GET may be coded, and is likely to become smaller.

    Never when the response forbids to transform it (RFC 9111 section 5.2.2.6), is coded already, is a part, or is
    signed: the signature may cover what coding changes (RFC 9421).
    """
    if head.status != 200 or not MIN_CODED_BYTES <= size_bytes <= MAX_CODED_BYTES:
        return False
    fields = head.fields
    if any(name in fields for name in ("content-encoding", "content-range", "signature-input")):
        return False
    return _is_compressible(fields.get("content-type")) and not _forbids_transforming(fields)


def coded_head(head: ResponseHead, coding: str) -> ResponseHead:
    """The head of the coded form of the response that `head` describes.

    Content-Encoding is added, Vary gains Accept-Encoding, the entity tag becomes one of this form ("x" is "x-br",
    weak stays weak; a malformed one goes, it could not be told apart), and what describes the octets of the identity
    form goes: its length and digests.
    """
    lines: list[tuple[str, str]] = []
    for name, value in varied_head(head).fields:
        if name == "etag":
            tag = parse_entity_tag(value)
            if tag is not None:
                lines.append((name, EntityTag(f"{tag.opaque}-{coding}", tag.is_weak).serialise()))
        elif name != "content-length" and name not in IDENTITY_DIGESTS:
            lines.append((name, value))
    lines.append(("content-encoding", coding))
    return ResponseHead(head.status, Fields(tuple(lines)))


def varied_head(head: ResponseHead) -> ResponseHead:
    """The head of the identity form of something that may be coded: other caches must know (section 12.5.5)."""
    vary = head.fields.get("vary")
    members = [] if vary is None else [member.strip(" \t").lower() for member in vary.split(",")]
    if "*" in members or "accept-encoding" in members:
        return head
    value = f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"
    lines: FieldLines = tuple(line for line in head.fields if line[0] != "vary")
    return ResponseHead(head.status, Fields((*lines, ("vary", value))))


def uncoded_entity_tags(field: str) -> str:
    """If-Match or If-None-Match as an upstream can judge it, which knows nothing of the coded forms made here.

    Behind every tag that `coded_head` could have made stands the one it was made from: whoever holds the coded form
    of a representation holds that representation. "*" and malformed values stay as they are, and so do those of more
    than `MAX_TAGS_LENGTH` characters: to the upstream the tag of a coded form is then that of another representation,
    and it sends what the client has, or changes nothing.
    """
    if len(field) > MAX_TAGS_LENGTH:
        return field
    tags = entity_tag_texts(field)
    if tags is None:
        return field
    known: dict[str, None] = {}
    for tag in tags:
        known[tag] = None
        if tag.endswith(_ENDS_OF_CODED_TAGS):
            known[f'{tag[: tag.rindex("-")]}"'] = None
    return ", ".join(known)


def _qualities(accept_encoding: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in accept_encoding.split(","):
        member = _MEMBER.fullmatch(text.strip(" \t"))
        if member is None:
            continue
        name = member[1].lower()
        name = _ALIASES.get(name, name)
        quality = 1.0 if member[2] is None else float(member[2])
        found[name] = min(quality, found.get(name, quality))
    return found


def _is_compressible(content_type: str | None) -> bool:
    match = None if content_type is None else _MEDIA_TYPE.fullmatch(content_type)
    if match is None:
        return False
    kind, subtype = match[1].lower(), match[2].lower()
    if kind == "text" or subtype.endswith(_SUFFIXES):
        return True
    return (kind == "application" and subtype in _APPLICATION_TYPES) or (kind, subtype) in _OTHER_TYPES


def _forbids_transforming(fields: Fields) -> bool:
    """Looked for in every field that carries directives, also those this cache does not obey: it binds all."""
    for name in _CACHE_CONTROL_FIELDS:
        for member in (fields.get(name) or "").split(","):
            if re.split("[=;]", member, maxsplit=1)[0].strip(" \t").lower() == "no-transform":
                return True
    return False
