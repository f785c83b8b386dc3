"""Everything an edge node can be told; every bound names its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from cdn.edge.access_log_settings import AccessLogSettings
from cdn.edge.h2_limits import H2Limits
from cdn.edge.limits import HttpLimits
from cdn.edge.shield_settings import PeerSettings, ShieldSettings
from cdn.edge.tls_limits import TlsLimits
from cdn.errors import InvalidInput
from cdn.fleet.node import DEFAULT_WEIGHT, check_bias, check_public_addresses, check_weight, read_location
from cdn.sites.manifest import CHUNK_BYTES
from cdn.sites.region import check_region
from cdn.tls.mutual import ClientTls

MAX_WORKERS = 128
"""As many as a large machine has cores; a service manager keeps one socket for each."""


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """`data_dir` is the node's own; `control_url` and `token` are where and as whom it follows the journal.

    `other_control_urls` are control's other replicas: any of them will do, and they are tried in turn.
    """

    node_id: str
    data_dir: Path
    zone: str
    control_url: str
    token: str
    region: str = ""  # none: it may not have sites that name regions
    host: str = "127.0.0.1"
    port: int = 8080
    https_host: str = "127.0.0.1"
    https_port: int | None = None
    """Where visitors connect by https; without a port nowhere."""
    public_https_port: int | None = None
    """The port by which visitors reach the node by https, for redirects: where another forwards it. None: the one that
    it listens on."""
    edge_key_file: Path | None = None
    """The key that opens the keys of certificates: that of the node's region where control has one for it, else the one
    for all other edges. Without it no certificate is shown."""
    public_addresses: tuple[str, ...] = ()
    """Where visitors reach the node: the IPv4 and IPv6 addresses that DNS answers with, without a port."""
    weight: int = DEFAULT_WEIGHT
    """How many visitors DNS sends here beside the other nodes of the region; 0: none."""

    location: str = ""
    """Where the node stands, `LATITUDE,LONGITUDE` in degrees; none: DNS looks its public addresses up."""
    bias: int = 0
    """How many hundredths nearer the node counts than it is, -99 to 99: it draws in, or leaves, distant visitors."""

    other_control_urls: tuple[str, ...] = ()
    """Where control's other replicas are: when one goes the next is followed."""
    cache_name: str = "cdn"
    """How the node names itself in Cache-Status."""
    workers: int = 1
    """Processes that answer visitors, one for each core; with 1 the node's own process does. With more they share the
    memory: each has its part, and the node's process one more."""
    memory_bytes: int = 256 * 1024 * 1024
    """Prepared responses in memory."""
    disk_bytes: int = 20 * 1024**3
    """Content on disk; the least recently used goes first."""
    max_in_memory_bytes: int = 256 * 1024
    """A larger representation is never held whole: it is served from mapped chunks. At most one chunk."""
    scrub_bytes_per_s: int = 4 * 1024 * 1024
    """How fast stored content is read again to find damage: 20 GiB in an hour and a half."""
    scrub_every_s: float = 86_400.0
    """From the end of one such pass to the next."""
    max_concurrent_fetches: int = 64
    """Requests to the store at one time: each may hold one chunk of 1 MiB."""
    max_concurrent_preparations: int = 4
    """Manifests of new deploys loaded at one time."""
    max_stored_bytes: int = 1024**3
    """Content from an upstream that is larger is passed on and not stored: one response is a twentieth of the disk."""
    allows_private_upstreams: bool = False
    """Whether upstreams may be on this machine or in a private network: only where every owner of a site is trusted."""
    allowed_upstream_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that upstreams may be in although they are private."""
    extra_ca_file: Path | None = None
    """Authorities in PEM form that are trusted beside those of the system when an upstream shows its certificate."""
    s3_endpoint: str | None = None
    """Where buckets are that sites are answered from; None: AWS."""
    own_bucket: str | None = None
    """The bucket of the CDN's own store, which no site is answered from: everything of every site is in it."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Proxies in front of the node, who are believed when they say for whom they ask: by the PROXY protocol where that
    is switched on, else by X-Forwarded-For."""
    geography_file: Path | None = None
    """Where the countries of visitors are looked up, for rules about them: a table or an .mmdb database. None: in the
    table that comes with the program."""
    proxy_protocol: bool = False
    """Whether connections from `trusted_proxies` begin with a header of the PROXY protocol, version 1 or 2."""
    drain_timeout_s: float = 10.0
    """How long requests under way may take when the node is stopped."""
    limits: HttpLimits = field(default_factory=HttpLimits)
    http2: H2Limits = field(default_factory=H2Limits)
    tls: TlsLimits = field(default_factory=TlsLimits)
    access_log: AccessLogSettings = field(default_factory=AccessLogSettings)
    shield: ShieldSettings = field(default_factory=ShieldSettings)
    """Whom the node asks before it asks an upstream or the store."""
    peers: PeerSettings = field(default_factory=PeerSettings)
    """Where the node is asked by others."""
    control_tls: ClientTls = field(default_factory=ClientTls)
    """What it goes by, and shows, when control is reached by https."""

    def __post_init__(self) -> None:
        if self.region:
            check_region(self.region)
        if not 1 <= self.workers <= MAX_WORKERS:
            raise InvalidInput(
                f"workers is {self.workers}, give 1 to {MAX_WORKERS}: one for each core of the machine", field="workers"
            )
        if self.https_port is not None and self.edge_key_file is None:
            raise InvalidInput(
                "https is to be answered, and without edge_key_file no certificate can be shown: give the file that "
                "control has as edge_key_file, or as this region's among region_key_files",
                field="edge_key_file",
            )
        check_weight(self.weight)
        check_public_addresses(self.public_addresses)
        if self.location:
            read_location(self.location)
        check_bias(self.bias)
        if not 0 <= self.max_in_memory_bytes <= CHUNK_BYTES:
            raise InvalidInput(
                f"max_in_memory_bytes is {self.max_in_memory_bytes}, give 0 to {CHUNK_BYTES}: what is held whole is "
                "one chunk",
                field="max_in_memory_bytes",
            )
        if self.proxy_protocol and not self.trusted_proxies:
            raise InvalidInput(
                "proxy_protocol is true, but trusted_proxies names nobody whose header would be believed; give the "
                'networks of your proxies, like ["10.0.0.0/8"]',
                field="trusted_proxies",
            )

    @property
    def control_urls(self) -> tuple[str, ...]:
        """All replicas of control."""
        return (self.control_url, *self.other_control_urls)

    @property
    def key_groups(self) -> tuple[str, ...]:
        """For whom control may have sealed what this node opens: see `CertificateSet.sealed_keys`."""
        return (self.region, "") if self.region else ("",)

    @property
    def replica_path(self) -> Path:
        return self.data_dir / "replica.db"

    @property
    def manifests_dir(self) -> Path:
        return self.data_dir / "manifests"

    @property
    def variants_dir(self) -> Path:
        return self.data_dir / "variants"

    @property
    def geography_dir(self) -> Path:
        return self.data_dir / "geography"

    @property
    def peers_path(self) -> Path:
        return self.data_dir / "peers.json"

    @property
    def certificates_path(self) -> Path:
        return self.data_dir / "certificates.db"

    @property
    def content_dir(self) -> Path:
        return self.data_dir / "content"
