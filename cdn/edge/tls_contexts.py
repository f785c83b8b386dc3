"""Which certificate answers a ClientHello, ready for a handshake.

It is chosen before there is an SSL object: OpenSSL is never asked about names that nobody here has, and ALPN is known
when an authority asks for a challenge.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from cachetools import LRUCache

from cdn.edge.client_hello import ClientHello
from cdn.edge.openssl_sessions import openssl_sessions
from cdn.edge.ticket_keys import TICKET_KEY_NAME_BYTES, TicketKeys
from cdn.edge.tls_counters import TlsCounters, TlsRefusal
from cdn.edge.tls_limits import TlsLimits
from cdn.edge.tls_source import CertificateMaterial, TlsSource

_log = logging.getLogger(__name__)

ACME_PROTOCOL = "acme-tls/1"
"""What an authority offers, and nothing else, to see a tls-alpn-01 challenge answered (RFC 8737 section 4)."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption. TLS 1.3 has no others."""

ChallengeCertificate = Callable[[str, bytes], CertificateMaterial]
"""Makes the certificate that answers a tls-alpn-01 challenge for a name with these 32 octets."""


@dataclass(frozen=True, slots=True)
class ChosenContext:
    """What a handshake is made with. That of a challenge ends with the handshake."""

    context: ssl.SSLContext
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
    """

    def __init__(
        self,
        source: TlsSource,
        limits: TlsLimits | None = None,
        *,
        ticket_keys: TicketKeys | None = None,
        protocols: tuple[str, ...] = ("http/1.1",),
        challenge_certificate: ChallengeCertificate | None = None,
    ) -> None:
        self.limits = limits or TlsLimits()
        self.counters = TlsCounters()
        self._source = source
        self._protocols = protocols
        self._offers = frozenset(protocol.encode() for protocol in protocols)
        self._challenge_certificate = challenge_certificate
        self._chosen: LRUCache[str, ChosenContext] = LRUCache(self.limits.max_contexts)
        self._challenges: LRUCache[tuple[str, bytes], ChosenContext] = LRUCache(self.limits.max_challenge_contexts)
        self._sessions = openssl_sessions()
        self._ticket_keys = ticket_keys
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        """What OpenSSL reads from and writes to, of all connections: each call leaves both empty, so that a connection
        that waits has no buffers."""
        self.handshaking: dict[Displaceable, None] = {}
        """Handshakes that have not ended, the oldest first."""

    def set_ticket_keys(self, keys: TicketKeys) -> None:
        """From now on tickets are encrypted with the current of these, and those of the previous are still read."""
        self._ticket_keys = keys
        if self._sessions is not None:
            for chosen in self._chosen.values():
                self._sessions.set_ticket_keys(chosen.context, keys.current)
        else:
            self._chosen.clear()  # each context has keys of its own, which are to live no longer than these

    def choose(self, hello: ClientHello) -> ChosenContext | TlsRefusal:
        """The context for a handshake that begins with `hello`."""
        protocols = hello.protocols
        if protocols == (ACME_PROTOCOL.encode(),):
            return self._challenge(hello.server_name)
        certificate_id = self._source.certificate_id(hello.server_name)
        if certificate_id is None:
            return TlsRefusal.UNKNOWN_NAME
        if protocols and self._offers.isdisjoint(protocols):
            return TlsRefusal.NO_PROTOCOL
        chosen = self._chosen.get(certificate_id)
        return chosen if chosen is not None else self._open(certificate_id)

    @contextmanager
    def tickets_of(self, hello: ClientHello, chosen: ChosenContext) -> Iterator[None]:
        """While OpenSSL reads `hello`: the tickets in it are read by the key that they name."""
        keys = self._ticket_keys
        is_old = (
            keys is not None
            and keys.previous is not None
            and self._sessions is not None
            and hello.ticket_key_names
            and keys.previous[:TICKET_KEY_NAME_BYTES] in hello.ticket_key_names
        )
        if not is_old or keys is None or keys.previous is None or self._sessions is None or chosen.is_challenge:
            yield
            return
        self._sessions.set_ticket_keys(chosen.context, keys.previous)
        try:
            yield
        finally:
            self._sessions.set_ticket_keys(chosen.context, keys.current)

    def _open(self, certificate_id: str) -> ChosenContext | TlsRefusal:
        material = self._source.material(certificate_id)
        if material is None:
            return TlsRefusal.NO_MATERIAL
        try:
            context = _context(material, self._protocols)
        except (ssl.SSLError, OSError) as fault:
            _log.error("certificate %s cannot be used for handshakes: %s", certificate_id, fault)
            return TlsRefusal.NO_MATERIAL
        if self._sessions is not None:
            # A session of one certificate resumes under no other: who resumes is not shown the certificate again.
            self._sessions.set_session_context(context, _session_name(certificate_id))
            if self._ticket_keys is not None:
                self._sessions.set_ticket_keys(context, self._ticket_keys.current)
        self.counters.contexts_made += 1
        chosen = self._chosen[certificate_id] = ChosenContext(context)
        return chosen

    def _challenge(self, server_name: str) -> ChosenContext | TlsRefusal:
        answer = self._source.alpn_answer(server_name) if server_name else None
        if answer is None or self._challenge_certificate is None:
            return TlsRefusal.NO_PROTOCOL
        chosen = self._challenges.get((server_name, answer))
        if chosen is None:
            context = _context(self._challenge_certificate(server_name, answer), (ACME_PROTOCOL,))
            context.num_tickets = 0
            chosen = self._challenges[server_name, answer] = ChosenContext(context, is_challenge=True)
        return chosen


def _context(material: CertificateMaterial, protocols: tuple[str, ...]) -> ssl.SSLContext:
    """A context with this certificate. Raises ssl.SSLError and OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1  # a client that resumed is given the next one; the default of two costs its signing twice
    context.set_alpn_protocols(list(protocols))
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
