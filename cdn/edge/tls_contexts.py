"""Which certificate answers a ClientHello, ready for a handshake.

It is chosen before there is an SSL object: OpenSSL is never asked about names that nobody here has, and ALPN is known
when an authority asks for a challenge.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from cachetools import LRUCache

from cdn.edge.certificate_cover import CertificateCover, is_named_in, names_of
from cdn.edge.client_hello import ClientHello
from cdn.edge.fault_log import FaultLog
from cdn.edge.openssl import ReadyCertificate, Secured, Step, openssl, secured
from cdn.edge.ticket_keys import TICKET_KEY_NAME_BYTES, TicketKeys
from cdn.edge.tls_counters import TlsCounters, TlsRefusal
from cdn.edge.tls_limits import TlsLimits
from cdn.edge.tls_source import CertificateMaterial, TlsSource

HTTP_1_1 = "http/1.1"

HTTP_2 = "h2"

ACME_PROTOCOL = "acme-tls/1"
"""What an authority offers, and nothing else, to see a tls-alpn-01 challenge answered (RFC 8737 section 4)."""

CIPHERS = "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption. TLS 1.3 has no others. AES-128 comes first: as safe as
the P-256 keys of the certificates, and its SHA-256 makes handshakes cheaper than the SHA-384 of AES-256."""

CIPHERSUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""The same of TLS 1.3."""

_OP_PRIORITIZE_CHACHA = 1 << 21
"""SSL_OP_PRIORITIZE_CHACHA, which the ssl module does not name: who puts ChaCha20 first, a phone without instructions
for AES, is given it."""

_NOTHING = CertificateCover(lambda host: False)

ChallengeCertificate = Callable[[str, bytes], CertificateMaterial]
"""Makes the certificate that answers a tls-alpn-01 challenge for a name with these 32 octets."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a handshake is made with: `certificate`, or that of the context without one. A challenge ends with its
    handshake, and covers nothing."""

    context: ssl.SSLContext
    cover: CertificateCover
    certificate: ReadyCertificate | None = None
    is_challenge: bool = False


class Displaceable(Protocol):
    """A handshake under way."""

    def displace(self) -> None:
        """Close it: its room is wanted."""
        ...


class TlsContexts:
    """One per process, shared by its TLS listeners.

    `protocols` are what we speak, the best first (ALPN, RFC 7301). Without `ticket_keys` sessions resume within one
    process only, and its keys stay until there are some.

    Where OpenSSL can be reached there is one context for all certificates, so that one pair of ticket keys is all that
    rotates; otherwise one for each certificate.
    """

    def __init__(
        self,
        source: TlsSource,
        limits: TlsLimits | None = None,
        *,
        ticket_keys: TicketKeys | None = None,
        protocols: tuple[str, ...] = (HTTP_1_1,),
        challenge_certificate: ChallengeCertificate | None = None,
    ) -> None:
        self.limits = limits or TlsLimits()
        self.counters = TlsCounters()
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        """What OpenSSL reads from and writes to, of all connections: each call leaves both empty, so that a connection
        that waits has no buffers."""
        self.handshaking: dict[Displaceable, None] = {}
        """Handshakes that have not ended, the oldest first."""
        self._faults = FaultLog(time.monotonic)
        self._source = source
        self._protocols = protocols
        self._offers = frozenset(protocol.encode() for protocol in protocols)
        self._challenge_certificate = challenge_certificate
        self._ready: LRUCache[str, Chosen] = LRUCache(self.limits.max_certificates)
        self._challenges: LRUCache[tuple[str, bytes], Chosen] = LRUCache(self.limits.max_challenge_certificates)
        self._openssl = openssl()
        self._shared = _empty_context(protocols)
        if self._openssl is not None:
            self._openssl.set_ciphersuites(self._shared, CIPHERSUITES)
        self._tried: tuple[Chosen, Secured] | None = None  # what showed that a certificate can be used is used next
        self._ticket_keys: TicketKeys | None = None
        if ticket_keys is not None:
            self.set_ticket_keys(ticket_keys)

    def set_ticket_keys(self, keys: TicketKeys) -> None:
        """From now on tickets are encrypted with the current of these, and those of the previous are still read."""
        self._ticket_keys = keys
        if self._openssl is not None:
            self._openssl.set_ticket_keys(self._shared, keys.current)
        else:
            self._ready.clear()  # each context has keys of its own, which are to live no longer than these

    def choose(self, hello: ClientHello) -> Chosen | TlsRefusal:
        """What to begin a handshake with that begins with `hello`."""
        protocols = hello.protocols
        if protocols == (ACME_PROTOCOL.encode(),):
            return self._challenge(hello.server_name)
        certificate_id = self._source.certificate_id(hello.server_name)
        if certificate_id is None:
            return TlsRefusal.UNKNOWN_NAME
        if protocols and self._offers.isdisjoint(protocols):
            return TlsRefusal.NO_PROTOCOL
        chosen = self._ready.get(certificate_id)
        return chosen if chosen is not None else self._open(certificate_id)

    def connection(self, chosen: Chosen) -> Secured:
        """OpenSSL's side of a handshake. Raises ssl.SSLError when the certificate cannot be used after all."""
        tried, self._tried = self._tried, None
        if tried is not None and tried[0] is chosen:
            return tried[1]
        connection = secured(chosen.context, self.incoming, self.outgoing)
        if chosen.certificate is not None and self._openssl is not None:
            self._openssl.use(connection, chosen.certificate)
        return connection

    def begin(self, connection: Secured, hello: ClientHello) -> Step:
        """Let OpenSSL read `hello`, which is in `incoming`: tickets in it are read by the key that they name."""
        keys, way = self._ticket_keys, self._openssl
        if (
            not hello.ticket_key_names
            or way is None
            or keys is None
            or keys.previous is None
            or keys.previous[:TICKET_KEY_NAME_BYTES] not in hello.ticket_key_names
        ):
            return self.shake(connection)
        way.set_ticket_keys(self._shared, keys.previous)
        try:
            return self.shake(connection)
        finally:
            way.set_ticket_keys(self._shared, keys.current)

    def shake(self, connection: Secured) -> Step:
        """Go on with a handshake."""
        if self._openssl is not None:
            return self._openssl.shake(connection)
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            return Step.WAITS
        except ssl.SSLError:
            return Step.FAILED
        return Step.DONE

    def _open(self, certificate_id: str) -> Chosen | TlsRefusal:
        material = self._source.material(certificate_id)
        if material is None:
            return TlsRefusal.NO_MATERIAL
        try:
            if self._openssl is not None:
                ready = self._openssl.read(material, _session_name(certificate_id))
                cover = CertificateCover(partial(self._openssl.is_named, ready))
                chosen = Chosen(self._shared, cover, ready)
                self._tried = chosen, self.connection(chosen)
            else:
                cover = CertificateCover(partial(is_named_in, names_of(material.chain)))
                chosen = Chosen(_context(material, self._protocols), cover)
        except (ssl.SSLError, OSError, ValueError) as fault:
            self._faults.tell(certificate_id, f"certificate {certificate_id} cannot be used for handshakes: {fault}")
            return TlsRefusal.NO_MATERIAL
        self.counters.certificates_read += 1
        self._ready[certificate_id] = chosen
        return chosen

    def _challenge(self, server_name: str) -> Chosen | TlsRefusal:
        answer = self._source.alpn_answer(server_name) if server_name else None
        if answer is None or self._challenge_certificate is None:
            return TlsRefusal.NO_PROTOCOL
        chosen = self._challenges.get((server_name, answer))
        if chosen is None:
            context = _context(self._challenge_certificate(server_name, answer), (ACME_PROTOCOL,))
            context.num_tickets = 0
            chosen = self._challenges[server_name, answer] = Chosen(context, _NOTHING, is_challenge=True)
        return chosen


def _empty_context(protocols: tuple[str, ...]) -> ssl.SSLContext:
    """What all handshakes have in common."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | _OP_PRIORITIZE_CHACHA
    context.num_tickets = 1  # a client that resumed is given the next one; the default of two costs its signing twice
    context.set_alpn_protocols(list(protocols))
    return context


def _context(material: CertificateMaterial, protocols: tuple[str, ...]) -> ssl.SSLContext:
    """A context with this certificate. Raises ssl.SSLError and OSError."""
    context = _empty_context(protocols)
    # The only way in is by a path, and a key may not lie on a disk: the file is one in memory.
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(material.chain.rstrip() + b"\n" + material.key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")  # "": nobody is asked for one
    finally:
        os.close(descriptor)
    return context


def _session_name(certificate_id: str) -> bytes:
    """The certificate's SHA-256 where its id is one, which it is outside of tests."""
    try:
        return bytes.fromhex(certificate_id)
    except ValueError:
        return certificate_id.encode()
