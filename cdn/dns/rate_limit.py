"""Response rate limiting: who has answers sent to the address of somebody else gets few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from cdn.errors import InvalidInput

IPV4_PREFIX, IPV6_PREFIX = 24, 56
"""What is one network of clients: a provider's resolvers share it, and so does whoever is flooded through us."""

MAX_SOURCES = 65_536
"""Addresses of one second, each with its counts: 25 MiB where each is a network of its own. With more the second begins
anew, and nobody waits for it."""

WINDOW_S = 1.0
"""After which everybody has the whole limit again: nothing is held against the victim for longer than the flood."""

_NO_LIMIT = 1 << 62


class Kind(IntEnum):
    """What an answer is, as far as limits are concerned."""

    ANSWER = 0
    ABSENCE = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Answers over UDP a second for one network of clients, /24 or /56; who shows a valid cookie has no limit.

    Raises InvalidInput.
    """

    answers_per_s: int = 1_000
    """Records and referrals: what all resolvers of a large provider together ask for."""
    absences_per_s: int = 500
    """That there is no such name, or nothing of that type."""
    errors_per_s: int = 100
    """Everything else: refused, malformed, failed."""
    slip: int = 2
    """Of the answers above the limit every so many-th is sent, truncated: who is there asks again over TCP. 0: none."""
    exempt: tuple[str, ...] = ()
    """Networks without a limit."""

    def __post_init__(self) -> None:
        for name in ("answers_per_s", "absences_per_s", "errors_per_s"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}, give 1 or more", field=name)
        if not 0 <= self.slip <= 100:
            raise InvalidInput(f"slip is {self.slip}, give 0 to 100; 1 sends every answer truncated", field="slip")
        self.exempt_networks()

    def exempt_networks(self) -> Sequence[IPv4Network | IPv6Network]:
        """Those of `exempt`."""
        try:
            return tuple(ip_network(text) for text in self.exempt)
        except ValueError as exc:
            raise InvalidInput(f"exempt has what is no network: {exc}; write 192.0.2.0/24", field="exempt") from exc


class RateLimiter:
    """What each network may still have within this second."""

    def __init__(self, limits: RateLimits) -> None:
        self._slip = limits.slip
        self._limits = (limits.answers_per_s, limits.absences_per_s, limits.errors_per_s)
        self._exempt = limits.exempt_networks()
        self._start_s = 0.0
        self._end_s = 0.0
        self._left: dict[str, list[int]] = {}
        self._of_networks: dict[bytes, list[int]] = {}

    def take(self, source: str, kind: int, wall_s: float) -> int:
        """How many more answers of the kind the network of `source` may have after this one; below 0: not even this.

        When the clock is set back a new second begins too.
        """
        left = self._left.get(source)
        if left is None or not self._start_s <= wall_s < self._end_s:
            left = self._first(source, wall_s)
        more = left[kind] = left[kind] - 1
        return more

    def is_slip(self, more: int) -> bool:
        """Whether an answer is one of those above the limit that are sent truncated. `more` is from `take`."""
        return bool(self._slip) and not -more % self._slip

    def _first(self, source: str, wall_s: float) -> list[int]:
        """The counts of a source that was not heard in this second."""
        if not self._start_s <= wall_s < self._end_s or len(self._left) >= MAX_SOURCES:
            self._start_s, self._end_s = wall_s, wall_s + WINDOW_S
            self._left, self._of_networks = {}, {}
        address = ip_address(source.partition("%")[0])
        network = address.packed[: (IPV4_PREFIX if address.version == 4 else IPV6_PREFIX) // 8]
        if any(address in each for each in self._exempt):
            counts = [_NO_LIMIT] * len(Kind)
        else:
            counts = self._of_networks.setdefault(network, list(self._limits))
        self._left[source] = counts
        return counts
