"""The bounds of one HTTP listener (DESIGN I10). Each stands in settings; each says what it protects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one listener allows its clients. Exceeding a limit has a fixed answer, named at each."""

    max_request_line_bytes: int = 8 * 1024
    """Method, target and version without the line's end; beyond: 414."""

    max_fields_bytes: int = 32 * 1024
    """All field lines of a head with their line ends; beyond: 431."""

    max_fields: int = 100
    """Field lines of a head; beyond: 431. Also bounds the trailer fields of chunked content: 400."""

    max_content_bytes: int = 16 * 1024 * 1024
    """Content of one request; beyond: 413."""

    max_content_buffer_bytes: int = 64 * 1024
    """Content that arrived and was not read yet; beyond, the connection is not read from."""

    max_drain_bytes: int = 256 * 1024
    """Content that nobody read and that is thrown away to keep the connection; beyond: close."""

    max_backlog_bytes: int = 64 * 1024
    """Bytes of pipelined requests that wait for the response before them; beyond, the connection is not read from."""

    max_pipelined: int = 64
    """Prepared responses joined into one write: bounds the memory that one burst of requests takes."""

    max_connections: int = 20_000
    """Open connections of the listener; beyond: 503 at once."""

    head_timeout_s: float = 10.0
    """From the first byte of a head to its last; beyond: 408."""

    max_proxy_header_bytes: int = 4096
    """A header of the PROXY protocol, version 2: addresses, and what proxies add about TLS; beyond: close."""

    proxy_header_timeout_s: float = 5.0
    """From the connection of a trusted proxy to the end of that header, which is sent at once; beyond: close."""

    idle_timeout_s: float = 75.0
    """From the end of a response to the first byte of the next request; beyond: close without a word."""

    content_timeout_s: float = 30.0
    """For the content of a request, plus its size at `min_transfer_rate_bytes_per_s`; beyond: 408."""

    write_timeout_s: float = 60.0
    """For a client to take what waits for it, plus its size at `min_transfer_rate_bytes_per_s`; beyond: reset."""

    min_transfer_rate_bytes_per_s: int = 1024
    """The slowest client that is worth a connection: what dribbles below it runs into a timeout."""

    linger_s: float = 2.0
    """After a refusal, for a client that is still sending to read the answer before the connection is reset."""

    max_memo_entries: int = 50_000
    """Request heads remembered with their prepared response; half of them whole, half by their gist."""

    max_memo_bytes: int = 32 * 1024 * 1024
    """Bytes of those heads."""

    max_memo_head_bytes: int = 2 * 1024
    """A longer head (large cookies) is not remembered: it hardly ever comes again byte for byte."""
