"""What happened between clients, a cache and an upstream, in one order: what the plain model judges by."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.model.plain_message import Lines, values


@dataclass(frozen=True)
class Moment:
    """`order` counts whatever happens; `at` is the time in seconds since 1970; `sequence` the last purge applied."""

    order: int
    at: float
    sequence: int


NEVER = Moment(2**62, 2.0**62, 2**62)


@dataclass
class Exchange:
    """One request to the upstream and what it answered. `visit` is the client's request that it was made for.

    `number` is its identity: the answer carries `x-seen-NUMBER`, and `x-content: NUMBER` too if it is neither a 304 nor
    to HEAD. `content` is what it sent; not `is_whole`: it broke off. `status` is None when there was no answer.
    """

    number: int
    visit: int
    method: str
    scheme: str
    target: str
    lines: Lines
    asked: Moment
    answered: Moment = NEVER
    status: int | None = None
    answer: Lines = ()
    content: bytes = b""
    is_whole: bool = True


@dataclass
class Visit:
    """A client's request and what it got: the head first, the end of the content perhaps much later.

    `content` is what came; not `is_whole`: the connection was reset. `is_prepared`: it came from memory, where Age is
    renewed once a second.
    """

    number: int
    method: str
    scheme: str
    target: str
    lines: Lines
    began: Moment
    headed: Moment = NEVER
    ended: Moment = NEVER
    status: int = 0
    answer: Lines = ()
    content: bytes = b""
    is_whole: bool = True
    is_prepared: bool = False

    @property
    def is_hit(self) -> bool:
        """Whether it was answered at once, by its own account (RFC 9211 section 2.1)."""
        return any(name == "cache-status" and "; hit" in value for name, value in self.answer)

    @property
    def seen(self) -> set[int]:
        """Which answers of the upstream it is made of."""
        return {int(name[7:]) for name, _ in self.answer if name.startswith("x-seen-")}

    @property
    def content_of(self) -> int | None:
        """Whose content it has, by its own account."""
        found = values(self.answer, "x-content")
        return int(found[-1]) if found else None


@dataclass(frozen=True)
class Purge:
    """`kind` is url, prefix, tag or everything."""

    order: int
    sequence: int
    kind: str
    value: str
    is_soft: bool


@dataclass
class History:
    exchanges: dict[int, Exchange] = field(default_factory=dict)
    visits: dict[int, Visit] = field(default_factory=dict)
    purges: list[Purge] = field(default_factory=list)


def octets(number: int, size_bytes: int) -> bytes:
    """Content that tells, octet by octet, whose it is (of 32) and where it stood (of 8 places)."""
    return bytes((number % 32) * 8 + place % 8 for place in range(size_bytes))


def owners(content: bytes, start: int) -> set[int] | None:
    """Whose octets these are, if they stood at `start` and on; None when one was at another place."""
    if any(octet % 8 != (start + place) % 8 for place, octet in enumerate(content)):
        return None
    return {octet // 8 for octet in content}
