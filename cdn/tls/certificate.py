"""Certificates as values: read, checked, and what they say of themselves."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Certificate:
    """A chain and its key, which belong together. `names` are the DNS names of the first certificate in lower case;
    `certificate_id` is the SHA-256 of it, in hex. Times are wall time in seconds."""

    certificate_id: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    chain: str
    key: bytes = field(repr=False)
    """PKCS #8 in PEM form."""


def covers(names: tuple[str, ...], domain: str) -> bool:
    """Whether a certificate for `names` is one for `domain` (RFC 6125 6.4.3: `*` stands for one whole first label)."""
    if domain in names:
        return True
    _, dot, rest = domain.partition(".")
    return bool(dot) and f"*.{rest}" in names
