"""Everything a DNS process can be told; every bound names its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from cdn.dns.fleet_state import FULL_LOAD
from cdn.dns.geo_settings import GeoSettings
from cdn.dns.name import labels_of, mailbox_labels
from cdn.dns.rate_limit import RateLimits
from cdn.dns.zone import MAX_NAME_SERVERS, NameServer, SoaTimes, Zone, name_server
from cdn.errors import InvalidInput
from cdn.tls.mutual import ClientTls

MAX_ANSWER_NODES = 8
"""Nodes in one answer at the most: more addresses than a client tries."""

MAX_PROCESSES = 64
"""Each holds its own copy of the zones and of the fleet, and what it remembers of its answers."""

MAX_NSID_BYTES = 128
"""A name, and no answer is crowded out by it."""

HTTPS_PORT = 443
"""Where browsers go that see an HTTPS record without a port (RFC 9460 section 9)."""

_PATH = re.compile(r"/[!-~]{0,1023}")

MAX_TTL_S = 604_800
"""A week: whatever is told here should not outlive its mistake by more."""


class CheckScheme(Enum):
    """How nodes are asked whether they live."""

    HTTP = "http"
    HTTPS = "https"


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """How the process itself looks whether nodes answer. A node that dies is out of every answer within
    `check_interval_s * down_after + check_timeout_s`."""

    check_scheme: CheckScheme = CheckScheme.HTTP
    """`http` or `https`; the certificate is not judged, only whether the node lives."""
    check_port: int = 80
    """The port of the nodes' public addresses that is asked."""
    check_path: str = "/"
    """What is asked for, with HEAD and the CDN's own zone as its host: any status below 500 is life."""
    check_interval_s: float = 2.0
    """From one check of an address to the next."""
    check_timeout_s: float = 1.0
    """How long a node may take to answer one."""
    down_after: int = 10
    """Checks that fail before an address leaves the answers."""
    ok_after: int = 10
    """Checks that succeed in a row before those that failed before are forgiven to an address that is up."""
    up_after: int = 20
    """Checks that succeed in a row before it is back: more than it took to leave, so that one that flaps stays out."""

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.check_path):
            raise InvalidInput(f"{self.check_path[:80]!r} is no path: begin it with /", field="check_path")


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """What one client may hold over TCP (RFC 7766 6)."""

    max_tcp_connections: int = 1024
    """Open connections, each with at most one message of 4 KiB in memory; beyond that the one that was idle for the
    longest is closed for the next."""
    tcp_timeout_s: float = 10.0
    """How long a connection may be without a whole question, and a client without reading its answer."""


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """`data_dir` is the process's own; `control_url` and `token` are where and as whom it follows the journal.

    `name_servers` are the zone's: a name outside of the zone, or `NAME ADDRESS...` for one within.
    """

    dns_id: str
    data_dir: Path
    zone: str
    control_url: str
    token: str
    name_servers: tuple[str, ...]
    hostmaster: str
    """The mail address of those who run the zone; the SOA names it."""
    other_control_urls: tuple[str, ...] = ()
    """Where control's other replicas are: when one goes the next is followed."""
    answer_ttl_s: int = 30
    """How long resolvers keep the addresses of a site at the most: what a visitor waits for when a node dies. It is
    shortened to how soon checks could take one of these addresses out."""
    answer_ttl_min_s: int = 5
    """And never shorter than this: when a node falters its visitors' resolvers ask so much more often."""
    answer_nodes: int = 4
    """Nodes in one answer: when one dies, clients try the next."""
    soa_ttl_s: int = 3600
    """Of the zone's SOA and NS records and the name servers' addresses."""
    negative_ttl_s: int = 10
    """How long resolvers keep that a name does not exist: what whoever asked too early waits for."""
    processes: int = 1
    """How many processes answer. Of several each has its own share of the questions, and one that dies is replaced
    without losing what it had not read; 1: the process that follows the journal answers itself."""
    full_load: float = FULL_LOAD
    """The load, as nodes report it, above which a node gets a smaller part of its visitors."""
    https_alpn: tuple[str, ...] | None = None
    """What HTTPS records of sites announce besides HTTP/1.1, like "h2"; none: sites have no such records. Unsaid: "h2"
    where nodes are checked by https at port 443, to which browsers that see such a record go at once; else none."""
    dns_key_file: Path | None = None
    """The key with which control sealed the keys of signed zones: control's own `dns_key_file`. Without it zones that
    are signed are answered with SERVFAIL."""
    nsid: str = ""
    """What the process calls itself when it is asked (RFC 5001); empty: it says nothing."""
    cookie_secret_file: Path | None = None
    """The secrets of DNS cookies (RFC 7873), in hex, one a line: the first makes cookies, all are believed. All
    processes of the zone have the same; without a file each makes one of its own when it starts."""
    limits_rates: bool = True
    """Whether answers to one network are limited ([rate_limits])."""
    rate_limits: RateLimits = field(default_factory=RateLimits)
    geo: GeoSettings = field(default_factory=GeoSettings)
    control_tls: ClientTls = field(default_factory=ClientTls)
    """Whom it trusts when it connects to control, and what it shows there."""
    checks: CheckSettings = field(default_factory=CheckSettings)
    tcp: TcpSettings = field(default_factory=TcpSettings)

    def __post_init__(self) -> None:
        if not 1 <= len(self.name_servers) <= MAX_NAME_SERVERS:
            raise InvalidInput(f"name the zone's servers, 1 to {MAX_NAME_SERVERS} of them", field="name_servers")
        if len({server.labels for server in self._servers()}) < len(self.name_servers):
            raise InvalidInput("a name server stands twice", field="name_servers")
        mailbox_labels(self.hostmaster)
        if not 1 <= self.answer_nodes <= MAX_ANSWER_NODES:
            raise InvalidInput(
                f"answer_nodes is {self.answer_nodes}, give 1 to {MAX_ANSWER_NODES}", field="answer_nodes"
            )
        if not 1 <= self.processes <= MAX_PROCESSES:
            raise InvalidInput(f"processes is {self.processes}, give 1 to {MAX_PROCESSES}", field="processes")
        if not 0 < self.full_load <= 1:
            raise InvalidInput(f"full_load is {self.full_load:g}, give above 0 and at most 1", field="full_load")
        if len(self.nsid.encode()) > MAX_NSID_BYTES:
            raise InvalidInput(f"nsid has at most {MAX_NSID_BYTES} octets", field="nsid")
        if self.answer_ttl_min_s > self.answer_ttl_s:
            raise InvalidInput(
                f"answer_ttl_min_s is {self.answer_ttl_min_s}, more than answer_ttl_s, which is {self.answer_ttl_s}",
                field="answer_ttl_min_s",
            )
        for name in ("answer_ttl_s", "answer_ttl_min_s", "soa_ttl_s", "negative_ttl_s"):
            if not 1 <= getattr(self, name) <= MAX_TTL_S:
                raise InvalidInput(f"{name} is {getattr(self, name)}, give 1 to {MAX_TTL_S}", field=name)

    @property
    def announced_protocols(self) -> tuple[str, ...]:
        """What HTTPS records announce; none: there are no such records."""
        if self.https_alpn is not None:
            return self.https_alpn
        is_there = self.checks.check_scheme is CheckScheme.HTTPS and self.checks.check_port == HTTPS_PORT
        return ("h2",) if is_there else ()

    @property
    def control_urls(self) -> tuple[str, ...]:
        """All replicas of control."""
        return (self.control_url, *self.other_control_urls)

    def made_zone(self) -> Zone:
        """The zone that these settings describe."""
        times = SoaTimes(ttl_s=self.soa_ttl_s, negative_ttl_s=self.negative_ttl_s)
        return Zone(labels_of(self.zone), self._servers(), mailbox_labels(self.hostmaster), times)

    def _servers(self) -> list[NameServer]:
        return [name_server(text, self.zone) for text in self.name_servers]

    @property
    def replica_path(self) -> Path:
        return self.data_dir / "replica.db"

    @property
    def geography_dir(self) -> Path:
        return self.data_dir / "geography"

    @property
    def fleet_path(self) -> Path:
        return self.data_dir / "fleet.json"
