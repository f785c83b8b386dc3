"""Everything a DNS process can be told; every bound names its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cdn.dns.name import labels_of, mailbox_labels
from cdn.dns.zone import MAX_NAME_SERVERS, NameServer, SoaTimes, Zone, name_server
from cdn.errors import InvalidInput
from cdn.tls.mutual import ClientTls

MAX_ANSWER_NODES = 8
"""Nodes in one answer at the most: more addresses than a client tries."""

MAX_TTL_S = 604_800
"""A week: whatever is told here should not outlive its mistake by more."""


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """How the process itself looks whether nodes answer."""

    check_port: int = 80
    """The port of the nodes' public addresses that is asked, over HTTP."""
    check_interval_s: float = 2.0
    """From one check of an address to the next."""
    check_timeout_s: float = 2.0
    """How long a node may take to answer one."""
    down_after: int = 3
    """Checks that fail in a row before an address leaves the answers."""
    up_after: int = 5
    """Checks that succeed in a row before it is back: more than it took to leave, so that one that flaps stays out."""


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
    """How long resolvers keep the addresses of a site: what a visitor waits for at the most when a node dies."""
    answer_nodes: int = 4
    """Nodes in one answer: when one dies, clients try the next."""
    soa_ttl_s: int = 3600
    """Of the zone's SOA and NS records and the name servers' addresses."""
    negative_ttl_s: int = 10
    """How long resolvers keep that a name does not exist: what whoever asked too early waits for."""
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
        for name in ("answer_ttl_s", "soa_ttl_s", "negative_ttl_s"):
            if not 1 <= getattr(self, name) <= MAX_TTL_S:
                raise InvalidInput(f"{name} is {getattr(self, name)}, give 1 to {MAX_TTL_S}", field=name)

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
    def fleet_path(self) -> Path:
        return self.data_dir / "fleet.json"
