"""What an edge is told of its shields, and of being one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from cdn.errors import InvalidInput
from cdn.sites.region import check_region
from cdn.tls.mutual import ClientTls, ServerTls, require_pair

MAX_SHIELDS = 32
"""Shields of one edge: each key is weighed against all of them."""

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ShieldSettings:
    """Whom an edge asks before it asks an upstream or the store. No `urls`: nobody."""

    urls: tuple[str, ...] = ()
    """Where the shields' [peers] listen, https://HOST:PORT each; all edges of a region name the same ones."""
    region: str = ""
    """Where they stand. Sites that name regions go through them only if this is one of those."""
    ca_file: Path | None = None
    """Authorities in PEM form that are trusted, in place of the system's, when a shield shows its certificate."""
    cert_file: Path | None = None
    """The certificate that this edge shows, where shields ask for one."""
    key_file: Path | None = None
    """Its key."""
    patience_s: float = 2.0
    """A shield that is silent for so long counts as dead. One that works says so every half second."""

    def __post_init__(self) -> None:
        if len(self.urls) > MAX_SHIELDS:
            raise InvalidInput(f"{len(self.urls)} shields are more than {MAX_SHIELDS}", field="urls")
        if len(set(self.urls)) < len(self.urls):
            raise InvalidInput("a shield is named twice", field="urls")
        for url in self.urls:
            check_shield_url(url)
        if self.region:
            check_region(self.region)
        require_pair(self.cert_file, self.key_file)

    @property
    def tls(self) -> ClientTls:
        """How shields are connected to."""
        return ClientTls(self.ca_file, self.cert_file, self.key_file)


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Where an edge answers other edges, as their shield. No `host`: nowhere."""

    host: str = ""
    port: int = 0
    url: str = ""
    """The name under which this node stands among `urls` in [shield], if it does: what is its own it asks itself."""
    cert_file: Path | None = None
    """The certificate that this node shows to those who ask it."""
    key_file: Path | None = None
    """Its key."""
    client_ca_file: Path | None = None
    """Only who shows a certificate of these authorities may ask."""
    max_connections: int = 4096
    """Open connections of other nodes; more are refused, and those nodes do without this shield."""

    def __post_init__(self) -> None:
        require_pair(self.cert_file, self.key_file)
        if self.client_ca_file is not None and self.cert_file is None:
            raise InvalidInput("without cert_file there is no TLS, and nobody shows a certificate", field="cert_file")
        if self.url:
            check_shield_url(self.url)

    @property
    def is_on(self) -> bool:
        """Whether other nodes are answered at all."""
        return bool(self.host)

    @property
    def tls(self) -> ServerTls | None:
        """How connections are taken; None: without TLS."""
        if self.cert_file is None or self.key_file is None:
            return None
        return ServerTls(self.cert_file, self.key_file, self.client_ca_file)


def check_shield_url(text: str) -> SplitResult:
    """The parts of a shield's URL. Raises InvalidInput."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise InvalidInput(f"{text!r} is no URL", field="urls") from exc
    is_whole = parts.scheme in DEFAULT_PORTS and parts.hostname and port != 0
    if not is_whole or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidInput(f"{text!r} is not the URL of a shield: write https://HOST:PORT", field="urls")
    return parts
