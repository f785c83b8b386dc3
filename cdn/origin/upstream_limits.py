"""The bounds of all connections to upstreams (DESIGN I10). Each says what it protects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """What upstreams may make this node hold, and how many connections they may have."""

    max_head_bytes: int = 64 * 1024
    """One head, from the status line to the empty line; beyond: head-too-large."""

    max_fields: int = 256
    """Field lines of one head; beyond: head-too-large."""

    max_trailer_bytes: int = 16 * 1024
    """The trailer section with its line ends; beyond: malformed-content."""

    max_trailers: int = 64
    """Field lines of the trailer section; beyond: malformed-content."""

    max_interim: int = 16
    """Interim responses before the final one; beyond: too-many-interim. A 103 or two is what is seen."""

    max_buffer_bytes: int = 64 * 1024
    """Content that arrived and was not read yet; beyond, the connection is not read from. What one read of the socket
    gives (256 KiB) may come on top."""

    max_connections: int = 1000
    """Open connections to all upstreams: each is a file descriptor. Beyond, an idle one is closed or the request
    waits."""

    max_connections_per_upstream: int = 100
    """Open connections to one upstream: a slow one must not take all. Beyond, the request waits."""

    max_waiting: int = 2000
    """Requests that wait for a connection; beyond: too-many-connections at once."""

    idle_timeout_s: float = 15.0
    """How long a connection waits for the next request. Servers close theirs after a time of their own."""

    max_lookups: int = 32
    """Names looked up at once: a lookup that hangs holds a thread of the resolver; beyond: name-timeout at once."""

    max_names: int = 1024
    """Names whose addresses are remembered."""

    name_lifetime_s: float = 10.0
    """How long they are: an upstream that moves is found again soon."""

    stale_name_lifetime_s: float = 3600.0
    """For how long after that they are believed while the resolver does not answer (RFC 8767): names of some sites that
    hang must not take the upstreams of others away."""
