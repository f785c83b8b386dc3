"""What all connections of one listener share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from cdn.edge.application import Application
from cdn.edge.h2_service import H2Service
from cdn.edge.head_memo import HeadMemo
from cdn.edge.head_parser import HeadParser
from cdn.edge.known_heads import KnownHeads
from cdn.edge.limits import HttpLimits
from cdn.edge.open_files import OpenFiles
from cdn.edge.tls_contexts import TlsContexts
from cdn.edge.traffic import Traffic
from cdn.edge.trusted_proxies import TrustedProxies


class Connection(Protocol):
    """What a listener asks of a connection of any protocol."""

    def check(self, now: float) -> None:
        """Enforce the timeouts at `now` (monotonic)."""
        ...

    def withdraw(self) -> None:
        """From now on say with each answer that the connection closes; an idle one stays for its next request."""
        ...

    def drain(self) -> None:
        """Serve what was asked for, then close; an idle connection closes at once."""
        ...

    def abort(self) -> None:
        """Reset the connection."""
        ...


@dataclass(slots=True)
class ListenerCounters:
    """Plain integers, raised in place. `refused` counts by the refusal's detail, and connections of HTTP/2 that ended
    for their client's fault by `h2-` and its name (RFC 9113 section 7).

    Of HTTP/2: its connections, the requests on them, and those of them that were reset before their whole answer.
    """

    connections: int = 0
    memo_hits: int = 0
    recalled: int = 0
    answered: int = 0
    timed_out: int = 0
    h2_connections: int = 0
    h2_streams: int = 0
    h2_resets: int = 0
    refused: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Service:
    """What the connections of one listener share.

    `forwarders` are believed when they say in X-Forwarded-For who asks.
    """

    application: Application
    limits: HttpLimits
    parser: HeadParser
    memo: HeadMemo
    cache_name: str
    scheme: str
    monotonic: Callable[[], float]
    wall: Callable[[], float]
    counters: ListenerCounters
    connections: set[Connection] = field(default_factory=set)
    on_connection_gone: Callable[[], None] = lambda: None
    forwarders: TrustedProxies = field(default_factory=TrustedProxies)
    is_withdrawn: bool = False
    """Whether connections that come now are to close after their first answer."""
    is_draining: bool = False
    """Whether nobody is accepted any more: who still comes, out of a handshake, has `linger_s` to ask for something."""
    serves_until: float = inf
    """Until when (monotonic) what was prepared may be sent without asking; a worker's lease from its node."""
    traffic: Traffic = field(default_factory=Traffic)
    """What is counted and kept of every answer; one for the whole process."""
    tls: TlsContexts | None = None
    """With it, connections begin with a handshake."""
    http2: H2Service | None = None
    """With it, HTTP/2 is spoken: where the handshake chose it, or the client begins with its preface on a plain
    connection."""
    open_files: OpenFiles = field(default_factory=OpenFiles)
    """Descriptors of the files that are sent."""
    known_heads: KnownHeads = field(init=False)

    def __post_init__(self) -> None:
        self.known_heads = KnownHeads(self.memo, self.limits, self.traffic.words)
