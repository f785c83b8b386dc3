"""The seam between handshakes and what the node has on its disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CertificateMaterial:
    """What a handshake needs: PEM, the first certificate first, and its key, in clear and in memory only."""

    chain: bytes
    key: bytes = field(repr=False)


class TlsSource(Protocol):
    """Answers from memory and the local disk; nothing here waits for the network, and nothing raises.

    `server_name` is the name in the ClientHello, in lower case without the final dot; "": it named none.
    """

    def certificate_id(self, server_name: str) -> str | None:
        """Which certificate answers for a name: its own, else a wildcard's (`*.` and all but the first label), else,
        for "", the CDN's own zone's. None: nobody here has this name, the connection is closed."""
        ...

    def material(self, certificate_id: str) -> CertificateMaterial | None:
        """The certificate and its key, opened. None: not here (any more), or not for this node to open: counted and
        said in the log by whoever implements this."""
        ...

    def alpn_answer(self, server_name: str) -> bytes | None:
        """The 32 octets that the certificate of a tls-alpn-01 handshake has to say (RFC 8737 3); None: no such
        challenge is open."""
        ...
