"""TLS between nodes: each side shows a certificate that the operator's own authority signed."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

from cdn.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a listener for nodes shows, and whom it lets in. All are files in PEM form.

    `client_ca_file`: only who shows a certificate of these authorities is let in; None: certificates are not asked for.
    """

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None

    def context(self, *, requires_certificate: bool = True) -> ssl.SSLContext:
        """For accepting connections, TLS 1.2 and later. Raises InvalidInput that names the file.

        `requires_certificate` False: a client may come without a certificate, and one that it shows is verified all
        the same. Then whoever answers has to look (`shows_certificate`).
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        _load_pair(context, self.cert_file, self.key_file)
        if self.client_ca_file is not None:
            _load_authorities(context, self.client_ca_file, "client_ca_file")
            context.verify_mode = ssl.CERT_REQUIRED if requires_certificate else ssl.CERT_OPTIONAL
        return context


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What a node goes by, and shows, when it connects to another. All are files in PEM form.

    `ca_file`: the authorities that are trusted in place of those of the system; None: the system's. Certificate and
    key come together, or neither.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        require_pair(self.cert_file, self.key_file)

    def context(self) -> ssl.SSLContext:
        """For connecting, TLS 1.2 and later; the other side's name is always verified.

        Raises InvalidInput that names the file.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self.ca_file is None:
            context.load_default_certs()
        else:
            _load_authorities(context, self.ca_file, "ca_file")
        if self.cert_file is not None and self.key_file is not None:
            _load_pair(context, self.cert_file, self.key_file)
        return context


def require_pair(cert_file: Path | None, key_file: Path | None) -> None:
    """Raises InvalidInput when one is there without the other."""
    if (cert_file is None) != (key_file is None):
        missing, given = ("cert_file", "key_file") if cert_file is None else ("key_file", "cert_file")
        raise InvalidInput(f"{given} is there and {missing} is not: give both, or neither", field=missing)


def shows_certificate(transport: asyncio.BaseTransport | None) -> bool:
    """Whether the other side of a connection has shown a certificate, which was verified then."""
    return transport is not None and bool(transport.get_extra_info("peercert"))


def _load_pair(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    for name, path in (("cert_file", cert_file), ("key_file", key_file)):
        _require_readable(name, path)
    try:
        # Never a question on the terminal: a service has none.
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as exc:
        raise InvalidInput(
            f"{cert_file} and {key_file} are no certificate and its key in PEM form, without a password: {_said(exc)}",
            field="cert_file",
        ) from exc


def _load_authorities(context: ssl.SSLContext, path: Path, name: str) -> None:
    _require_readable(name, path)
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as exc:
        raise InvalidInput(f"{path} holds no certificates in PEM form: {_said(exc)}", field=name) from exc


def _require_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be read: {exc.strerror}", field=name) from exc


def _no_password() -> str:
    raise ValueError("the key has a password")


def _said(exc: Exception) -> str:
    reason = exc.reason if isinstance(exc, ssl.SSLError) else None
    return (reason or str(exc) or "unknown").lower().replace("_", " ")
