"""The first message of a TLS client, as far as it decides who answers (RFC 8446 section 4.1.2).

Pure: bytes in, a value out. OpenSSL reads the same bytes again and judges the rest.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client said before anything was chosen.

    `server_name` in lower case without the final dot, "" without one (RFC 6066 section 3). `protocols` are those of
    ALPN (RFC 7301), empty without the extension. `ticket_key_names` are the first 16 octets of each session ticket
    that it offers.
    """

    server_name: str
    protocols: tuple[bytes, ...]
    ticket_key_names: tuple[bytes, ...]
