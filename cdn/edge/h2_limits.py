"""The bounds of an HTTP/2 connection (DESIGN I10). Each stands in settings; each says what it protects."""

from __future__ import annotations

from dataclasses import dataclass


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
    """The same of all requests of a connection."""

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
