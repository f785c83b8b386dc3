"""From the raw bytes of one whole request head to a judged request (RFC 9112 sections 2 to 6)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import httptools

from cdn.edge.content_framing import Chunked, FixedLength
from cdn.edge.limits import HttpLimits
from cdn.edge.refusal import Refusal, Refused
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import AbsoluteTarget, HostName, Target, TargetFault, parse_host, parse_target

MAX_REMEMBERED = 1024
"""Targets and field sections whose reading is remembered, each: they come again with every page."""

MAX_REMEMBERED_BYTES = 1024
"""Longer ones are not remembered. With the bound above: some 20 MiB at worst, 3 MiB with what browsers send."""

MAX_REMEMBERED_LINES = 4096
"""Single field lines whose reading is remembered: where one line of a head is new, the others mostly are not."""

_K = TypeVar("_K")
_V = TypeVar("_V")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_LENGTH = re.compile(r"[0-9]{1,18}")
_NOT_ASCII = "The request target has bytes that must be percent-encoded."
_ANY_LINE = b"GET / HTTP/1.1"
_MINOR_OF = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
_ASTERISK = Target("*", None, "*")
_USUAL_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_REFUSED_METHODS = {b"CONNECT": Refusal.UNKNOWN_METHOD, b"TRACE": Refusal.METHOD_NOT_ALLOWED}
_PLAIN_METHODS = frozenset((b"GET", b"HEAD"))
CONDITIONS = frozenset(
    ("range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"),
)
"""Fields that ask for less than the whole answer, or for it only under a condition (RFC 9110 sections 13 and 14)."""

_FRAMING_FIELDS = frozenset(("content-length", "transfer-encoding", "expect"))
_JUDGED_TOGETHER = _FRAMING_FIELDS | {"upgrade"}
_NEVER_THE_SAME = frozenset(("cookie", "authorization", "referer", "if-none-match", "if-modified-since"))
# Possessive: a line of spaces with a fault at its end takes linear time.
_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)")
_HOST, _CLOSE = 1, 2


class RequestLine(NamedTuple):
    """A well-formed request line. `minor` is the 1 of HTTP/1.1; `size_bytes` is without the line end."""

    method: bytes
    target: bytes
    minor: int
    size_bytes: int


@dataclass(slots=True)
class MessageHead:
    """A judged head. Not frozen, though nothing changes it: freezing would double the cost of making one.

    `framing` is None when no content follows. `is_plain`: GET or HEAD without content.
    `is_persistent`: the client may send another request on this connection after this one. `minor` is the 1 of
    HTTP/1.1.
    """

    request: Request
    framing: FixedLength | Chunked | None
    is_persistent: bool
    is_plain: bool
    expects_continue: bool
    minor: int = 1


def read_request_line(line: bytes) -> RequestLine | Refused:
    """Split a request line without its line end (RFC 9112 section 3), judging version and method but not the target.

    A method may be any token: the application knows which ones it serves. Two never reach it: CONNECT, which asks for a
    tunnel, and TRACE, which would show what only proxies in front of us should see (RFC 9110 section 9.3.8).
    """
    parts = line.split(b" ")
    method = parts[0]
    if len(parts) == 3:
        minor = _MINOR_OF.get(parts[2])
        if minor is not None and method in _USUAL_METHODS and parts[1]:
            return RequestLine(method, parts[1], minor, len(line))
    fault = _fault_of_line(parts)
    return RequestLine(method, parts[1], _MINOR_OF[parts[2]], len(line)) if fault is None else Refused(fault)


def _fault_of_line(parts: list[bytes]) -> Refusal | None:
    if _TOKEN.fullmatch(parts[0]) is None or len(parts) not in (2, 3) or not parts[1]:
        return Refusal.MALFORMED_REQUEST_LINE
    if len(parts) == 2:  # the simple request of HTTP/0.9
        return Refusal.UNKNOWN_VERSION
    if parts[2] not in _MINOR_OF:
        is_version = _VERSION.fullmatch(parts[2]) is not None
        return Refusal.UNKNOWN_VERSION if is_version else Refusal.MALFORMED_REQUEST_LINE
    return _REFUSED_METHODS.get(parts[0])


@dataclass(slots=True)
class _Section:
    """A field section, judged; nothing changes it. Browsers send the same one with many targets, so it is remembered.

    `host` is None when there is no Host field.
    """

    fields: Fields
    host: HostName | Refusal | None
    has_close: bool
    has_framing: bool


class _Sink:
    """Takes field lines from httptools."""

    __slots__ = ("on_header",)

    def __init__(self, on_header: Callable[[bytes, bytes], None]) -> None:
        self.on_header = on_header


class HeadParser:
    """Parses whole heads one after the other; holds nothing of one when it parses the next.

    One serves all connections of a listener. Never raises on any input; `httptools` judges the grammar of the fields,
    and what it lets through is judged here. The request line is judged here alone.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._sections: dict[bytes, _Section] = {}
        self._lines: dict[bytes, tuple[tuple[str, str], int]] = {}
        self._hosts: dict[str, HostName | Refusal] = {}
        self._targets: dict[bytes, Target | AbsoluteTarget | TargetFault] = {}

    def parse_plain(self, head: bytes, scheme: str) -> MessageHead | None:
        """The message of a head as browsers send it: GET or HEAD of a path, HTTP/1.1, no content, nothing unusual.

        None for every other head, and whenever the slow way would find anything to refuse; it then says what. `head` is
        within every limit on bytes; it may still have bare CR or LF, which no line or target here can contain.
        8 us for a head that never came before (20 us the slow way).
        """
        end = head.find(b"\r\n")
        parts = head[:end].split(b" ")
        if len(parts) != 3 or parts[2] != b"HTTP/1.1" or parts[0] not in _PLAIN_METHODS:
            return None
        target = self._targets.get(parts[1])
        if target is None and parts[1].isascii():
            target = parse_target(parts[1])
            if len(parts[1]) <= MAX_REMEMBERED_BYTES:
                _remember(self._targets, parts[1], target)
        raw = head[end:]
        section = self._sections.get(raw) or self._read_lines(raw)
        if section is None or section.has_framing or len(section.fields) > self._limits.max_fields:
            return None
        host = section.host
        if type(target) is not Target or type(host) is not HostName:
            return None
        method = "GET" if parts[0] == b"GET" else "HEAD"
        request = Request(method, target, host.name, host.port, section.fields, scheme)
        return MessageHead(request, None, not section.has_close, True, False)

    def parse(self, line: RequestLine, head: bytes, scheme: str) -> MessageHead | Refused:
        """Judge `head` (from the request line to the empty line, without bare CR or LF), whose first line is `line`."""
        section = self._section_of(head[line.size_bytes :])
        if isinstance(section, Refused):
            return section
        target = self._target_of(line)
        if isinstance(target, Refused):
            return target
        host = _host_of(section, line, target)
        if isinstance(host, Refusal):
            return Refused(host)
        if isinstance(target, AbsoluteTarget):
            target = target.target
        fields = section.fields
        is_persistent = line.minor == 1 and not section.has_close
        request = Request(line.method.decode("ascii"), target, host.name, host.port, fields, scheme)
        is_plain = line.method in _PLAIN_METHODS
        if not section.has_framing:
            return MessageHead(request, None, is_persistent, is_plain, False, line.minor)
        framing = self._framing_of(fields, line)
        if isinstance(framing, Refused):
            return framing
        expect = fields.get("expect")
        if expect is not None and expect.lower() != "100-continue":
            return Refused(Refusal.UNKNOWN_EXPECTATION)
        # HTTP/1.0 does not know the expectation: it is ignored there (RFC 9110 section 10.1.1)
        expects_continue = expect is not None and line.minor == 1 and framing is not None
        is_plain = is_plain and framing is None
        return MessageHead(request, framing, is_persistent, is_plain, expects_continue, line.minor)

    def _section_of(self, raw: bytes) -> _Section | Refused:
        section = self._sections.get(raw)
        if section is not None:
            return section
        judged = _read_section(raw)
        if len(raw) <= MAX_REMEMBERED_BYTES and isinstance(judged, _Section):
            _remember(self._sections, raw, judged)
        return judged

    def _read_lines(self, raw: bytes) -> _Section | None:
        """Judge the section line by line with what is remembered of each: 4 us where httptools takes 25.

        None when a line needs more than a look at itself: framing, or anything out of the ordinary.
        """
        pairs: list[tuple[str, str]] = []
        hosts: list[str] = []
        seen = 0
        remembered = self._lines
        may_come_again = len(raw) <= MAX_REMEMBERED_BYTES
        for line in raw[2:-4].split(b"\r\n"):
            known = remembered.get(line)
            if known is None:
                may_come_again = False
                known = self._read_line(line)
                if known is None:
                    return None
            pair, kind = known
            pairs.append(pair)
            if kind:
                seen |= kind
                if kind == _HOST:
                    hosts.append(pair[1])
        host = self._host_named(hosts[0]) if len(hosts) == 1 else _judge_host(tuple(hosts))
        section = _Section(Fields(tuple(pairs)), host, bool(seen & _CLOSE), False)
        if may_come_again:  # every line of it came before
            _remember(self._sections, raw, section)
        return section

    def _read_line(self, line: bytes) -> tuple[tuple[str, str], int] | None:
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        name = found[1].decode("ascii").lower()
        if name in _JUDGED_TOGETHER:
            return None
        value = _text_of(found[2])
        kind = _HOST if name == "host" else 0
        if name == "connection" and _has_token(value, "close"):
            kind = _CLOSE
        known = ((name, value), kind)
        if len(line) <= MAX_REMEMBERED_BYTES and name not in _NEVER_THE_SAME:
            _remember(self._lines, line, known, MAX_REMEMBERED_LINES)
        return known

    def _host_named(self, value: str) -> HostName | Refusal:
        host = self._hosts.get(value)
        if host is None:
            host = parse_host(value) or Refusal.MALFORMED_HOST
            if len(value) <= MAX_REMEMBERED_BYTES:
                _remember(self._hosts, value, host)
        return host

    def _target_of(self, line: RequestLine) -> Target | AbsoluteTarget | Refused:
        raw = line.target
        if not raw.isascii():
            return Refused(Refusal.MALFORMED_TARGET, _NOT_ASCII)
        target = self._targets.get(raw)
        if target is None:
            target = parse_target(raw)
            if len(raw) <= MAX_REMEMBERED_BYTES:
                _remember(self._targets, raw, target)
        if isinstance(target, TargetFault):
            if target is TargetFault.ASTERISK and line.method == b"OPTIONS":
                return _ASTERISK
            return Refused(Refusal.MALFORMED_TARGET, target.value)
        return target

    def _framing_of(self, fields: Fields, line: RequestLine) -> FixedLength | Chunked | Refused | None:
        coding = fields.get("transfer-encoding")
        length = fields.get("content-length")
        if coding is not None:
            if length is not None or line.minor == 0:
                return Refused(Refusal.MALFORMED_FRAMING)
            if coding.lower() != "chunked":
                return Refused(Refusal.UNKNOWN_CODING)
            return Chunked(self._limits)
        if length is None:
            return None
        if _LENGTH.fullmatch(length) is None:
            return Refused(Refusal.MALFORMED_FRAMING)
        size_bytes = int(length)
        if size_bytes > self._limits.max_content_bytes:
            return Refused(Refusal.CONTENT_TOO_LARGE)
        return FixedLength(size_bytes) if size_bytes else None


def _read_section(raw: bytes) -> _Section | Refused:
    """Judge the field lines in `raw`, which starts with the end of the request line.

    It is a new parser each time, for 0.3 us: nothing of one connection can reach another.
    """
    lines: list[tuple[bytes, bytes]] = []
    try:
        httptools.HttpRequestParser(_Sink(lambda name, value: lines.append((name, value)))).feed_data(_ANY_LINE + raw)
    except httptools.HttpParserUpgrade:
        pass  # an upgrade is an offer: we go on with HTTP/1.1 (RFC 9110 section 7.8)
    except httptools.HttpParserError as fault:
        return Refused(_refusal_of(fault))
    fields = Fields(tuple((name.decode("latin-1").lower(), _text_of(value)) for name, value in lines))
    names = {name for name, _ in fields}
    connection = fields.get("connection")
    return _Section(
        fields,
        _judge_host(fields.get_all("host")),
        connection is not None and _has_token(connection, "close"),
        not _FRAMING_FIELDS.isdisjoint(names),
    )


def _text_of(value: bytes) -> str:
    """Whitespace after a value is not part of it (RFC 9112 section 5.1); httptools leaves it there."""
    return value.rstrip(b" \t").decode("latin-1")


def _judge_host(values: tuple[str, ...]) -> HostName | Refusal | None:
    if not values:
        return None
    return Refusal.REPEATED_HOST if len(values) > 1 else parse_host(values[0]) or Refusal.MALFORMED_HOST


def _host_of(section: _Section, line: RequestLine, target: Target | AbsoluteTarget) -> HostName | Refusal:
    host = section.host
    if isinstance(target, Target) or isinstance(host, Refusal):
        return host or Refusal.MISSING_HOST
    named = parse_host(target.host)
    if host is None and line.minor == 0 and named is not None:
        return named
    if host is None:
        return Refusal.MISSING_HOST
    return host if named == host else Refusal.DIFFERENT_HOST


def _refusal_of(fault: httptools.HttpParserError) -> Refusal:
    text = str(fault)
    if "Content-Length" in text or "Transfer-Encoding" in text:
        return Refusal.MALFORMED_FRAMING
    return Refusal.MALFORMED_FIELDS


def _has_token(value: str, token: str) -> bool:
    return any(part.strip(" \t").lower() == token for part in value.split(","))


def _remember(memo: dict[_K, _V], key: _K, value: _V, max_entries: int = MAX_REMEMBERED) -> None:
    if len(memo) >= max_entries:
        memo.clear()
    memo[key] = value
