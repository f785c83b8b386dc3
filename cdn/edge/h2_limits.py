"""The bounds of an HTTP/2 connection (DESIGN I10). Each stands in settings; each says what it protects."""

from __future__ import annotations

from dataclasses import dataclass

from cdn.edge.h2_frames import DEFAULT_WINDOW_BYTES, MAX_WINDOW_BYTES
from cdn.errors import InvalidInput

_MAX_VALUE = 2**32 - 1  # of a setting (section 6.5.1)

_RANGES = {
    "max_concurrent_streams": (1, _MAX_VALUE),
    "max_header_list_bytes": (1, _MAX_VALUE),
    "header_table_bytes": (1, _MAX_VALUE),
    "stream_window_bytes": (1, MAX_WINDOW_BYTES),
    "connection_window_bytes": (DEFAULT_WINDOW_BYTES, MAX_WINDOW_BYTES),
}
"""What the standard can say of those limits that clients are told."""


@dataclass(frozen=True, slots=True)
class H2Limits:
    """What one connection allows its client, beside HttpLimits. Exceeding a limit has a fixed answer, named at each."""

    enabled: bool = True
    """Whether HTTP/2 is spoken at all."""

    max_concurrent_streams: int = 128
    """Requests under way; beyond: REFUSED_STREAM. Said in SETTINGS (RFC 9113 section 5.1.2)."""

    max_header_list_bytes: int = 32 * 1024
    """Names and values of one request with 32 octets for each (RFC 9113 section 6.5.2); beyond: 431, and the connection
    goes on, unless the block itself is larger than `max_header_block_bytes`."""

    max_header_block_bytes: int = 64 * 1024
    """Of HEADERS with its CONTINUATION frames; beyond: ENHANCE_YOUR_CALM. It has to be decoded whole."""

    max_continuations: int = 16
    """CONTINUATION frames of one block; beyond: ENHANCE_YOUR_CALM (CVE-2024-27983 and its kin)."""

    header_table_bytes: int = 4096
    """The dynamic table that a client may fill (RFC 7541 section 4.2)."""

    stream_window_bytes: int = 64 * 1024
    """Content of one request that may come before it is read."""

    connection_window_bytes: int = 256 * 1024
    """The same of all requests of a connection; 65535 at the least (RFC 9113 section 6.9.2)."""

    max_resets: int = 200
    """Streams that the client resets before they were answered, and streams that were refused or reset for its faults,
    each per `fault_window_s`; beyond: ENHANCE_YOUR_CALM (rapid reset, CVE-2023-44487)."""

    max_control_frames: int = 400
    """PING, SETTINGS, PRIORITY, PRIORITY_UPDATE, empty DATA and WINDOW_UPDATE frames beyond those that belong to what
    is sent, per `fault_window_s`; beyond: ENHANCE_YOUR_CALM."""

    fault_window_s: float = 10.0
    """Over which the two limits above are counted."""

    max_unsent_answers_bytes: int = 16 * 1024
    """What the engine answers by itself (acknowledgements, resets) to a client that reads nothing; beyond: closed."""

    max_queued_bytes: int = 256 * 1024
    """Content of answers under way that waits for windows, of streams that the application feeds; beyond, it waits."""

    def __post_init__(self) -> None:
        """Raises InvalidInput where a client cannot be told the limit: it would end every connection."""
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise InvalidInput(f"{name} is {value}, give {least} to {most}: HTTP/2 has no others", field=name)
