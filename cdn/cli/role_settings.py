"""The settings of one role, each from one TOML file: config/control.toml, config/edge.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from cdn.cli.address import Address
from cdn.cli.data_folder import DataFolder
from cdn.cli.follower_token import FollowerToken
from cdn.cli.issuing_role import IssuingRole, SealingFiles, control_ring, issuing_role
from cdn.cli.journal_role import JournalRole, journal_settings
from cdn.cli.settings_file import LIMITS, Section, SettingsFile, section_of
from cdn.cli.store_role import StoreRole
from cdn.control.acme_settings import OF_ALL_REPLICAS, AcmeSettings, IssuingSettings
from cdn.control.dns_asker import LookupSettings
from cdn.control.settings import ControlSettings
from cdn.edge.access_log_file import AccessLogFile
from cdn.edge.access_log_settings import AccessLogSettings
from cdn.edge.h2_limits import H2Limits
from cdn.edge.limits import HttpLimits
from cdn.edge.settings import EdgeSettings
from cdn.edge.shield_settings import PeerSettings, ShieldSettings
from cdn.edge.tls_limits import TlsLimits
from cdn.errors import InvalidInput
from cdn.journal.jetstream_settings import JetStreamSettings
from cdn.origin.dialer import client_tls
from cdn.sites.manifest import BundleLimits
from cdn.tls.mutual import ClientTls, ServerTls, require_pair
from cdn.tls.sealed import KeyRing

NODE_TOKEN = FollowerToken("edge", "CDN_NODE_TOKEN", "node:ID")


@dataclass(frozen=True, slots=True)
class ControlProcess:
    """What `cdn control` listens on, and how it ends."""

    listen: Address = field(default_factory=lambda: Address("127.0.0.1", 8700))
    """Where the API answers callers and nodes."""
    admin: Address = field(default_factory=lambda: Address("127.0.0.1", 8701))
    """Where /healthz, /readyz and /metrics are. Nobody has to show a token there: keep it on a private address."""
    withdraw_s: float = 1.0
    """How long it goes on answering when it is stopped, while /readyz says no and answers say `Connection: close`."""
    drain_timeout_s: float = 10.0
    """How long requests under way may take after that."""
    cert_file: Path | None = None
    """The certificate that control shows, in PEM form; without it the API is plain HTTP."""
    key_file: Path | None = None
    """Its key."""
    client_ca_file: Path | None = None
    """Nodes have to show a certificate of these authorities, beside their token. Callers of the API need none."""
    dns_key_file: Path | None = None
    """The key with which the keys of signed zones are sealed: name servers have the same file. Without it no zone is
    signed."""

    def __post_init__(self) -> None:
        require_pair(self.cert_file, self.key_file)
        if self.client_ca_file is not None and self.cert_file is None:
            raise InvalidInput("without cert_file there is no TLS, and no node shows a certificate", field="cert_file")

    @property
    def tls(self) -> ServerTls | None:
        """How connections are taken; None: without TLS."""
        if self.cert_file is None or self.key_file is None:
            return None
        return ServerTls(self.cert_file, self.key_file, self.client_ca_file)


@dataclass(frozen=True, slots=True)
class EdgeProcess:
    """What `cdn edge` listens on, as whom it follows, and how it ends."""

    listen: Address = field(default_factory=lambda: Address("127.0.0.1", 8080))
    """Where visitors connect."""
    https_listen: Address | None = None
    """Where visitors connect by https; without it nowhere."""
    admin: Address = field(default_factory=lambda: Address("127.0.0.1", 8081))
    """Where /healthz, /readyz and /metrics are. Nobody has to show a token there: keep it on a private address."""
    token_file: Path | None = None
    """The file with the node's token; the environment's CDN_NODE_TOKEN goes before it."""
    withdraw_s: float = 1.0
    """How long it goes on answering when it is stopped, while /readyz says no and answers say `Connection: close`."""


@dataclass(frozen=True, slots=True)
class PeersProcess:
    """Where `cdn edge` is asked by other edges, as their shield."""

    listen: Address | None = None
    """Where other edges connect; without it this one is nobody's shield."""


CONTROL_FILE: Mapping[str, Section] = {
    "control": section_of(ControlSettings, ControlProcess, SealingFiles, without=frozenset({"bundle", "own_bucket"})),
    "control.bundle": LIMITS["control.bundle"],
    "journal": section_of(JournalRole),
    "acme": section_of(AcmeSettings, IssuingSettings, without=OF_ALL_REPLICAS),
    "lookups": section_of(LookupSettings),
    "store": section_of(StoreRole),
}
"""What the file of `cdn control` may have."""

EDGE_FILE: Mapping[str, Section] = {
    "edge": section_of(
        EdgeSettings,
        EdgeProcess,
        without=frozenset(
            {"host", "port", "https_host", "https_port", "token", "s3_endpoint", "own_bucket"}
            | {"limits", "http2", "tls", "access_log", "shield", "peers", "control_tls"}
        ),
    ),
    "edge.http": LIMITS["edge.http"],
    "edge.http2": LIMITS["edge.http2"],
    "edge.tls": LIMITS["edge.tls"],
    "access_log": section_of(AccessLogSettings),
    "shield": section_of(ShieldSettings),
    "peers": section_of(PeersProcess, PeerSettings, without=frozenset({"host", "port"})),
    "control_tls": section_of(ClientTls),
    "store": section_of(StoreRole),
}
"""What the file of `cdn edge` may have."""


@dataclass(frozen=True, slots=True)
class ControlRole:
    """Everything that `cdn control` is told."""

    control: ControlSettings
    process: ControlProcess
    store: StoreRole
    folder: DataFolder
    journal: JetStreamSettings | None = None
    """Where the journal is that several replicas share; None: in the folder."""
    zone_keys: KeyRing | None = None
    """With which the keys of zones are sealed; None: no zone is signed."""
    issuing: IssuingRole | None = None
    """How certificates are got and sealed; None: there are none."""
    control_keys: KeyRing | None = None
    """With which secrets of hooks are sealed; None: there are no hooks."""


@dataclass(frozen=True, slots=True)
class EdgeRole:
    """Everything that `cdn edge` is told."""

    edge: EdgeSettings
    process: EdgeProcess
    store: StoreRole


def read_control_role(path: Path, environ: Mapping[str, str] = MappingProxyType({})) -> ControlRole:
    """Raises InvalidInput that names every fault with its line."""
    file = SettingsFile.read(path, CONTROL_FILE)
    bundle = file.applied("control.bundle", BundleLimits())
    store = _store(file, path)
    control = file.made("control", ControlSettings, bundle=bundle, own_bucket=store.bucket)
    process = file.made("control", ControlProcess)
    check_tls_files(file, {"control": process.tls})
    folder = DataFolder(control.data_dir, option="data_dir in [control]", store_option="url in [store]")
    return ControlRole(
        replace(control, data_dir=folder.control),
        process,
        store,
        folder,
        journal_settings(file, environ),
        _zone_keys(file, process.dns_key_file),
        issuing_role(file, path.absolute().parent, environ),
        control_ring(file),
    )


def read_edge_role(path: Path, environ: Mapping[str, str]) -> EdgeRole:
    """Raises InvalidInput that names every fault with its line."""
    file = SettingsFile.read(path, EDGE_FILE)
    process, store = file.made("edge", EdgeProcess), _store(file, path)
    limits = file.applied("edge.http", HttpLimits())
    secure = process.https_listen
    edge = file.made(
        "edge",
        EdgeSettings,
        host=process.listen.host,
        port=process.listen.port,
        **({} if secure is None else {"https_host": secure.host, "https_port": secure.port}),
        token=NODE_TOKEN.read(file, process.token_file, environ),
        s3_endpoint=store.endpoint_url,
        own_bucket=store.bucket,
        limits=limits,
        http2=file.applied("edge.http2", H2Limits()),
        tls=file.applied("edge.tls", TlsLimits()),
        access_log=file.made("access_log", AccessLogSettings),
        shield=file.made("shield", ShieldSettings),
        peers=_peers(file),
        control_tls=file.made("control_tls", ClientTls),
    )
    check_tls_files(file, {"shield": edge.shield.tls, "peers": edge.peers.tls, "control_tls": edge.control_tls})
    if edge.access_log.file is not None:
        try:
            AccessLogFile.check(edge.access_log.file)
        except InvalidInput as exc:
            raise file.fault("access_log", "file", exc.message) from exc
    if edge.edge_key_file is not None:
        try:
            KeyRing.read(edge.edge_key_file)
        except InvalidInput as exc:
            raise file.fault("edge", "edge_key_file", exc.message) from exc
    if edge.extra_ca_file is not None:
        try:
            client_tls(edge.extra_ca_file)
        except InvalidInput as exc:
            raise file.fault("edge", "extra_ca_file", exc.message) from exc
    return EdgeRole(edge, process, store)


def _zone_keys(file: SettingsFile, path: Path | None) -> KeyRing | None:
    """Raises InvalidInput that names the line of a key file that cannot be used."""
    try:
        return None if path is None else KeyRing.read(path)
    except InvalidInput as exc:
        raise file.fault("control", "dns_key_file", exc.message) from exc


def _peers(file: SettingsFile) -> PeerSettings:
    listen = file.made("peers", PeersProcess).listen
    return (
        file.made("peers", PeerSettings)
        if listen is None
        else file.made("peers", PeerSettings, host=listen.host, port=listen.port)
    )


def check_tls_files(file: SettingsFile, kinds: Mapping[str, ServerTls | ClientTls | None]) -> None:
    """Raises InvalidInput that names the line of a certificate, key or authority that cannot be used."""
    for table, tls in kinds.items():
        try:
            if tls is not None:
                tls.context()
        except InvalidInput as exc:
            raise file.fault(table, exc.field or "", exc.message) from exc


def _store(file: SettingsFile, path: Path) -> StoreRole:
    """A folder's path begins, like every path, at the file's folder."""
    store = file.made("store", StoreRole)
    return store if store.bucket is not None else replace(store, url=str(path.absolute().parent / store.url))
