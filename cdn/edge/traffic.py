"""What is counted, and kept in the access log, of every answer.

One of it for each process, shared by its listeners. Connections call `hit` for what memory answers, `answered` for
everything else that a request got, and `refused` for what was never a request.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdn.edge.access_line import LINE_END, MAX_TAIL_BYTES, Said, cut_mark, encode_words, text_of, with_words
from cdn.edge.access_log import BUFFER_BYTES, AccessLog
from cdn.edge.latency import Latency
from cdn.edge.outcome import Outcome, outcome_of
from cdn.edge.refusal import Refusal, Refused
from cdn.http.request import Request

HTTP_1_0 = "HTTP/1.0"
HTTP_1_1 = "HTTP/1.1"
HTTP_2 = "HTTP/2"
PROTOCOLS = (HTTP_1_0, HTTP_1_1, HTTP_2)
"""What `protocol` may be, below."""


TRAFFIC = "traffic "
"""Begins the name of what a worker counted here among everything else that it counts."""


class Tally:
    """Plain integers, raised in place: answers of one protocol, class of status and outcome."""

    __slots__ = ("content_bytes", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.content_bytes = 0


class Told:
    """What is said of a hit each time it is sent: kept by the head memo beside its Prepared, some 500 bytes.

    `size_bytes` is the content that is sent: 0 for HEAD. `forwarded_for` is the request's X-Forwarded-For: where a
    service has `forwarders`, what the log says of the visitor depends on it. `line` is empty without a log.
    """

    __slots__ = ("forwarded_for", "line", "size_bytes", "tally")

    def __init__(self, line: bytes, tally: Tally, size_bytes: int, forwarded_for: str | None) -> None:
        self.line = line
        self.tally = tally
        self.size_bytes = size_bytes
        self.forwarded_for = forwarded_for

    def with_words(self, words: bytes) -> Told | None:
        """The same with more that the visitor said, from `encode_words`; None where the line would be too long."""
        if not self.line or not words:
            return self
        line = with_words(self.line, words)
        return None if line is None else Told(line, self.tally, self.size_bytes, self.forwarded_for)


@dataclass(frozen=True, slots=True)
class Answered:
    """What is said of an answer that took its time.

    `status` is 0 where the visitor left before there was one. `content_bytes` as sent; `cache_status` is the response's
    field (None: it has none). `began_at` is when the request's head was here, `first_byte_at` when that of the answer
    was sent.
    """

    request: Request
    status: int
    content_bytes: int
    protocol: str
    cache_status: str | None
    began_at: float
    first_byte_at: float | None
    is_complete: bool = True


class Traffic:
    """Times are monotonic."""

    __slots__ = ("_first_byte", "_tallies", "_timeless", "_whole", "access_log")

    def __init__(self, access_log: AccessLog | None = None) -> None:
        self.access_log = access_log
        self._tallies: dict[tuple[str, int, Outcome], Tally] = {}  # bounded: some 200 combinations
        self._first_byte = Latency()
        self._whole = Latency()
        self._timeless = 0  # answers that say nothing of latency: refusals, and those that broke off

    def visitor_part(self, address: str, scheme: str, tls_version: str = "") -> bytes:
        """What lines say of the visitor: the same for a connection, unless it is a trusted proxy's. Never empty.

        `tls_version` as OpenSSL names it; empty: no TLS.
        """
        log = self.access_log
        return _NOBODY if log is None else log.visitor_part(address, scheme, tls_version)

    def told(
        self, request: Request, status: int, size_bytes: int, protocol: str, outcome: Outcome = Outcome.HIT
    ) -> Told:
        """To be given to `hit` for as long as the answer is the same. Costs about 1 us with a log."""
        tally = self._tally(protocol, status, outcome)
        log = self.access_log
        if log is None:
            return Told(b"", tally, size_bytes, None)
        line = log.encode_hit(request, status, size_bytes, protocol, outcome)
        return Told(line, tally, size_bytes, request.fields.get("x-forwarded-for"))

    def words(self, name: str, value: str) -> bytes:
        """What lines say of one more member, for `hit_in_words`."""
        log = self.access_log
        return encode_words(name, value) if log is None else log.words(name, value)

    def hit(self, now: float, visitor_part: bytes, told: Told) -> None:
        """An answer from memory was sent, whole and in no time: counted in the lowest bucket of latency."""
        tally = told.tally
        tally.requests += 1
        tally.content_bytes += told.size_bytes
        log = self.access_log
        if log is not None:  # AccessLog.append, without the call: 0.25 us for all of this instead of 0.32
            if now >= log.time_until:
                log.renew_time(now)
            buffer = log.buffer
            buffer += log.time_part
            buffer += visitor_part
            buffer += told.line
            log.line_count += 1
            if len(buffer) >= BUFFER_BYTES:
                log.hand_over()

    def hit_in_words(self, now: float, visitor_part: bytes, told: Told, words: bytes) -> None:
        """`hit`, with more that the visitor said, from `encode_words`; for a line that is written once.

        Without making a Told of it: 0.3 us instead of 0.8. Where the line would be too long it is cut.
        """
        tally = told.tally
        tally.requests += 1
        tally.content_bytes += told.size_bytes
        log = self.access_log
        if log is not None:
            if now >= log.time_until:
                log.renew_time(now)
            buffer = log.buffer
            buffer += log.time_part
            buffer += visitor_part
            buffer += told.line
            del buffer[-2:]
            buffer += words if len(told.line) + len(words) <= MAX_TAIL_BYTES else cut_mark(told.line)
            buffer += LINE_END
            log.line_count += 1
            if len(buffer) >= BUFFER_BYTES:
                log.hand_over()

    def answered(self, now: float, visitor_part: bytes, answered: Answered) -> None:
        """An answer was handed to the transport up to its end, or broke off."""
        outcome = outcome_of(answered.cache_status, answered.status)
        tally = self._tally(answered.protocol, answered.status, outcome)
        tally.requests += 1
        tally.content_bytes += answered.content_bytes
        took_s = now - answered.began_at
        first_byte_s = None if answered.first_byte_at is None else answered.first_byte_at - answered.began_at
        if answered.is_complete and first_byte_s is not None:
            self._first_byte.observe(first_byte_s)
            self._whole.observe(took_s)
        else:
            self._timeless += 1
        log = self.access_log
        if log is None:
            return
        request = answered.request
        fields = request.fields
        said = Said(
            request.host,
            request.method,
            log.target_of(request),
            answered.protocol,
            answered.status,
            answered.content_bytes,
            _milliseconds(took_s),
            outcome,
            referer=text_of(log.referer_of(fields.get("referer"))),
            user_agent=text_of(fields.get("user-agent")),
            first_byte_ms=None if first_byte_s is None else _milliseconds(first_byte_s),
            cache_status=text_of(answered.cache_status),
            complete=answered.is_complete,
        )
        log.append(now, visitor_part, log.encode(said))

    def refused(
        self, now: float, visitor_part: bytes, refused: Refused, protocol: str, request: Request | None = None
    ) -> None:
        """Something was refused that is no request, or not wholly; or that is the `request`, which nobody saw."""
        refusal = refused.refusal
        outcome = Outcome.FAILED if refusal is Refusal.APPLICATION_FAILED else Outcome.REFUSED
        self._without_answer(now, visitor_part, protocol, refusal.status, outcome, refusal.detail, request)

    def malformed(self, now: float, visitor_part: bytes, protocol: str) -> None:
        """A stream of HTTP/2 was reset because what came is no request (RFC 9113 section 8.1.1): it got no status."""
        self._without_answer(now, visitor_part, protocol, 0, Outcome.REFUSED, MALFORMED, None)

    def _without_answer(  # noqa: PLR0917 - what a line says, part by part
        self,
        now: float,
        visitor_part: bytes,
        protocol: str,
        status: int,
        outcome: Outcome,
        reason: str,
        request: Request | None,
    ) -> None:
        self._tally(protocol, status, outcome).requests += 1
        self._timeless += 1
        log = self.access_log
        if log is None:
            return
        said = Said("", "", "", protocol, status, 0, 0, outcome, reason=reason)
        if request is not None:
            said.host, said.method, said.target = request.host, request.method, log.target_of(request)
            said.referer = text_of(log.referer_of(request.fields.get("referer")))
            said.user_agent = text_of(request.fields.get("user-agent"))
        log.append(now, visitor_part, log.encode(said))

    def numbers(self) -> dict[str, int]:
        """Everything that was counted so far, as `TrafficNumbers` reads it: sums of several processes are sums."""
        counted: dict[str, int] = {}
        requests = 0
        for (protocol, status_class, outcome), tally in self._tallies.items():
            requests += tally.requests
            counted[f"requests {protocol} {status_class} {outcome}"] = tally.requests
            name = f"content_bytes {protocol}"
            counted[name] = counted.get(name, 0) + tally.content_bytes
        from_memory = requests - self._timeless - sum(self._whole.counts)
        for name, latency in (("first_byte", self._first_byte), ("whole", self._whole)):
            for bucket, count in enumerate(latency.counts):
                if count or bucket == 0:
                    counted[f"{name} {bucket}"] = count + (from_memory if bucket == 0 else 0)
            counted[f"{name}_us"] = round(latency.sum_s * 1_000_000)
        if self.access_log is not None:
            counted.update((f"log {name}", value) for name, value in self.access_log.numbers().items())
        return counted

    def _tally(self, protocol: str, status: int, outcome: Outcome) -> Tally:
        key = (protocol, status // 100, outcome)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally()
        return tally


MALFORMED = "malformed-request"
"""The reason in the access log of what was reset and has no answer to name one."""

_NOBODY = b"-"
"""Where no log is kept nobody reads it."""


def _milliseconds(took_s: float) -> float:
    return round(took_s * 1000, 3)
