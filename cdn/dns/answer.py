"""Bytes in, bytes out: the whole way of a question, without sockets and clocks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cdn.dns.code import Rcode
from cdn.dns.cookie import CookieSecrets
from cdn.dns.one_zone import Answerer  # until every user of it has changed to Responder
from cdn.dns.rate_limit import RateLimits
from cdn.dns.transport import Transport
from cdn.dns.zone_answer import Signers, Zones

__all__ = ["AnswerCounters", "AnswerSettings", "Answerer", "Responder", "Transport"]


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How every answer is given, whatever the zone says."""

    nsid: bytes = b""
    """What a server calls itself when it is asked (RFC 5001); empty: it says nothing."""
    cookies: CookieSecrets | None = None
    """None: cookies are passed over like any option that is not known (RFC 7873 5.2.1)."""
    rate_limits: RateLimits | None = None
    """None: everybody gets every answer."""


@dataclass(slots=True)
class AnswerCounters:
    """What was asked and how it was answered. `silent`: what got no answer. `limited`: answers that were above the
    limit of their client's network, of which `slipped` were sent all the same, truncated."""

    queries: Counter[Transport] = field(default_factory=Counter)
    rcodes: Counter[Rcode] = field(default_factory=Counter)
    truncated: int = 0
    silent: int = 0
    limited: int = 0
    slipped: int = 0
    bad_cookies: int = 0


class Responder:
    """Answers for all zones of a process, and refuses every other name (RFC 8906: an answer, not silence).

    It remembers answers for as long as `zones.generation` is the same object, and ten minutes at the most: what a
    signer says of a question is valid for longer than that.
    """

    def __init__(self, zones: Zones, signers: Signers | None, settings: AnswerSettings) -> None:
        self._zones = zones
        self._signers = signers
        self._settings = settings

    @property
    def counters(self) -> AnswerCounters:
        """As they are now."""
        raise NotImplementedError

    def answer(self, message: bytes, source: str, transport: Transport, wall_s: float) -> bytes | None:
        """The response to what `source`, an IP address, sent; None: say nothing. It raises nothing.

        `wall_s` is the time since 1970: cookies and signatures carry it.
        """
        raise NotImplementedError

    def answer_udp(self, message: bytes, source: str, wall_s: float) -> bytes | None:
        """See `answer`: the quick way, for a `UdpSocket`."""
        raise NotImplementedError

    def answer_tcp(self, message: bytes, source: str, wall_s: float) -> bytes | None:
        """See `answer`: for `TcpConnections`."""
        return self.answer(message, source, Transport.TCP, wall_s)
