"""What a scenario says, as values: one class per command of the language that tests/scenarios/README.md describes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

FieldLines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """Where a command stands; `text` is shown when it fails."""

    number: int
    text: str


class Framing(Enum):
    """How an upstream's answer says where its content ends."""

    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until-close"


class Operator(Enum):
    """How what is seen is compared with what is expected."""

    IS = ":"
    MATCHES = "~"
    ABSENT = "no"
    PRESENT = ""
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="


class Subject(Enum):
    """What is looked at."""

    STATUS = "status"
    TARGET = "target"
    CONNECTION = "connection"
    FIELD = "field"
    TRAILER = "trailer"
    CACHE_STATUS = "cache-status"
    CONTENT = "content"
    SIZE = "size"
    HEAD = "head"
    INTERIM = "interim"
    BROKEN = "broken"
    CLOSED = "closed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Expect:
    """`name` is a field's name or a parameter of Cache-Status."""

    line: Line
    subject: Subject
    operator: Operator
    name: str = ""
    value: str | bytes = ""
    fields: FieldLines = ()


@dataclass(frozen=True, slots=True)
class Signal:
    line: Line
    name: str


@dataclass(frozen=True, slots=True)
class Await:
    """Until `name` was signalled `count` times."""

    line: Line
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Call the value of `field_name` in the message at hand `name`: <name> stands for it from then on."""

    line: Line
    name: str
    field_name: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An upstream's head; `size_bytes` is what the script sends as content in all."""

    line: Line
    status: int
    fields: FieldLines
    framing: Framing
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Interim:
    line: Line
    status: int
    fields: FieldLines


@dataclass(frozen=True, slots=True)
class Content:
    line: Line
    content: bytes


@dataclass(frozen=True, slots=True)
class Trailers:
    line: Line
    fields: FieldLines


@dataclass(frozen=True, slots=True)
class Raw:
    """Octets as they are."""

    line: Line
    text: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection once this block has sent so many octets."""

    line: Line
    after_bytes: int


@dataclass(frozen=True, slots=True)
class Close:
    line: Line


@dataclass(frozen=True, slots=True)
class Reset:
    line: Line


@dataclass(frozen=True, slots=True)
class Ask:
    """A client's request. `is_repeated`: again and again until the expectations that follow it hold."""

    line: Line
    method: str
    target: str
    fields: FieldLines
    content: bytes | None
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class Receive:
    """Until so many octets of content have come."""

    line: Line
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Purge:
    """Through the API; `request` is what it is sent, without hosts."""

    line: Line
    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Down:
    """The upstream's host refuses connections from now on, and those it had are gone."""

    line: Line


@dataclass(frozen=True, slots=True)
class Up:
    line: Line


@dataclass(frozen=True, slots=True)
class Settle:
    """Until the edge has read all that was sent to it before, and stored what it had to store."""

    line: Line


UpstreamCommand = Expect | Signal | Await | Keep | Reply | Interim | Content | Trailers | Raw | Cut | Close | Reset
ClientCommand = Expect | Signal | Await | Keep | Ask | Raw | Receive | Purge | Down | Up | Settle | Close | Reset


@dataclass(frozen=True, slots=True)
class UpstreamScript:
    """The answer to requests that `method` and `target` match ("" matches any), from `least` to `most` of them."""

    line: Line
    method: str
    target: str
    least: int
    most: int
    commands: tuple[UpstreamCommand, ...]


@dataclass(frozen=True, slots=True)
class ClientScript:
    line: Line
    name: str
    commands: tuple[ClientCommand, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One file. `settings` are the site's, as the API takes them."""

    settings: dict[str, Any]
    upstreams: tuple[UpstreamScript, ...]
    clients: tuple[ClientScript, ...]
