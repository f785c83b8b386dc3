"""The access log of one process: lines are put into a buffer, and a thread of its own writes them.

Nobody who is answered ever waits for a disk. `kill -9` loses what is in the buffer, half a second of lines at the most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf

from cdn.edge.access_line import (
    Said,
    encode_hit,
    encode_said,
    encode_time,
    encode_visitor,
    encode_words,
    shown_address,
    target_of,
    text_of,
    without_query,
)
from cdn.edge.access_log_file import AccessLogFile
from cdn.edge.access_log_settings import AccessLogSettings
from cdn.edge.outcome import Outcome
from cdn.http.request import Request

BUFFER_BYTES = 256 * 1024
"""Given to the thread when it is full: some 700 lines, 35 ms of a process that answers 20,000 requests a second. The
thread costs some 30 us each time that it is woken."""

HAND_OVER_EVERY_S = 0.5
"""Or after so long: how old a line is at most when it is written."""

CLOSE_TIMEOUT_S = 2.0
"""What a process that ends gives a slow disk for its last lines."""

MAX_WORDS = 4096
"""Pairs of Referer and User-Agent whose encoding is remembered, below 1.5 KiB each. Beyond it all are forgotten: making
one again takes 1 us."""

MAX_REMEMBERED_CHARS = 512
"""Of such a pair; a longer one hardly comes again."""


_TEXTS = {outcome: outcome.value for outcome in Outcome}


def no_site(host: str) -> str:
    """Of a process that knows no sites."""
    return ""


class AccessLog:
    """`Traffic.hit` writes into `buffer` by itself: a call more would cost a fifth of the whole."""

    __slots__ = (
        "_file",
        "_is_closed",
        "_second",
        "_second_text",
        "_settings",
        "_site_of",
        "_wall",
        "_words",
        "buffer",
        "line_count",
        "time_part",
        "time_until",
    )

    def __init__(
        self,
        settings: AccessLogSettings,
        file: AccessLogFile,
        *,
        wall: Callable[[], float] = time.time,
        site_of: Callable[[str], str] = no_site,
    ) -> None:
        """`site_of(host)` is the name of the site that answers for it; empty: none does."""
        self._settings = settings
        self._file = file
        self._wall = wall
        self._site_of = site_of
        self._words: dict[tuple[str | None, str | None], str] = {}
        self._second = -1
        self._second_text = ""
        self._is_closed = False
        self.buffer = bytearray()
        self.line_count = 0
        self.time_part = b""
        self.time_until = -inf
        """Until when (monotonic) `time_part` is true to the millisecond."""

    @classmethod
    def open(
        cls,
        settings: AccessLogSettings,
        *,
        wall: Callable[[], float] = time.time,
        site_of: Callable[[str], str] = no_site,
    ) -> AccessLog | None:
        """None where the settings want none. Raises InvalidInput for a file that cannot be appended to."""
        if settings.file is None:
            return None
        file = AccessLogFile.open(settings.file, settings.max_waiting_bytes)
        return cls(settings, file, wall=wall, site_of=site_of)

    async def run(self) -> None:
        """Hand lines over every half second, until cancelled."""
        while True:
            await asyncio.sleep(HAND_OVER_EVERY_S)
            self.hand_over()

    def hand_over(self) -> None:
        """Give what is in the buffer to the thread; what it has no room for is dropped, and counted there."""
        if self.buffer:
            taken, self.buffer = self.buffer, bytearray()
            count, self.line_count = self.line_count, 0
            self._file.offer(taken, count)

    def reopen(self) -> None:
        """Go on in a new file of the same name: everything said until now is in the old one."""
        self.hand_over()
        self._file.reopen()

    async def aclose(self) -> None:
        """Write what is there, as far as the disk takes it within CLOSE_TIMEOUT_S."""
        if not self._is_closed:
            self._is_closed = True
            self.hand_over()
            await asyncio.to_thread(self._file.close, CLOSE_TIMEOUT_S)

    @property
    def is_writing(self) -> bool:
        """Whether lines that were handed over are not written yet."""
        return self._file.is_writing

    def numbers(self) -> dict[str, int]:
        """Lines by what became of them, and faults."""
        return self._file.numbers()

    # Lines

    def visitor_part(self, address: str, scheme: str, tls_version: str) -> bytes:
        """See Traffic."""
        return encode_visitor(shown_address(address, self._settings.addresses), scheme, tls_version)

    def target_of(self, request: Request) -> str:
        """As much of it as is kept."""
        return target_of(request, with_query=self._settings.queries)

    def referer_of(self, value: str | None) -> str | None:
        """As much as is kept of a request's Referer."""
        return value if self._settings.queries else without_query(value)

    def words(self, name: str, value: str) -> bytes:
        """What `encode_words` makes of as much as is kept."""
        return encode_words(name, (self.referer_of(value) or "") if name == "referer" else value)

    def encode_hit(self, request: Request, status: int, size_bytes: int, protocol: str, outcome: Outcome) -> bytes:
        """The same as `encode` of a hit."""
        fields = request.fields
        referer, user_agent = fields.get("referer"), fields.get("user-agent")
        words = self._words.get((referer, user_agent))
        if words is None:
            words = self._encode_words(referer, user_agent)
        host = request.host
        target = request.target
        text = target.path if target.query is None or not self._settings.queries else f"{target.path}?{target.query}"
        site = self._site_of(host)
        line = encode_hit(host, request.method, text, protocol, status, size_bytes, _TEXTS[outcome], site, words)
        if line is not None:
            return line
        said = Said(host, request.method, text, protocol, status, size_bytes, 0, outcome, site)
        said.referer, said.user_agent = text_of(self.referer_of(referer)), text_of(user_agent)
        return encode_said(said)

    def _encode_words(self, referer: str | None, user_agent: str | None) -> str:
        words = (self.words("referer", referer or "") + self.words("user_agent", user_agent or "")).decode("ascii")
        if len(words) <= MAX_REMEMBERED_CHARS:
            if len(self._words) >= MAX_WORDS:
                self._words.clear()
            self._words[referer, user_agent] = words
        return words

    def encode(self, said: Said) -> bytes:
        """The part of a line that says what came of a request, the name of its site put in."""
        said.site = self._site_of(said.host)
        return encode_said(said)

    def append(self, now: float, visitor_part: bytes, said_part: bytes) -> None:
        """One line."""
        if now >= self.time_until:
            self.renew_time(now)
        buffer = self.buffer
        buffer += self.time_part
        buffer += visitor_part
        buffer += said_part
        self.line_count += 1
        if len(buffer) >= BUFFER_BYTES:
            self.hand_over()

    def renew_time(self, now: float) -> None:
        """Make `time_part` true for `now` (monotonic)."""
        wall = self._wall()
        milliseconds = int(wall * 1000)
        second, millisecond = divmod(milliseconds, 1000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self.time_part = encode_time(self._second_text, millisecond)
        self.time_until = now + (milliseconds + 1) / 1000 - wall
