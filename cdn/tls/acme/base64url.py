"""Base64 without padding in the alphabet of URLs (RFC 4648 5, RFC 7515 2)."""

from __future__ import annotations

import base64
import re

_FORM = re.compile(r"[A-Za-z0-9_-]+")


def base64url(octets: bytes) -> str:
    """The only form that ACME takes (RFC 8555 6.1)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def is_base64url(text: str) -> bool:
    """Whether it is of that alphabet, and not empty."""
    return _FORM.fullmatch(text) is not None
