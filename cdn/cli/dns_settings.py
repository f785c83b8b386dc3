"""The settings of `cdn dns`, from one TOML file: config/dns.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cdn.cli.address import Address
from cdn.cli.follower_token import FollowerToken
from cdn.cli.role_settings import check_tls_files
from cdn.cli.settings_file import Section, SettingsFile, section_of
from cdn.dns.cookie import CookieSecrets
from cdn.dns.cookie_secret_file import cookie_secrets
from cdn.dns.geo_settings import GeoSettings
from cdn.dns.rate_limit import RateLimits
from cdn.dns.settings import CheckSettings, DnsSettings, TcpSettings
from cdn.errors import InvalidInput
from cdn.tls.mutual import ClientTls
from cdn.tls.sealed import KeyRing

DNS_TOKEN = FollowerToken("dns", "CDN_DNS_TOKEN", "dns:ID")

MAX_LISTEN = 64
"""Addresses of one machine."""


@dataclass(frozen=True, slots=True)
class DnsProcess:
    """What `cdn dns` listens on, as whom it follows, and how it ends."""

    listen: tuple[Address, ...] = (Address("127.0.0.1", 8053),)
    """Where questions are answered, over UDP and TCP: IPv4 and IPv6 addresses."""
    admin: Address = field(default_factory=lambda: Address("127.0.0.1", 8054))
    """Where /healthz, /readyz and /metrics are. Nobody has to show a token there: keep it on a private address."""
    token_file: Path | None = None
    """The file with the process's token; the environment's CDN_DNS_TOKEN goes before it."""
    withdraw_s: float = 1.0
    """How long it goes on answering when it is stopped, while /readyz says no."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.listen) <= MAX_LISTEN:
            raise InvalidInput(f"give 1 to {MAX_LISTEN} addresses", field="listen")
        named = [address for address in self.listen if address.port]
        if len(set(named)) < len(named):
            raise InvalidInput("an address stands twice", field="listen")


DNS_FILE: Mapping[str, Section] = {
    "dns": section_of(
        DnsSettings,
        CheckSettings,
        TcpSettings,
        GeoSettings,
        DnsProcess,
        without=frozenset({"token", "checks", "tcp", "control_tls", "rate_limits", "geo"}),
    ),
    "rate_limits": section_of(RateLimits),
    "control_tls": section_of(ClientTls),
}
"""What the file of `cdn dns` may have."""


@dataclass(frozen=True, slots=True)
class DnsRole:
    """Everything that `cdn dns` is told."""

    dns: DnsSettings
    process: DnsProcess


def read_dns_role(path: Path, environ: Mapping[str, str]) -> DnsRole:
    """Raises InvalidInput that names every fault with its line."""
    file = SettingsFile.read(path, DNS_FILE)
    process = file.made("dns", DnsProcess)
    dns = file.made(
        "dns",
        DnsSettings,
        token=DNS_TOKEN.read(file, process.token_file, environ),
        checks=file.made("dns", CheckSettings),
        tcp=file.made("dns", TcpSettings),
        geo=file.made("dns", GeoSettings),
        rate_limits=file.made("rate_limits", RateLimits),
        control_tls=file.made("control_tls", ClientTls),
    )
    check_tls_files(file, {"control_tls": dns.control_tls})
    for key, read in (
        ("dns_key_file", lambda: dns.dns_key_file and KeyRing.read(dns.dns_key_file)),
        ("cookie_secret_file", lambda: CookieSecrets(cookie_secrets(dns.cookie_secret_file))),
    ):
        try:
            read()
        except InvalidInput as exc:
            raise file.fault("dns", key, exc.message) from exc
    return DnsRole(dns, process)
