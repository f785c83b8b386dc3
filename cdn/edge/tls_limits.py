"""The bounds of TLS on one listener (DESIGN I10). Each says what it protects, and what happens beyond it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TlsLimits:
    """What one listener allows before a client has a connection."""

    handshake_timeout_s: float = 10.0
    """From the connection to the end of the handshake: three round trips of the slowest client; beyond: close."""

    max_client_hello_bytes: int = 16 * 1024
    """The first message of a client, however many records it takes: browsers send 2 KiB; beyond: close."""

    max_handshakes: int = 4096
    """Handshakes that have begun and have not ended; each takes 45 KB at the most. Beyond: the one that waits longest
    is closed for the one that comes, so who only opens connections displaces its own."""

    max_certificates: int = 4096
    """Certificates read and ready for handshakes in one process, each about 7 KB (20 KB where OpenSSL cannot be
    reached); beyond: what was used longest ago goes, and costs a fifth of a millisecond when it is asked for again."""

    max_challenge_certificates: int = 64
    """Certificates of tls-alpn-01 challenges, each made on the first question of an authority, of which there are a
    few; beyond: what was asked for longest ago goes."""
