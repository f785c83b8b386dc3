"""Which hosts may be asked for on a connection: those that the certificate shown on it is valid for.

An https request belongs on a connection that is secured for its host; on another it is answered 421 (RFC 9110 sections
4.3.4, 7.4 and 15.5.20), and its client connects anew. So a browser may ask one HTTP/2 connection for all hosts of a
certificate (RFC 9113 section 9.1.1), whatever name the handshake was made for.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cryptography import x509

COVER = "certificate_cover"
"""`get_extra_info(COVER)` of a transport: a CertificateCover. None where requests come for every host: without TLS, and
from proxies that are trusted, which have judged the request's host themselves (RFC 9110 section 7.4)."""

MAX_HOSTS = 1024
"""Hosts of a wildcard's certificate that are remembered, some 150 octets each; beyond it all are forgotten, and looking
one up again costs 2 us."""


NO_LINE = b"\0"
"""Stands in no head."""

_HOST_LINE = re.compile(rb"\r\nhost:[^\r\n]*\r\n", re.IGNORECASE)


def host_line(head: bytes) -> bytes:
    """The Host line of an HTTP/1.1 head that was judged, and so has one at the most, with the line ends around it; a
    later head that holds it asks for the same host (0.1 us). NO_LINE where there is none."""
    found = _HOST_LINE.search(head)
    return NO_LINE if found is None else found[0]


class CertificateCover:
    """One per certificate that is ready for handshakes, shared by its connections.

    `hosts` are those that were found to be covered: who looks there first spends no call. `line` is the Host line of
    the last HTTP/1.1 head that was: with it the first head of a new connection is answered like the next.
    """

    __slots__ = ("_is_named", "hosts", "line")

    def __init__(self, is_named: Callable[[str], bool]) -> None:
        """`is_named(host)`: whether the certificate is valid for it (RFC 9525 section 6)."""
        self._is_named = is_named
        self.hosts: set[str] = set()
        self.line = NO_LINE

    def has(self, host: str) -> bool:
        """Whether `host` may be asked for, as `Request.host` has it."""
        if host in self.hosts:
            return True
        if not self._is_named(host):
            return False
        if len(self.hosts) >= MAX_HOSTS:
            self.hosts.clear()
        self.hosts.add(host)
        return True


def names_of(certificate: bytes) -> frozenset[str]:
    """The names and addresses that a certificate (PEM) is valid for, in lower case. Raises ValueError."""
    try:
        found = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return frozenset()
    names = found.value.get_values_for_type(x509.DNSName)
    addresses = found.value.get_values_for_type(x509.IPAddress)
    return frozenset((*(name.lower() for name in names), *map(str, addresses)))


def is_named_in(names: frozenset[str], host: str) -> bool:
    """Whether `names` have `host`, or a wildcard in the place of its first label (RFC 9525 section 6.3)."""
    return host.strip("[]") in names or f"*.{host.partition('.')[2]}" in names
