"""Nonces that the authority gave and that nothing was sent with yet (RFC 8555 6.5)."""

from __future__ import annotations

from collections import deque

from cdn.tls.acme.base64url import is_base64url

MAX_NONCES = 64
"""As many as requests run at one time; each answer brings another."""

MAX_NONCE_CHARS = 512
"""Authorities' have 30 to 90."""


class NoncePool:
    """The last one that came goes first: authorities forget old ones."""

    def __init__(self) -> None:
        self._nonces: deque[str] = deque(maxlen=MAX_NONCES)

    def take(self) -> str | None:
        """Each once; None: ask for one."""
        return self._nonces.pop() if self._nonces else None

    def put(self, nonce: str | None) -> None:
        """What is no nonce is passed over (RFC 8555 6.5.1)."""
        if nonce is not None and len(nonce) <= MAX_NONCE_CHARS and is_base64url(nonce):
            self._nonces.append(nonce)

    def clear(self) -> None:
        """The authority began anew: it knows none of them."""
        self._nonces.clear()
