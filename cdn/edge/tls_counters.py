"""What happened to the handshakes of one process."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class TlsRefusal(StrEnum):
    """Why a handshake came to nothing; the label of a metric."""

    NOT_TLS = "not_tls"
    """What came is no ClientHello."""
    HELLO_TOO_LARGE = "hello_too_large"
    UNKNOWN_NAME = "unknown_name"
    """Nobody here has a certificate for the name."""
    NO_MATERIAL = "no_material"
    """There is a certificate, and this node does not have it (any more) or may not open its key."""
    NO_PROTOCOL = "no_protocol"
    """The client speaks none of our protocols, or asks for a challenge that is not open."""
    DISPLACED = "displaced"
    """It was waiting for the longest time when there were too many."""
    TIMEOUT = "timeout"
    FAILED = "failed"
    """The two sides did not agree, or the client distrusts the certificate."""
    ABANDONED = "abandoned"
    """The client left before the end."""
    TOO_MANY_CONNECTIONS = "too_many_connections"


@dataclass(slots=True)
class TlsCounters:
    """Plain integers, raised in place."""

    handshakes: int = 0
    """Complete ones, full and resumed."""
    resumed: int = 0
    challenges: int = 0
    """Complete handshakes of tls-alpn-01."""
    certificates_read: int = 0
    """From the disk: the first handshake of a name, or one after `max_certificates` others."""
    refused: dict[TlsRefusal, int] = field(default_factory=dict)

    def refuse(self, refusal: TlsRefusal) -> None:
        """One more."""
        self.refused[refusal] = self.refused.get(refusal, 0) + 1
