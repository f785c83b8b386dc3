"""The keys of session tickets: the same in all workers of a node, and none lives longer than a day.

Who knows such a key can read every TLS 1.2 session that was resumed with its tickets, so they are made from the
machine's randomness, live in memory alone, and go. A service manager may hold them from one process to the next.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

TICKET_KEY_BYTES = 80
"""As OpenSSL takes them: 16 octets of name, 32 for the HMAC, 32 for AES-256 (RFC 5077 section 4)."""

TICKET_KEY_NAME_BYTES = 16
"""A ticket begins with the name of its key, in clear."""

RENEWS_AFTER_S = 12 * 3600.0
"""For how long a key encrypts tickets."""

TICKET_LIFETIME_S = 2 * 3600.0
"""For how long a ticket may be used; its key is kept as long after its last one: 14 hours in all, below the day that a
key may live."""


_KEPT = b"cdn-tickets-1"
_MADE_AT = struct.Struct("!d")

MAX_KEPT_BYTES = 256
"""Of `TicketKeyRota.kept`."""


@dataclass(frozen=True, slots=True)
class TicketKeys:
    """What handshakes use now: `current` encrypts and decrypts, `previous` only decrypts. Each has TICKET_KEY_BYTES."""

    current: bytes = field(repr=False)
    previous: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for key in (self.current, self.previous):
            if key is not None and len(key) != TICKET_KEY_BYTES:
                raise ValueError(f"a ticket key has {TICKET_KEY_BYTES} octets, not {len(key)}")


class TicketKeyRota:
    """Makes and replaces the keys of one node. Times are monotonic, on a clock that goes on from process to process;
    `random_bytes` gives as many octets as asked."""

    def __init__(self, now: float, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._made_at = now
        self._keys = TicketKeys(random_bytes(TICKET_KEY_BYTES))

    def resume(self, kept: bytes, now: float) -> None:
        """Go on with what `kept` gave in the process before this one. What is damaged, or of another clock, is left."""
        made_at = len(_KEPT) + _MADE_AT.size
        keys = kept[made_at:]
        if not kept.startswith(_KEPT) or len(keys) not in {TICKET_KEY_BYTES, 2 * TICKET_KEY_BYTES}:
            return
        (at,) = _MADE_AT.unpack_from(kept, len(_KEPT))
        if not 0 <= now - at < RENEWS_AFTER_S + TICKET_LIFETIME_S:
            return
        self._made_at = at
        self._keys = TicketKeys(keys[:TICKET_KEY_BYTES], keys[TICKET_KEY_BYTES:] or None)

    def kept(self) -> bytes:
        """What the next process goes on with; secret like the keys themselves."""
        return _KEPT + _MADE_AT.pack(self._made_at) + self._keys.current + (self._keys.previous or b"")

    def keys(self, now: float) -> TicketKeys:
        """The keys for `now`: the same object for as long as nothing changed. To be asked once a minute or so."""
        age_s = now - self._made_at
        if age_s >= RENEWS_AFTER_S:
            kept = self._keys.current if age_s < RENEWS_AFTER_S + TICKET_LIFETIME_S else None
            self._keys = TicketKeys(self._random_bytes(TICKET_KEY_BYTES), kept)
            self._made_at = now
        elif age_s >= TICKET_LIFETIME_S and self._keys.previous is not None:
            self._keys = TicketKeys(self._keys.current)
        return self._keys
