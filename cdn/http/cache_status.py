"""The Cache-Status field (RFC 9211): what the cache did, said as a structured field item."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*")
_MAX_INTEGER = 999_999_999_999_999  # RFC 9651 section 3.3.1


class Forward(Enum):
    """Why a request went upstream (section 2.2). Also the metric label."""

    BYPASS = "bypass"  # the cache is configured not to handle this request
    METHOD = "method"  # the semantics of the method require it
    URI_MISS = "uri-miss"  # nothing stored for this URI
    VARY_MISS = "vary-miss"  # stored for this URI, but not for these request fields
    MISS = "miss"  # nothing stored that may be used
    REQUEST = "request"  # the request's own fields asked for it
    STALE = "stale"  # stored, but stale
    PARTIAL = "partial"  # stored, but not all of what was asked


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """One member of the field. `hit` and `fwd` exclude each other; `ttl_s` is negative once stale.

    Raises ValueError when both are given.
    """

    cache: str
    hit: bool = False
    fwd: Forward | None = None
    fwd_status: int | None = None
    ttl_s: int | None = None
    stored: bool = False
    collapsed: bool = False
    key: str | None = None
    detail: str | None = None

    def __post_init__(self) -> None:
        if self.hit and self.fwd is not None:
            raise ValueError("a Cache-Status says either hit or fwd, never both (RFC 9211 section 2.2)")

    def serialise(self) -> str:
        """The member as it stands in the field."""
        parts = [_token_or_string(self.cache)]
        if self.hit:
            parts.append("hit")
        if self.fwd is not None:
            parts.append(f"fwd={self.fwd.value}")
        if self.fwd_status is not None:
            parts.append(f"fwd-status={_integer(self.fwd_status)}")
        if self.ttl_s is not None:
            parts.append(f"ttl={_integer(self.ttl_s)}")
        if self.stored:
            parts.append("stored")
        if self.collapsed:
            parts.append("collapsed")
        if self.key is not None:
            parts.append(f"key={_string(self.key)}")
        if self.detail is not None:
            parts.append(f"detail={_token_or_string(self.detail)}")
        return "; ".join(parts)


def _integer(number: int) -> int:
    return max(-_MAX_INTEGER, min(_MAX_INTEGER, number))


def _token_or_string(text: str) -> str:
    return text if _TOKEN.fullmatch(text) else _string(text)


def _string(text: str) -> str:
    """An sf-string; what it cannot hold (not printable ASCII) is percent-encoded."""
    printable = "".join(
        char if " " <= char <= "~" else "".join(f"%{octet:02X}" for octet in char.encode("utf-8", "replace"))
        for char in text
    )
    escaped = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
