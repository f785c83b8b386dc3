"""What one process of a node needs to answer https: its certificates, its contexts, and what happened to handshakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cdn.edge.certificate_arrivals import ArrivingCertificates
from cdn.edge.certificate_shelf import ShelfReader
from cdn.edge.certificate_source import CertificateSource
from cdn.edge.clocks import Clocks
from cdn.edge.ticket_keys import TicketKeys
from cdn.edge.tls_contexts import HTTP_1_1, HTTP_2, TlsContexts
from cdn.edge.tls_limits import TlsLimits
from cdn.edge.tls_source import CertificateMaterial
from cdn.tls.alpn_certificate import alpn_certificate
from cdn.tls.sealed import KeyRing


class ProcessTls:
    """`shelf_path` is the node's CertificateShelf; `key_file` opens what is sealed for the first of `groups` that a
    certificate has a key for. `on_missing(certificate_id)`: a handshake needs what is not here.

    Raises InvalidInput for a key file that cannot be used.
    """

    def __init__(  # noqa: PLR0917 - what there is to go by
        self,
        certificates: ArrivingCertificates,
        shelf_path: Path,
        key_file: Path,
        groups: tuple[str, ...],
        limits: TlsLimits,
        clocks: Clocks,
        on_missing: Callable[[str], None],
        *,
        speaks_h2: bool,
    ) -> None:
        def challenge_certificate(domain: str, digest: bytes) -> CertificateMaterial:
            return CertificateMaterial(*alpn_certificate(domain, digest, clocks.wall()))

        self._shelf = ShelfReader(shelf_path)
        self._source = CertificateSource(certificates, self._shelf, KeyRing.read(key_file), groups, clocks, on_missing)
        self.contexts = TlsContexts(
            self._source,
            limits,
            protocols=(HTTP_2, HTTP_1_1) if speaks_h2 else (HTTP_1_1,),
            challenge_certificate=challenge_certificate,
        )

    def set_ticket_keys(self, keys: TicketKeys) -> None:
        """See TlsContexts."""
        self.contexts.set_ticket_keys(keys)

    def counted(self) -> Mapping[str, int]:
        """What happened so far, by names of metrics; refusals by reason."""
        counters = self.contexts.counters
        return {
            "tls_handshakes": counters.handshakes,
            "tls_resumed": counters.resumed,
            "tls_challenges": counters.challenges,
            "tls_certificates_read": counters.certificates_read,
            "tls_missing": self._source.missing,
            "tls_unopened": self._source.unopened,
            **{f"tls_refused_{reason.value}": count for reason, count in counters.refused.items()},
        }

    def close(self) -> None:
        """Let go of the disk."""
        self._shelf.close()
