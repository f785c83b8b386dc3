"""What a worker and its node say to each other about one request.

The worker sends Ask, and content of the request as far as the node wants it; the node sends any number of Interim and
Want, then Ready or one of the answers; after Streamed come content (or Lent, which the worker says it has Taken) and
End. Failed may come instead of any of these.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from cdn.edge.head_parser import CONDITIONS
from cdn.edge.prepared import EncodedHit
from cdn.edge.recall import SERVED_METHODS, Place
from cdn.edge.worker_frames import FrameFault
from cdn.http.fields import FieldLines, Fields
from cdn.http.request import Request
from cdn.http.target import Target

WINDOW_BYTES: Final = 256 * 1024
"""Content of a request that may be on its way to the node or wait there: some parts of 64 KiB, so that neither waits
for the other."""


class Ask(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """A request. `address` is the visitor's; `size_bytes` of its content, None when it is chunked. `is_plain`: GET or
    HEAD without content, preconditions and Range, so that what is prepared may answer it."""

    method: str
    path: str
    query: str | None
    decoded_path: str
    host: str
    port: int | None
    fields: FieldLines
    scheme: str
    address: str
    is_plain: bool
    size_bytes: int | None


class ContentEnd(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """The content of the request is whole."""


class ContentBroken(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """It will never be whole."""

    sentence: str


class Taken(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=4):
    """What was lent is taken: the next may come. Without `is_there` the file has gone: its content is to be sent."""

    is_there: bool


class Interim(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=11):
    """A 1xx response."""

    status: int
    fields: FieldLines


class Want(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=12):
    """So much more of the request's content may be sent."""

    size_bytes: int


class Kept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A prepared hit but for its content. `place` is where to keep it, None: nowhere. `number` is the node's mark of
    when it took it from its memory, `token` what to name when it is used; 0 when nobody wants to know."""

    hit: EncodedHit
    place: Place | None
    number: int
    token: int


class Ready(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=13):
    """A prepared hit, to be sent and kept."""

    kept: Kept
    content: bytes


class Whole(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=14):
    """A response with its content. `kept` is the hit, with the same content, that the next request like this will be;
    None when none is prepared."""

    status: int
    fields: FieldLines
    content: bytes
    kept: Kept | None


class NotSent(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=15):
    """A response whose content is not sent; `size_bytes` is what GET would send, None when nobody knows."""

    status: int
    fields: FieldLines
    size_bytes: int | None


class Streamed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=16):
    """The head of a response whose content follows. None when nobody knows its size."""

    status: int
    fields: FieldLines
    size_bytes: int | None


class Lent(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=19):
    """Content that is the bytes [start, stop) of a file of `size_bytes`, which the worker maps for itself.

    The node says nothing more of this content before the worker has taken it.
    """

    path: str
    size_bytes: int
    start: int
    stop: int


class End(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=17):
    """The content is whole."""

    trailers: FieldLines


class Failure(Enum):
    """Why there is no response, or no more of it."""

    TOO_LARGE = "too-large"
    INTERRUPTED = "interrupted"
    UNAVAILABLE = "unavailable"


class Failed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=18):
    """The application of the node raised."""

    failure: Failure
    sentence: str


FromWorker = Ask | ContentEnd | ContentBroken | Taken
FinalHead = Ready | Whole | NotSent | Streamed
FromNode = Interim | Want | FinalHead | Lent | End | Failed

_encoder = msgspec.msgpack.Encoder()
_from_worker = msgspec.msgpack.Decoder(FromWorker)
_from_node = msgspec.msgpack.Decoder(FromNode)

encode = _encoder.encode


def decode_from_worker(raw: bytes) -> FromWorker:
    """What a worker said. Raises FrameFault."""
    try:
        message: FromWorker = _from_worker.decode(raw)
    except msgspec.DecodeError as exc:
        raise FrameFault(f"a message of a worker that cannot be read: {exc}") from exc
    return message


def decode_from_node(raw: bytes) -> FromNode:
    """What the node said. Raises FrameFault."""
    try:
        message: FromNode = _from_node.decode(raw)
    except msgspec.DecodeError as exc:
        raise FrameFault(f"a message of the node that cannot be read: {exc}") from exc
    return message


def ask_of(request: Request, size_bytes: int | None, address: str) -> Ask:
    """The question for a request with content of that size."""
    target, fields = request.target, request.fields
    is_plain = request.method in SERVED_METHODS and size_bytes == 0 and not any(name in fields for name in CONDITIONS)
    return Ask(
        request.method,
        target.path,
        target.query,
        target.decoded_path,
        request.host,
        request.port,
        fields.lines,
        request.scheme,
        address,
        is_plain,
        size_bytes,
    )


def request_of(ask: Ask) -> Request:
    """The request that was asked about."""
    target = Target(ask.path, ask.query, ask.decoded_path)
    return Request(ask.method, target, ask.host, ask.port, Fields(ask.fields), ask.scheme)
