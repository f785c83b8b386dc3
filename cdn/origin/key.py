"""What a key of an object may look like."""

from __future__ import annotations

import re

from cdn.errors import InvalidInput

MAX_KEY_BYTES = 1024
"""Bound of a key: what S3 itself allows."""

MAX_SEGMENT_BYTES = 255
"""Bound of one segment of a key: what file systems allow for a name."""

_KEY = re.compile(r"[A-Za-z0-9_=+@.-]+(?:/[A-Za-z0-9_=+@.-]+)*")


def check_key(key: str) -> str:
    """The key itself when it is an ASCII path of plain segments. Raises InvalidInput."""
    segments = key.split("/")
    is_plain = _KEY.fullmatch(key) is not None and not any(segment in {".", ".."} for segment in segments)
    if not is_plain:
        raise InvalidInput(f"The object key {key!r} is not a path of plain ASCII segments.", field="key")
    if len(key) > MAX_KEY_BYTES or any(len(segment) > MAX_SEGMENT_BYTES for segment in segments):
        raise InvalidInput(
            f"The object key {key[:80]!r}... is longer than {MAX_KEY_BYTES} octets "
            f"or has a segment longer than {MAX_SEGMENT_BYTES}.",
            field="key",
        )
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself when keys may start with it. Raises InvalidInput."""
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix
