"""The embedded size: control, one edge and a name server in one process (docs/decisions/005)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from cdn.cli.address import Address
from cdn.cli.config import Config, config_path, read_config, write_config
from cdn.cli.control_part import ControlPart, token_kept
from cdn.cli.data_folder import DataFolder, StoreChoice
from cdn.cli.issuing_role import NO_REGION, IssuingRole
from cdn.cli.listening import naming, reachable
from cdn.cli.settings_file import NO_FILE, SettingsFile
from cdn.cli.visitor_countries import VisitorCountries
from cdn.cli.worker_process import worker_command
from cdn.control.acme_settings import AcmeSettings
from cdn.control.dns_asker import LookupSettings
from cdn.control.settings import ControlSettings
from cdn.dns.node import DnsNode
from cdn.dns.settings import HTTPS_PORT, CheckSettings, DnsSettings
from cdn.edge.access_log_settings import AccessLogSettings
from cdn.edge.h2_limits import H2Limits
from cdn.edge.node import EdgeNode
from cdn.edge.settings import EdgeSettings
from cdn.errors import CdnError, Unavailable
from cdn.tls.development_authority import how_to_trust
from cdn.tls.sealed import KeyRing, make_key_file

CATCH_UP_TIMEOUT_S = 60.0
"""How long the edge may take to apply the journal before the start counts as failed."""

ANSWER_TIMEOUT_S = 1.0
"""How long a control plane that was saved before may take to say that it is still there."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """What `cdn up` was told."""

    data_dir: Path
    control: Address
    http: Address
    zone: str
    store_url: str | None
    s3_endpoint: str | None
    memory_bytes: int
    disk_bytes: int
    node_id: str
    limits_file: Path | None = None
    allows_private_upstreams: bool = False
    workers: int = 1
    access_log: AccessLogSettings = field(default_factory=AccessLogSettings)
    """Where a line for each answer is appended, and how much of visitors it keeps."""
    dns: Address | None = None
    """Where questions about the zone are answered; None: nowhere."""
    https: Address | None = None
    """Where visitors connect by https; None: nowhere, and no certificates are got."""
    acme: AcmeSettings = field(default_factory=AcmeSettings)
    """Authorities that sign certificates of domains. Without any the development authority does."""
    lookups: LookupSettings = field(default_factory=LookupSettings)
    """How name servers of domains are asked."""


class Embedded:
    """Everything that `cdn up` started, closed in the opposite order."""

    def __init__(
        self,
        settings: EmbeddedSettings,
        control_url: str,
        edge: EdgeNode,
        *,
        saved_in: Path | None,
        has_sites: bool,
        stack: contextlib.AsyncExitStack,
        dns: DnsNode | None = None,
    ) -> None:
        self.dns = dns
        self.control_url = control_url
        self.edge = edge
        self.settings = settings
        self.saved_in = saved_in
        """The config file that now leads the other commands here; None when it leads elsewhere."""
        self.has_sites = has_sites
        self._stack = stack

    @property
    def http_url(self) -> str:
        """Where visitors connect to."""
        return f"http://{Address(self.settings.http.host, self.edge.port)}"

    @property
    def https_url(self) -> str | None:
        """Where visitors connect to by https."""
        if self.settings.https is None or self.edge.https_port is None:
            return None
        return f"https://{Address(self.settings.https.host, self.edge.https_port)}"

    @property
    def dns_address(self) -> Address | None:
        """Where questions are answered."""
        if self.dns is None or self.settings.dns is None:
            return None
        return Address(self.settings.dns.host, self.dns.ports[0])

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """Listening sockets that may outlive this process."""
        return self.edge.sockets

    @classmethod
    async def start(cls, settings: EmbeddedSettings, kept: Sequence[socket.socket] | None = None) -> Embedded:
        """Start every role; when this returns the edge has applied the whole journal.

        `kept` are listening sockets from the process before; None when nobody keeps any.
        Raises CdnError, and OSError for addresses and folders that cannot be used.
        """
        limits = NO_FILE if settings.limits_file is None else SettingsFile.read(settings.limits_file)
        folder = DataFolder(settings.data_dir)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(folder.locked())
            choice = folder.settle_store(settings.store_url, settings.s3_endpoint)
            of_control = control_settings(settings, folder, limits, choice)
            make_key_file(folder.dns_key)
            zone_keys = KeyRing.read(folder.dns_key)
            control = await ControlPart.start(
                stack,
                folder,
                choice,
                of_control,
                settings.control,
                option="--control",
                zone_keys=zone_keys,
                issuing=issuing_role(settings, folder),
            )
            note = f"made by cdn up on {settings.node_id}"
            admin_token = await token_kept(control.plane, folder, "admin", note)
            node_token = await token_kept(control.plane, folder, "node", note)
            with naming("--http", settings.http):
                follows = EdgeSettings(settings.node_id, folder.edge, settings.zone, control.url, node_token)
                follows = replace(follows, edge_key_file=folder.edge_key)
                edge = await EdgeNode.start(
                    edge_settings(settings, limits, choice, follows),
                    control.store,
                    sockets=kept,
                    worker_command=worker_command(),
                    countries=VisitorCountries(),
                )
            stack.push_async_callback(edge.stop)
            await _caught_up(edge)
            announced = announced_protocols(settings, limits.applied("edge.http2", H2Limits()))
            dns = None if settings.dns is None else await _start_dns(stack, settings, control, edge, announced)
            folder.keep_control_url(control.url)
            saved_in = await asyncio.to_thread(_tell_commands, Config(control.url, admin_token))
            has_sites = bool(control.plane.services.catalog.sites())
            kept_open = stack.pop_all()
            return cls(settings, control.url, edge, saved_in=saved_in, has_sites=has_sites, stack=kept_open, dns=dns)

    @property
    def may_reopen(self) -> bool:
        """Whether there is an access log in a file."""
        return self.edge.keeps_log

    def reopen(self) -> None:
        """Go on in a new file."""
        self.edge.reopen_log()

    async def withdraw(self) -> None:
        """Nobody chooses between this machine and another: it stops at once."""

    async def aclose(self) -> None:
        """Stop every role: requests under way are finished first."""
        await self._stack.aclose()


def print_ready(embedded: Embedded, *, is_json: bool) -> None:
    """Say where everything is."""
    zone, port, folder = embedded.settings.zone, embedded.edge.port, DataFolder(embedded.settings.data_dir)
    if is_json:
        document = {"control_url": embedded.control_url, "http_url": embedded.http_url, "zone": zone}
        if embedded.https_url is not None:
            document["https_url"] = embedded.https_url
            document["root_file"] = str(folder.development_authority / "root.pem")
        if embedded.dns_address is not None:
            document["dns"] = str(embedded.dns_address)
        print(json.dumps(document), flush=True)
        return
    print(f"control   {embedded.control_url}")
    print(f"sites     http://NAME.{zone}:{port}/")
    if embedded.https_url is not None:
        _print_https(embedded, folder)
    if embedded.dns_address is not None:
        print(f"dns       {embedded.dns_address} for {zone}")
    print(f"data      {embedded.settings.data_dir}")
    if embedded.saved_in is not None:
        print(f"commands  talk to this one (saved in {embedded.saved_in})")
    else:
        token = embedded.settings.data_dir / "admin-token"
        print(f"commands  for this one: CDN_CONTROL_URL={embedded.control_url} CDN_TOKEN=$(cat {token})")
    if not embedded.has_sites:
        print("next      cdn site create blog && cdn deploy FOLDER --site blog")
    print("stop      Ctrl-C", flush=True)


def _print_https(embedded: Embedded, folder: DataFolder) -> None:
    """Where https is answered, and who signs."""
    directories = embedded.settings.acme.directories
    root_file = folder.development_authority / "root.pem"
    port = "" if embedded.https_url is None else embedded.https_url.rpartition(":")[2]
    print(f"          https://NAME.{embedded.settings.zone}:{port}/")
    if directories:
        print(f"signs     {directories[0]}")
    else:
        print("signs     the development authority: nobody trusts it but who is told to (--acme names another)")
    if not directories or is_local(embedded.settings.zone):
        lines = how_to_trust(root_file)
        print(f"trust     {lines[0]}")
        for line in lines[1:]:
            print(f"          {line}")


def is_local(zone: str) -> bool:
    """Whether no public authority signs names of the zone (RFC 6761 section 6.3)."""
    return zone == "localhost" or zone.endswith(".localhost")


def issuing_role(settings: EmbeddedSettings, folder: DataFolder) -> IssuingRole:
    """Key files are made when there are none. Raises InvalidInput for those that cannot be used."""
    make_key_file(folder.control_key)
    make_key_file(folder.edge_key)
    signs_itself = _signs_itself(settings)
    return IssuingRole(
        KeyRing.read(folder.control_key),
        {NO_REGION: KeyRing.read(folder.edge_key)},
        settings.acme if settings.https is not None else AcmeSettings(),
        development_dir=folder.development_authority if signs_itself else None,
        development_zone=settings.zone,
        own_zone=signs_itself or settings.dns is not None,
        lookups=settings.lookups,
    )


async def _start_dns(
    stack: contextlib.AsyncExitStack,
    settings: EmbeddedSettings,
    control: ControlPart,
    edge: EdgeNode,
    announced: tuple[str, ...],
) -> DnsNode:
    """The zone's only name server, which announces these protocols in HTTPS records. Raises CdnError."""
    listen = settings.dns
    assert listen is not None
    folder = DataFolder(settings.data_dir)
    of_dns = DnsSettings(
        dns_id=settings.node_id,
        data_dir=folder.dns,
        zone=settings.zone,
        control_url=control.url,
        token=await token_kept(control.plane, folder, "dns", f"made by cdn up on {settings.node_id}"),
        name_servers=(f"ns.{settings.zone} {reachable(listen).host}",),
        hostmaster=f"hostmaster@ns.{settings.zone}",
        dns_key_file=folder.dns_key,
        checks=CheckSettings(check_port=edge.port),
        https_alpn=announced,
    )
    with naming("--dns", listen):
        dns = await DnsNode.start(of_dns, [(listen.host, listen.port)])
    stack.push_async_callback(dns.stop)
    try:
        async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
            await dns.wait_caught_up()
    except TimeoutError as exc:
        fault = dns.follower.fault or dns.feed.fault
        raise Unavailable(f"the name server did not catch up within {CATCH_UP_TIMEOUT_S:g} s: {fault}") from exc
    return dns


def announced_protocols(settings: EmbeddedSettings, http2: H2Limits) -> tuple[str, ...]:
    """What HTTPS records say: nothing where browsers would go to another port, or find a certificate they distrust."""
    is_there = settings.https is not None and settings.https.port == HTTPS_PORT
    return ("h2",) if http2.enabled and is_there and not _signs_itself(settings) else ()


def _signs_itself(settings: EmbeddedSettings) -> bool:
    """Whether certificates are those of the development authority."""
    return settings.https is not None and (not settings.acme.directories or is_local(settings.zone))


async def _caught_up(edge: EdgeNode) -> None:
    """Return when the edge has applied the whole journal. Raises Unavailable."""
    try:
        async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
            await edge.follower.wait_caught_up()
    except TimeoutError as exc:
        raise Unavailable(
            f"the edge did not apply the journal within {CATCH_UP_TIMEOUT_S:g} s: {edge.follower.fault}"
        ) from exc


def control_settings(
    settings: EmbeddedSettings, folder: DataFolder, limits: SettingsFile, choice: StoreChoice
) -> ControlSettings:
    """What the options and the file tell control."""
    control = ControlSettings(
        zone=settings.zone,
        data_dir=folder.control,
        public_port=settings.http.port or None,
        own_bucket=choice.bucket,
        allows_private_webhooks=settings.allows_private_upstreams,
    )
    bundle = limits.applied("control.bundle", control.bundle)
    return replace(limits.applied("control", control), bundle=bundle)


def edge_settings(
    settings: EmbeddedSettings, limits: SettingsFile, choice: StoreChoice, follows: EdgeSettings
) -> EdgeSettings:
    """What the options and the file add to `follows`, which says whom the node follows and as whom."""
    edge = limits.applied("edge", follows)
    public_addresses = edge.public_addresses if settings.dns is None else (reachable(settings.http).host,)
    return replace(
        edge,
        public_addresses=public_addresses,
        host=settings.http.host,
        port=settings.http.port,
        **_https(settings),
        memory_bytes=settings.memory_bytes,
        disk_bytes=settings.disk_bytes,
        workers=settings.workers,
        allows_private_upstreams=settings.allows_private_upstreams or edge.allows_private_upstreams,
        s3_endpoint=choice.endpoint_url,
        own_bucket=choice.bucket,
        limits=limits.applied("edge.http", edge.limits),
        http2=limits.applied("edge.http2", edge.http2),
        tls=limits.applied("edge.tls", edge.tls),
        access_log=settings.access_log,
    )


def _https(settings: EmbeddedSettings) -> dict[str, Any]:
    return {} if settings.https is None else {"https_host": settings.https.host, "https_port": settings.https.port}


def _tell_commands(here: Config) -> Path | None:
    """Lead the other commands here; None when they are led to another control plane that still answers.

    A home that cannot be written costs only the comfort.
    """
    path = config_path(os.environ)
    try:
        saved = read_config(path)
        if saved is not None and saved.control_url != here.control_url and _answers(saved.control_url):
            return None
        write_config(path, here)
    except (OSError, CdnError) as exc:
        _log.warning("%s could not be written (%s)", path, exc)
        return None
    return path


def _answers(control_url: str) -> bool:
    """Whether a control plane is there now."""
    try:
        with urllib.request.urlopen(f"{control_url}/healthz", timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310
            return bool(answer.status == HTTPStatus.OK)
    except (OSError, ValueError):
        return False
