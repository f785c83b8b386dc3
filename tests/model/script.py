"""What a simulated client, upstream, clock and owner do: plain values, that hypothesis makes and shrinks."""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.plain_message import Lines


@dataclass(frozen=True)
class Purging:
    """The owner purges."""

    kind: str
    value: str = ""
    is_soft: bool = False


@dataclass(frozen=True)
class Told:
    """What the upstream says when it is asked. A value "@N" is the date N seconds from then.

    `confirms`: it says 304 to a conditional request; `cuts`: 206 to a Range. `breaks`: "head": there is no answer;
    "content": it breaks off in the middle. It takes `delay_s`, and `meanwhile` happens before it answers.
    """

    lines: Lines = ()
    status: int = 200
    size_bytes: int = 20
    confirms: bool = False
    cuts: bool = False
    breaks: str = ""
    delay_s: float = 0.0
    meanwhile: tuple[Purging, ...] = ()
    is_dated: bool = True


@dataclass(frozen=True)
class Asking:
    """A client asks. `told` is what the upstream will say, in turn; after that it fails."""

    target: str = "/a"
    lines: Lines = ()
    told: tuple[Told, ...] = ()
    method: str = "GET"
    scheme: str = "http"


@dataclass(frozen=True)
class Passing:
    """Time passes."""

    seconds: float


@dataclass(frozen=True)
class Restarting:
    """The node stops and starts again."""


@dataclass(frozen=True)
class Sweeping:
    """Space below the floors is reclaimed, and the floors go."""


@dataclass(frozen=True)
class Answering:
    """Only where requests overlap: the upstream goes on with one of the requests it has: the head, then the content."""

    which: int


Step = Asking | Passing | Purging | Restarting | Sweeping | Answering
