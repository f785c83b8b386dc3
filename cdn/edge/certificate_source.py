"""Which certificate answers for a name, and its key, from memory and the node's disk: what a handshake asks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from cdn.edge.certificate_arrivals import ArrivingCertificates
from cdn.edge.certificate_shelf import ShelfReader, ShelvedCertificate
from cdn.edge.clocks import Clocks
from cdn.edge.fault_log import FaultLog
from cdn.edge.tls_source import CertificateMaterial
from cdn.errors import InvalidInput, Unavailable
from cdn.tls.issuer import ChallengeMethod
from cdn.tls.sealed import KeyRing, Purpose

ALPN_ANSWER_BYTES = 32
"""The SHA-256 of a key authorization (RFC 8737 section 3)."""


class CertificateSource:
    """A TlsSource of one process. `ring` opens what is sealed for the first of `groups` that a certificate's key is
    sealed for: the node's region, else "".

    `on_missing(certificate_id)` is called when a handshake needs what is not here: the store has it.
    """

    def __init__(  # noqa: PLR0917 - what there is to go by
        self,
        certificates: ArrivingCertificates,
        shelf: ShelfReader,
        ring: KeyRing,
        groups: tuple[str, ...],
        clocks: Clocks,
        on_missing: Callable[[str], None],
    ) -> None:
        self._certificates = certificates
        self._shelf = shelf
        self._ring = ring
        self._groups = groups
        self._wall = clocks.wall
        self._on_missing = on_missing
        self._faults = FaultLog(clocks.monotonic)
        self.missing = 0
        """Handshakes that came to nothing because the certificate was not here."""
        self.unopened = 0
        """Those whose key is sealed for other nodes, or whose envelope is damaged."""

    def certificate_id(self, server_name: str) -> str | None:
        """See TlsSource."""
        facts = self._certificates.for_host(server_name)
        return None if facts is None else facts.certificate_id

    def material(self, certificate_id: str) -> CertificateMaterial | None:
        """See TlsSource."""
        try:
            kept = self._certificates.arrival(certificate_id) or self._shelf.get(certificate_id)
        except Unavailable as exc:
            self._faults.tell("shelf", exc.message)
            kept = None
        if kept is None:
            self.missing += 1
            self._faults.tell(
                "missing",
                f"certificate {certificate_id} is asked for in a handshake and is not on this node's disk: it is "
                "fetched from the store",
            )
            self._on_missing(certificate_id)
            return None
        return self._opened(kept)

    def alpn_answer(self, server_name: str) -> bytes | None:
        """See TlsSource."""
        value = self._certificates.answer(ChallengeMethod.TLS_ALPN.value, server_name, "", self._wall())
        if value is None:
            return None
        try:
            answer = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        except (binascii.Error, ValueError):
            answer = b""
        if len(answer) != ALPN_ANSWER_BYTES:
            self._faults.tell(f"alpn {server_name}", f"the recorded answer of tls-alpn-01 for {server_name} is none")
            return None
        return answer

    def _opened(self, kept: ShelvedCertificate) -> CertificateMaterial | None:
        sealed = next((kept.sealed_keys[group] for group in self._groups if group in kept.sealed_keys), None)
        try:
            if sealed is None:
                raise InvalidInput(f"certificate {kept.certificate_id} has no key for nodes like this one")
            key = self._ring.opened(base64.b64decode(sealed), Purpose.CERTIFICATE_KEY, kept.certificate_id)
        except (InvalidInput, binascii.Error) as exc:
            self.unopened += 1
            self._faults.tell("unopened", str(exc))
            return None
        return CertificateMaterial(kept.chain.encode("ascii"), key)
