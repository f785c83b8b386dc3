"""What stands behind a pull site: a request goes to it, a response comes back, content streams both ways.

The seam between the edge and what speaks to an HTTP server or a bucket. Whatever the upstream sends is judged strictly:
a response that is malformed, contradicts itself or ends early is an UpstreamBroken with its reason, never content.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cdn.errors import Unavailable
from cdn.http.fields import FieldLines
from cdn.http.response_head import ResponseHead


class UpstreamFault(Enum):
    """Why there is no (whole) response. The values are details in Cache-Status and labels of metrics."""

    FORBIDDEN_ADDRESS = "forbidden-address"
    NAME_UNKNOWN = "name-unknown"
    NAME_TIMEOUT = "name-timeout"
    CONNECT_REFUSED = "connect-refused"
    CONNECT_TIMEOUT = "connect-timeout"
    TLS = "tls"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    BAD_REQUEST = "bad-request"  # what was to be sent cannot be sent: a target or field with control characters
    WRITE_TIMEOUT = "write-timeout"
    READ_TIMEOUT = "read-timeout"
    MALFORMED_HEAD = "malformed-head"
    HEAD_TOO_LARGE = "head-too-large"
    TOO_MANY_INTERIM = "too-many-interim"
    UNASKED_UPGRADE = "unasked-upgrade"
    UNKNOWN_TRANSFER_CODING = "unknown-transfer-coding"
    WRONG_LENGTH = "wrong-length"
    MALFORMED_CONTENT = "malformed-content"  # chunk sizes, chunk ends, trailers
    CLOSED_EARLY = "closed-early"
    CREDENTIALS = "credentials"
    BUCKET = "bucket"
    CLOSED = "closed"  # this side is shutting down


class UpstreamBroken(Unavailable):
    """The upstream gave no response, or one that must not be used; `fault` says why."""

    def __init__(self, fault: UpstreamFault, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class UpstreamTimeouts:
    """How long one site's upstream may take, and how often it is asked again.

    `connect_s` bounds the wait for a free connection, the name, the connection and its TLS handshake, each. `read_s`
    bounds each silence: until the head of the response is whole, and between parts of the content; so too each wait
    for the upstream to take request content. `retries`: how often a request is sent again when no byte of an answer
    came; only with an idempotent method (RFC 9110 section 9.2.2) and without content.
    """

    connect_s: float = 5.0
    read_s: float = 30.0
    retries: int = 1


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request as it is sent, but for its framing: Content-Length, Transfer-Encoding and Connection are the sender's.

    `target` is in origin-form ("/path?query"): for an HTTP server with the origin's prefix before it, for a bucket
    without, as a bucket's prefix is no path. `fields` are final and name the host; Expect is never sent.
    `content` is read at the pace of the upstream, from a task that ends with the response, and closed by who made it;
    `content_size_bytes` None sends it chunked. An exception it raises comes out of `send` (or of the response's
    content) as it is.
    """

    method: str
    target: str
    fields: FieldLines
    content: AsyncIterator[bytes] | None = None
    content_size_bytes: int | None = None


class UpstreamContent(Protocol):
    """The content of one response; read at most once, by one task."""

    @property
    def size_bytes(self) -> int | None:
        """What Content-Length promises of the parts to come; None when only the end will tell. 0 without content."""

    @property
    def trailers(self) -> FieldLines:
        """The trailer fields, once the content has ended (RFC 9110 section 6.5); () before."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The parts, none empty. Raises UpstreamBroken where the content breaks off: what came before is not whole."""

    async def aclose(self) -> None:
        """Give the connection back, or close it when content is left. Harmless when repeated, or after the end."""


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A final response. Its fields are as received, with lower-case names, connection-specific ones among them."""

    head: ResponseHead
    content: UpstreamContent


class Upstream(Protocol):
    """One site's upstream. Used by many tasks at once."""

    async def send(self, request: UpstreamRequest, on_interim: Callable[[ResponseHead], None]) -> UpstreamResponse:
        """Send a request; the response's head, with content that streams and must be closed with `aclose`.

        `on_interim` is called with each interim response (1xx but 101, RFC 9110 section 15.2) as it comes; it must not
        block. Redirects are responses like others. Raises UpstreamBroken; when cancelled, the connection is closed.
        """
