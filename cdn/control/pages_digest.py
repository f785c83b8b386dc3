"""What Cloudflare Pages' client calls a file: the first 32 hexadecimal digits of the BLAKE3 of its content in base64
followed by the extension of its name (`hashFile` of wrangler's `pages deploy`)."""

from __future__ import annotations

import base64
import mimetypes
import re
from collections.abc import Iterator

from blake3 import blake3

DIGITS = 32

_DIGEST = re.compile(rf"[0-9a-f]{{{DIGITS}}}")

_ALSO_USUAL = {
    "application/javascript": ("js", "mjs", "cjs"),
    "text/javascript": ("js", "mjs", "cjs"),
    "application/octet-stream": ("", "bin"),
    "application/json": ("json", "map"),
    "application/manifest+json": ("webmanifest",),
    "font/woff": ("woff",),
    "font/woff2": ("woff2",),
    "image/avif": ("avif",),
    "image/webp": ("webp",),
    "image/x-icon": ("ico",),
    "image/vnd.microsoft.icon": ("ico",),
    "text/html": ("html", "htm"),
}
"""Extensions of types that clients know and Python's table has otherwise, or not at all."""


def is_pages_digest(text: object) -> bool:
    """Whether `text` can be one."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def pages_digest(content: bytes, extension: str) -> str:
    """The digest of a file whose name ends in `.extension` ("": in none)."""
    return pages_digest_of_base64(base64.b64encode(content), extension)


def pages_digest_of_base64(encoded: bytes, extension: str) -> str:
    """`pages_digest` of content in padded base64."""
    return blake3(encoded).update(extension.encode()).hexdigest()[:DIGITS]


def extension_of(path: str) -> str:
    """The extension of a file as Node's `path.extname` has it, without the dot: none for `.hidden`."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot + 1 :] if dot > 0 else ""


def digests_that_may_be(encoded: bytes, media_type: str) -> Iterator[str]:
    """The digests of content in base64 under every extension that files of this type usually have."""
    media_type = media_type.partition(";")[0].strip().lower()
    usual = [extension[1:] for extension in mimetypes.guess_all_extensions(media_type, strict=False)]
    for extension in dict.fromkeys((*_ALSO_USUAL.get(media_type, ()), *usual)):
        yield pages_digest_of_base64(encoded, extension)
