"""Every limit of the control plane, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from cdn.errors import InvalidInput
from cdn.sites.manifest import BundleLimits

MIN_HEARTBEATS = 3
"""Heartbeats within a lease: a lost one, and one that is late, cost no node its lease."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Content may be silent for `stall_s`, and wait that long in all beside its size at the lowest rate."""

    stall_s: float = 60.0
    min_rate_bytes_per_s: float = 1024.0


@dataclass(frozen=True, slots=True)
class ControlSettings:
    """`zone` is the CDN's own DNS zone; `data_dir` is where control keeps files of its own."""

    zone: str
    data_dir: Path

    public_scheme: str = "http"
    """Scheme and port of the URLs that answers mention: where visitors reach an edge."""
    public_port: int | None = None
    own_bucket: str | None = None
    """The bucket of the CDN's own store, which no site is answered from: everything of every site is in it."""

    heartbeat_s: float = 2.0
    """How often a node says that it is there, and finds out that its token was revoked."""
    detach_after_s: float = 10.0
    """How long a node serves without hearing from control: its lease. A receipt waits so long for a node that was cut
    off. At least three heartbeats; the same at every replica."""
    max_request_bytes: int = 1024 * 1024
    """Content of an ordinary request: none needs more than a purge of 1,000 long URLs."""
    max_manifest_bytes: int = 64 * 1024 * 1024
    """Content of a request that names every file of a bundle: 100,000 files at some 600 octets each."""
    bundle: BundleLimits = field(default_factory=BundleLimits)
    """Bounds of one bundle, however it arrives."""

    max_wait_s: float = 300.0
    """Longest `?wait=`: a caller who hangs up is not noticed before."""
    explain_timeout_s: float = 5.0
    """How long a node may think about an explanation."""
    max_explaining_nodes: int = 16
    """Nodes asked when an explanation names none: answers stay readable."""
    stall_timeout_s: float = 60.0
    """Silence in the middle of a request's content after which it is given up: a stalled upload holds a slot."""
    min_upload_rate_bytes_per_s: int = 1024
    """Content that comes slower over the whole of its time is given up too: a sender who dribbles holds a slot."""

    max_concurrent_manifests: int = 4
    """Requests that name every file of a large bundle, read and worked on at one time: some 200 MB of memory each."""
    max_concurrent_manifests_per_site: int = 2
    """A site's fair share of them."""
    max_waiting_manifests: int = 64
    """Those that wait for their turn, half as many of one site; more are asked to come back."""

    upload_session_s: float = 3600.0
    """How long a session pins its digests: long enough for 50 GiB over a slow line to be tried again."""
    max_sessions: int = 256
    """Open upload sessions of all sites."""
    max_sessions_per_site: int = 32
    """A site's fair share of them."""
    max_session_digests: int = 500_000
    """Digests pinned by all sessions together: some 150 MB of memory at the most."""
    max_session_digests_per_site: int = 200_000
    """A site's fair share of them: two of the largest bundles at one time."""
    max_proven_digests: int = 400_000
    """Digests remembered as proven, of all sites: some 80 MB; more are looked up in the store again."""
    max_urls_per_request: int = 1000
    """Presigned URLs in one answer: about 1 MB of JSON."""
    presigned_url_s: int = 3600
    """How long a presigned URL works; never longer than its session."""

    max_concurrent_blobs: int = 64
    """Blobs on their way through control at one time; more wait on their connections."""
    max_concurrent_blobs_per_site: int = 32
    """A site's fair share of them: one with slow lines leaves the others theirs."""
    max_concurrent_archives: int = 2
    """Archives unpacked at one time: each may stage a whole bundle on disk."""
    max_concurrent_archives_per_site: int = 1
    """A site's fair share of them."""
    max_waiting_archives: int = 16
    """Archives whose senders wait for their turn, half as many of one site; more are asked to come back."""
    max_archive_bytes: int = 8 * 1024**3
    """An archive as it is sent, compressed or not."""
    max_staged_bytes: int = 50 * 1024**3
    """What one archive may unpack to."""
    max_archive_ratio: float = 200.0
    """Unpacked bytes for one byte sent: text compresses 10 fold, bombs a thousand fold."""
    max_concurrent_puts: int = 16
    """Parallel writes to the store for one archive, and for all files that come in other dialects."""

    coding_processes: int = 1
    """Processes that make compressed forms of deployed files when the machine has nothing else to do, one core and up
    to 300 MB each while there is work; 0: none are made here."""

    max_sites: int = 100_000
    """Sites in memory: about 2 KB each."""
    max_tokens: int = 10_000
    """Tokens in memory and in every snapshot."""
    max_tokens_per_site: int = 1_000
    """A site's fair share of them: whoever has admin of one site leaves the others theirs."""

    max_purged_urls_per_minute: int = 30_000
    """URLs of a site that one token may purge in a minute, at each replica: 500 a second; 0: any number. Each is
    a floor on every node, and what is merged into wider ones is fetched again."""
    max_purged_prefixes_per_minute: int = 6_000
    """Prefixes of a site, the same way."""
    max_purged_tags_per_minute: int = 0
    """Tags of a site, the same way. Any number, as it comes: tags are how programs say what they changed."""
    max_purges_of_everything_per_minute: int = 600
    """How often a whole site, the same way: every one sends all of its visitors to where its content comes from."""

    max_claims: int = 20_000
    """Domains that wait to be verified: about 500 bytes each, and each is looked up now and then."""
    max_claims_per_site: int = 100
    """A site's fair share of them: more than anybody moves at one time."""

    max_hook_bytes: int = 4 * 1024 * 1024
    """A message to a hook: those of the largest pushes have a megabyte or two."""
    max_concurrent_hooks: int = 16
    """Messages read and judged at one time; more wait."""
    max_concurrent_hooks_per_site: int = 4
    """A site's fair share of them."""
    max_waiting_hooks: int = 256
    """Messages that wait for their turn, half as many of one site; more are asked to come back."""
    max_hook_messages_per_minute: int = 600
    """Messages that one hook takes, however they come; 0: any number. Each costs the store some writes."""
    hook_deliveries_kept_s: float = 30 * 86_400.0
    """How long it is remembered which messages came: one that comes again within it is not worked on again."""
    max_hook_deliveries: int = 10_000
    """Messages that are remembered for one hook; the oldest are forgotten first."""
    allows_private_webhooks: bool = False
    """Messages may be sent to servers inside private networks, and on this machine. For development."""
    allowed_webhook_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that messages may be sent to although they are private."""

    max_zones: int = 1_000
    """Imported zones, of all of which name servers keep a copy."""
    max_zones_bytes: int = 64 * 1024 * 1024
    """What they take together in the journal, and ten times as much in the memory of each name server."""
    max_zone_file_bytes: int = 4 * 1024 * 1024
    """A zone file as it is sent: what fits a record, with comments and spaces."""
    max_challenges: int = 10_000
    """TXT records for certificate authorities at one time: two for each of the names that one renews in an hour."""
    max_geography_bytes: int = 256 * 1024 * 1024
    """A table of places: the most detailed databases of addresses compile to a third of it."""

    sweep_every_s: float = 21_600.0
    """From one sweep of the store to the next: what no deploy names any more is removed."""
    sweep_first_s: float = 900.0
    """From the start of control to the first of them: a control that restarts has other things to do."""
    sweep_grace_s: float = 86_400.0
    """How long an object has to have been useless before it is removed: a day to change one's mind by deploying what it
    belonged to without an upload."""

    snapshot_every_records: int = 10_000
    """A start replays at most about this many records."""
    snapshot_every_parts: int = 1_000
    """A restore reads at most about this many archived objects; where records come singly, each is one."""
    keep_records: int = 10_000
    """Records kept behind a snapshot, so that nodes that were away for a while resume without one."""
    keep_snapshots: int = 2
    """The newest and one to fall back on."""
    archive_interval_s: float = 0.5
    """Pause between two objects of archived records: half of the second that a restore from the store alone may lose,
    the other half is for the store's answer."""

    def __post_init__(self) -> None:
        if self.detach_after_s < MIN_HEARTBEATS * self.heartbeat_s:
            raise InvalidInput(
                f"detach_after_s is {self.detach_after_s:g} and heartbeat_s {self.heartbeat_s:g}: give it at least "
                f"{MIN_HEARTBEATS} heartbeats, or a single late one takes a node out",
                field="detach_after_s",
            )

    @property
    def patience(self) -> Patience:
        """How long content may take."""
        return Patience(self.stall_timeout_s, self.min_upload_rate_bytes_per_s)

    @property
    def staging_dir(self) -> Path:
        """Where archives are unpacked; emptied at start."""
        return self.data_dir / "staging"
