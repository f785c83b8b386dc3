"""Which authority is asked for certificates, and as whom."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cdn.errors import InvalidInput

MIN_MAC_KEY_BYTES = 16
"""Of an external account's key: authorities hand out 32 and more (RFC 8555 7.3.4 wants a key for HMAC-SHA-256)."""


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """An account that exists with the authority already (external account binding, RFC 8555 7.3.4)."""

    key_id: str
    mac_key: bytes = field(repr=False)

    @classmethod
    def read(cls, key_id: str, text: str) -> ExternalAccount:
        """`text` is the key as authorities hand it out, in base64url. Raises InvalidInput, which never quotes it."""
        plain = text.strip().rstrip("=")
        try:
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as exc:
            raise InvalidInput(f"the key of the external account {key_id} is not base64url") from exc
        if len(key) < MIN_MAC_KEY_BYTES:
            raise InvalidInput(
                f"the key of the external account {key_id} has {len(key)} octets, give {MIN_MAC_KEY_BYTES} or more"
            )
        return cls(key_id, key)


@dataclass(frozen=True, slots=True)
class Authority:
    """One authority, by the operator's settings. Its addresses may be private ones: the operator named it, no user.

    Naming a directory is the operator's agreement to the terms that it states (RFC 8555 7.3.3), unless
    `agrees_to_terms` is False. `profile` is one of the certificate profiles that the directory lists; "": its default.
    `ca_file`: authorities in PEM form that are trusted beside those of the system for talking to it.
    """

    directory_url: str
    contacts: tuple[str, ...] = ()
    external_account: ExternalAccount | None = None
    profile: str = ""
    ca_file: Path | None = None
    agrees_to_terms: bool = True
    request_timeout_s: float = 30.0
    """For one request and its whole answer."""
    validation_timeout_s: float = 300.0
    """From the first challenge of an order to its certificate. What takes longer is gone on with at the next call."""

    def __post_init__(self) -> None:
        check_directory(self.directory_url)

    @property
    def account_name(self) -> str:
        """What the account is kept under. Another external account is another account."""
        bound = f"#{self.external_account.key_id}" if self.external_account is not None else ""
        return f"{self.directory_url}{bound}"

    @property
    def host(self) -> str:
        """What sentences call it."""
        return urlsplit(self.directory_url).hostname or self.directory_url


def check_directory(text: str) -> None:
    """Raises InvalidInput for what is no URL that a directory can have: plain http is for this machine alone."""
    try:
        url = urlsplit(text)
        scheme, host = url.scheme, url.hostname
    except ValueError:
        scheme, host = "", None
    if host and (scheme == "https" or (scheme == "http" and _is_loopback(host))):
        return
    raise InvalidInput(
        f"{text} is no directory of an authority: give an https:// URL (RFC 8555 6.1)", field="directories"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
