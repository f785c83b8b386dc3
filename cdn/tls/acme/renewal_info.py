"""When an authority wants a certificate renewed (ARI, RFC 9773)."""

from __future__ import annotations

import msgspec
from cryptography import x509

from cdn.tls.acme.base64url import base64url
from cdn.tls.acme.problem import printable
from cdn.tls.acme.timestamp import seconds_of
from cdn.tls.issuer import RenewalWindow

MIN_ASK_AGAIN_S = 60.0
MAX_ASK_AGAIN_S = 86_400.0
"""What an authority says is brought between these (RFC 9773 4.3.2): a minute is as often as makes sense, and a day as
rarely as lets it call certificates back in time."""

DEFAULT_ASK_AGAIN_S = 21_600.0
"""Where it does not say: the six hours of RFC 9773 4.3.3."""


class _Window(msgspec.Struct, frozen=True):
    start: str
    end: str


class RenewalInfo(msgspec.Struct, frozen=True, rename="camel"):
    """As the authority shows it (RFC 9773 4.2)."""

    suggested_window: _Window
    explanation_url: str = msgspec.field(default="", name="explanationURL")

    def window(self, retry_after_s: float | None) -> RenewalWindow | None:
        """None when it has no length: it is as if nothing had been said (RFC 9773 4.2)."""
        start, end = seconds_of(self.suggested_window.start), seconds_of(self.suggested_window.end)
        if start is None or end is None or end <= start:
            return None
        ask_again_s = DEFAULT_ASK_AGAIN_S if retry_after_s is None else retry_after_s
        return RenewalWindow(
            start, end, printable(self.explanation_url), min(max(ask_again_s, MIN_ASK_AGAIN_S), MAX_ASK_AGAIN_S)
        )


def certificate_identifier(certificate: x509.Certificate) -> str | None:
    """Key identifier of the authority and serial number (RFC 9773 4.1); None: it does not say the former."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    if not found.key_identifier:
        return None
    serial = certificate.serial_number
    # The content of a DER INTEGER: one octet more where the first bit is set, as it would say "negative".
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{base64url(found.key_identifier)}.{base64url(octets)}"
