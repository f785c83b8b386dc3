"""Which shield is asked for a key, and which are left alone for now. No IO."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

FIRST_PAUSE_S = 0.25
"""After a shield failed, until it is tried again by a probe."""

LONGEST_PAUSE_S = 5.0
"""The pause doubles up to this: how long a shield that is back may go unused."""


def owner(key: str, urls: Iterable[str]) -> str | None:
    """Which of `urls` a key belongs to: every node that knows the same ones says the same (rendezvous hashing).

    When one goes, only its own keys go to others. None: there are none.
    """
    return max(urls, key=lambda url: (_weight(url, key), url), default=None)


def _weight(url: str, key: str) -> bytes:
    return hashlib.blake2b(f"{url}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


@dataclass(slots=True)
class Circuit:
    """Whether one shield is asked. Visitors' requests do not try out one that failed: a probe does that."""

    is_open: bool = False
    pause_s: float = FIRST_PAUSE_S
    """Until the next probe."""

    def failed(self) -> bool:
        """It did not answer as it should. Whether it was asked until now, so that somebody has to begin probing."""
        was_closed = not self.is_open
        if was_closed:
            self.is_open, self.pause_s = True, FIRST_PAUSE_S
        return was_closed

    def probe_failed(self) -> None:
        """It still does not answer."""
        self.pause_s = min(self.pause_s * 2, LONGEST_PAUSE_S)

    def answered(self) -> None:
        """A probe was answered: it is asked again."""
        self.is_open = False
