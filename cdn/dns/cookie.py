"""DNS cookies: who sends back what was sent to its address is there (RFC 7873, made alike everywhere by RFC 9018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SECRET_BYTES = 16
"""Of SipHash-2-4's key (RFC 9018 4.4)."""


@dataclass(frozen=True, slots=True)
class CookieSecrets:
    """The first makes cookies, all of them are believed: when one is replaced, the next stands behind it everywhere
    before it is made the first, and the old one stays for an hour (RFC 9018 5). All servers of a zone share them."""

    secrets: Sequence[bytes]
