"""What a worker is told by its node: nothing in it is secret, and nothing is said twice in a settings file."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdn.edge.access_log_settings import AccessLogSettings
from cdn.edge.h2_limits import H2Limits
from cdn.edge.limits import HttpLimits
from cdn.edge.tls_limits import TlsLimits


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """`exchange_path` is the node's Unix socket, where the worker asks for what it does not have itself."""

    number: int
    zone: str
    cache_name: str
    exchange_path: str
    memory_bytes: int
    limits: HttpLimits
    http2: H2Limits = field(default_factory=H2Limits)
    access_log: AccessLogSettings = field(default_factory=AccessLogSettings)
    """Every worker appends to the same file: `access_log_file`, as what is told is plain."""
    access_log_file: str = ""
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False
    https_port: int | None = None
    """Where visitors reach the node by https; None: nowhere."""
    shelf_path: str = ""
    edge_key_file: str = ""
    """A path: the key itself is never passed on."""
    key_groups: tuple[str, ...] = ()
    tls: TlsLimits = field(default_factory=TlsLimits)


BEAT_S = 0.5
"""How often a worker shows life."""

LEASE_S = 2.0
"""A worker serves from its memory for so long after it sent the last beat that was answered: how late a receipt may be
because a worker hangs."""

FENCE_MARGIN_S = 0.1
"""The node waits this much longer than a lease before it calls it over: one clock, but two processes look at it."""

HANG_S = 8.0
"""A worker that has shown no life for so long is killed and replaced. It has served nothing stale meanwhile: its lease
was over long before."""

SILENT_BEATS = 16
"""A worker whose node has answered none of so many beats, in eight seconds, takes it for hung: it gives up what it had
asked, and answers for itself that the server is away. Counted in beats, because a machine that slept, or a worker that
was stopped, has sent none meanwhile."""

START_S = 60.0
"""From a worker's start to its listening; a machine that needs longer does not get anywhere."""
