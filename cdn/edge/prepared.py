"""A response that is ready to send before it is asked for (DESIGN section 1, sentence 5)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from cdn.edge.hpack_encoding import encode_field, encode_lines, encode_response_head
from cdn.edge.response_head import encode_head
from cdn.http.date import format_date
from cdn.http.fields import FieldLines

VIEWED_BYTES = 4 * 1024
"""Content from this size on is not copied out of one piece with its head: a view takes 0.3 us, and less of 16 KiB than
the copy by 0.4."""

JOINED_BYTES = 32 * 1024
"""Content up to this size is kept in one piece with its head: copying it costs less than a second piece to write."""

OVERHEAD_BYTES = 900
"""What the interpreter keeps around one prepared response, for the bound of the memory tier."""

TELL_EVERY_S = 60.0
"""How often one that is being sent says so: often enough for the order of eviction on disk."""

_HIT_VALUE_AT = len("cache-status: ")


@dataclass(slots=True, eq=False)
class SiteRuntime:
    """A site on this node. `generation` rises whenever a record that touches the site was applied."""

    site_id: str
    generation: int = 0


class Validators(Enum):
    """What of a prepared response a request's preconditions, and If-Range, may be compared with."""

    NONE = "none"
    """Nothing of what it says: only the whole road knows."""
    ENTITY_TAG = "entity-tag"
    """Its ETag; dates mean nothing."""
    ALL = "all"
    """ETag, Last-Modified and Date, as they stand in its head."""


class EncodedHit(NamedTuple):
    """What a Prepared is beside its content, site and generation: from it another process of this machine, which has
    the same monotonic clock, makes one that says the same. Fields as in Prepared, encoded."""

    status: int
    start: bytes
    max_age_split: tuple[bytes, int, bytes] | None
    has_date: bool
    hit: bytes | None
    base_age_at: float | None
    fresh_until: float
    usable_until: float
    validators: Validators = Validators.NONE


class Prepared:
    """A stored response encoded once; `Age` and `Date` are renewed at most once a second, when it is asked for.

    `fields` is as in Response (no Content-Length, Connection, Age). A Date among them stays as it is: it says when the
    response was made, and only what this node makes itself is made anew (RFC 9110 section 6.6.1). `base_age_at` is the
    monotonic time at which its age was 0, None of what was never stored and says no Age; `fresh_until` the monotonic
    time from which it is not fresh any more, `usable_until` the one from which it may not be sent for another reason.
    With `extends_max_age` the `max-age` of its Cache-Control is that number of seconds plus the age: the time spent
    here does not count against the browser's. `wall_clock` gives the seconds for `Date`. `on_use` is called when it is
    sent, about once a minute: what lies behind it is in use though nobody asks for it. `validators` says what
    preconditions are compared with (prepared_forms.py).

    `selecting` are the names of request fields by which it was chosen among others of its URL; whoever keeps it by them
    sets it. Beside those, and those that `Recall` looks at, no field of a request counts.

    Whoever keeps it calls `retire` when giving it up; then nobody sends it any more and its bytes are free.
    """

    __slots__ = (
        "_base_age_at",
        "_content",
        "_h2_block",
        "_h2_renew_at",
        "_h2_start_length",
        "_has_date",
        "_head_length",
        "_hit",
        "_max_age_split",
        "_on_use",
        "_renew_at",
        "_start",
        "_start_length",
        "_told_at",
        "_wall_clock",
        "_wire",
        "fresh_until",
        "generation",
        "is_joined",
        "selecting",
        "site",
        "size_bytes",
        "status",
        "usable_until",
        "validators",
    )

    def __init__(
        self,
        *,
        status: int,
        fields: FieldLines,
        content: bytes,
        base_age_at: float | None,
        site: SiteRuntime,
        generation: int,
        fresh_until: float,
        usable_until: float = math.inf,
        extends_max_age: int | None = None,
        hit: str | None = None,
        wall_clock: Callable[[], float] = time.time,
        on_use: Callable[[], None] | None = None,
        validators: Validators = Validators.NONE,
    ) -> None:
        start, max_age_split = _encode(status, fields, len(content), extends_max_age)
        encoded = EncodedHit(
            status=status,
            start=start,
            max_age_split=max_age_split,
            has_date=any(name == "date" for name, _ in fields),
            hit=None if hit is None else f"cache-status: {hit}; ttl=".encode("latin-1"),
            base_age_at=base_age_at,
            fresh_until=fresh_until,
            usable_until=min(fresh_until, usable_until),
            validators=validators,
        )
        self._begin(encoded, content, site, generation, wall_clock, on_use)

    @classmethod
    def of(
        cls,
        encoded: EncodedHit,
        content: bytes,
        *,
        site: SiteRuntime,
        generation: int,
        wall_clock: Callable[[], float] = time.time,
        on_use: Callable[[], None] | None = None,
    ) -> Prepared:
        """The one that `encoded` and `content` were taken from."""
        made = cls.__new__(cls)
        made._begin(encoded, content, site, generation, wall_clock, on_use)
        return made

    def _begin(  # noqa: PLR0917 - all that there is to it
        self,
        encoded: EncodedHit,
        content: bytes,
        site: SiteRuntime,
        generation: int,
        wall_clock: Callable[[], float],
        on_use: Callable[[], None] | None,
    ) -> None:
        self.status = encoded.status
        self._on_use = on_use
        self._told_at = -math.inf
        self.site = site
        self.generation = generation
        self.fresh_until = encoded.fresh_until
        self.usable_until = encoded.usable_until
        self.validators = encoded.validators
        self.selecting: tuple[str, ...] = ()
        self.size_bytes = len(content)
        self.is_joined = len(content) <= JOINED_BYTES
        self._base_age_at = encoded.base_age_at
        self._wall_clock = wall_clock
        self._start, self._start_length = encoded.start, len(encoded.start)
        self._max_age_split = encoded.max_age_split
        self._has_date = encoded.has_date
        self._hit = encoded.hit
        self._content = content
        self._wire = b""
        self._head_length = 0
        self._renew_at = -math.inf
        self._h2_start_length = 0
        self._h2_block = b""
        self._h2_renew_at = -math.inf

    def encoded(self) -> EncodedHit:
        """What another process needs beside `content`."""
        return EncodedHit(
            self.status,
            self._unchanging(),
            self._max_age_split,
            self._has_date,
            self._hit,
            self._base_age_at,
            self.fresh_until,
            self.usable_until,
            self.validators,
        )

    @property
    def content(self) -> bytes:
        """The content, empty when it was retired. Copies what is kept with its head."""
        return self._wire[self._head_length :] if self.is_joined and self._head_length else self._content

    @property
    def content_view(self) -> bytes | memoryview:
        """The same, mostly without copying what is large."""
        if not self.is_joined or not self._head_length:
            return self._content
        if self.size_bytes < VIEWED_BYTES:
            return self._wire[self._head_length :]
        return memoryview(self._wire)[self._head_length :]

    def content_between(self, start: int, stop: int) -> bytes:
        """The octets [start, stop) of the content."""
        if not self.is_joined or not self._head_length:
            return self._content[start:stop]
        return self._wire[self._head_length + start : self._head_length + stop]

    @property
    def wall_clock(self) -> Callable[[], float]:
        """What gives the seconds for `Date`."""
        return self._wall_clock

    @property
    def may_come_again(self) -> bool:
        """Whether a head that led here is worth remembering."""
        return True

    @property
    def memo_bytes(self) -> int:
        """What remembering it takes beside what its keeper counts."""
        return 0

    @property
    def on_use(self) -> Callable[[], None] | None:
        """Whom to tell when another process sends it."""
        return self._on_use

    @property
    def cost_bytes(self) -> int:
        """What keeping it takes, nearly."""
        return self.size_bytes + 2 * self._start_length + OVERHEAD_BYTES

    def is_usable(self, now: float) -> bool:
        """Whether it may be sent at `now` (monotonic): fresh, and nothing was applied to its site since it was made."""
        return self.site.generation == self.generation and now < self.usable_until

    def retire(self) -> None:
        """Never usable again; the bytes are released though a head memo may still point here."""
        self.usable_until = -math.inf
        self._content = b""
        self._wire = b""
        self._renew_at = math.inf
        self._start = self._h2_block = b""
        self._h2_renew_at = math.inf

    def wire(self, now: float) -> bytes:
        """The whole response to GET. Ask `is_usable` first."""
        if now >= self._renew_at:
            self._renew(now)
        return self._wire if self.is_joined else self._wire + self._content

    def pieces(self, now: float) -> tuple[bytes, bytes]:
        """Head and content of the response to GET without copying large content; the content may be in the head."""
        if now >= self._renew_at:
            self._renew(now)
        return (self._wire, b"") if self.is_joined else (self._wire, self._content)

    def wire_head(self, now: float) -> bytes:
        """The response to HEAD: the same head, no content (DESIGN I13)."""
        if now >= self._renew_at:
            self._renew(now)
        return self._wire[: self._head_length]

    def h2_block(self, now: float) -> bytes:
        """The header block of HTTP/2 that says what `wire_head` says. Made when it is first asked for."""
        if now >= self._h2_renew_at:
            self._renew_h2(now)
        return self._h2_block

    def closing_pieces(self, now: float) -> tuple[bytes, bytes]:
        """Like `pieces` with `Connection: close` in the head; not kept."""
        head = self.closing_head(now)
        content = self._wire[self._head_length :] if self.is_joined else self._content
        return head, content

    def closing_head(self, now: float) -> bytes:
        """Like `wire_head` with `Connection: close`."""
        return self.wire_head(now)[:-2] + b"connection: close\r\n\r\n"

    def _tell_use(self, now: float) -> None:
        if self._on_use is not None and now >= self._told_at + TELL_EVERY_S:
            self._told_at = now
            self._on_use()

    def _renew_h2(self, now: float) -> None:
        """Apart from `_renew`, which copies the content: 2 us instead of 6, for each response that is asked for once a
        second or less."""
        self._tell_use(now)
        start = self._h2_block[: self._h2_start_length] or encode_response_head(self._unchanging())
        self._h2_start_length = len(start)
        wall = self._wall_clock()
        age = self._age(now)
        control = b"" if self._max_age_split is None else encode_lines(self._cache_control(age))
        hit = b""
        if self._hit is not None:
            hit = encode_field(b"cache-status", b"%s%d" % (self._hit[_HIT_VALUE_AT:], int(self.fresh_until - now)))
        date = b"" if self._has_date else encode_field(b"date", _date_of(wall // 1))
        told = b"" if self._base_age_at is None else encode_field(b"age", b"%d" % age)
        self._h2_block = b"".join((start, control, hit, told, date))
        self._h2_renew_at = now + 1.0 - wall % 1.0

    def _renew(self, now: float) -> None:
        self._tell_use(now)
        wall = self._wall_clock()
        age = self._age(now)
        told = b"" if self._base_age_at is None else b"age: %d\r\n" % age
        date = b"" if self._has_date else b"date: %s\r\n" % _date_of(wall // 1)
        hit = b"" if self._hit is None else b"%s%d\r\n" % (self._hit, int(self.fresh_until - now))
        head = b"%s%s%s%s%s\r\n" % (self._unchanging(), self._cache_control(age), hit, told, date)
        if self.is_joined:
            content = self._content if self._head_length == 0 else self._wire[self._head_length :]
            self._wire = head + content
            self._content = b""
        else:
            self._wire = head
        self._head_length = len(head)
        self._start = b""  # from now on it stands in `_wire`: of a hundred thousand small responses that is 25 MB
        self._renew_at = now + 1.0 - wall % 1.0

    def _unchanging(self) -> bytes:
        """The part of the head that is never made anew."""
        return self._start or self._wire[: self._start_length]

    def _age(self, now: float) -> int:
        return 0 if self._base_age_at is None else max(0, int(now - self._base_age_at))

    def _cache_control(self, age: int) -> bytes:
        if self._max_age_split is None:
            return b""
        before, lifetime_s, after = self._max_age_split
        return b"%s%d%s" % (before, lifetime_s + age, after)


@lru_cache(maxsize=4)
def _date_of(second: float) -> bytes:
    """Every response has the same date: making it anew for each takes 2 us."""
    return format_date(second).encode("ascii")


def _encode(
    status: int, fields: FieldLines, size_bytes: int, extends_max_age: int | None
) -> tuple[bytes, tuple[bytes, int, bytes] | None]:
    """The part of the head that never changes, and the Cache-Control line cut around its max-age when that grows."""
    for place, (name, value) in enumerate(fields):
        if extends_max_age is None or name != "cache-control":
            continue
        before, found, after = value.partition(f"max-age={extends_max_age}")
        if found and not after[:1].isdigit() and before[-1:] in ("", " ", ","):
            start = f"cache-control: {before}max-age=".encode("latin-1")
            end = f"{after}\r\n".encode("latin-1")
            others = fields[:place] + fields[place + 1 :]
            return encode_head(status, others, size_bytes), (start, extends_max_age, end)
    return encode_head(status, fields, size_bytes), None
