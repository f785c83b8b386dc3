"""From the raw bytes of one whole request head to a judged request (RFC 9112 sections 2 to 6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import httptools

from cdn.edge.content_framing import Chunked, FixedLength
from cdn.edge.limits import HttpLimits
from cdn.edge.refusal import Refusal, Refused
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import AbsoluteTarget, HostName, Target, TargetFault, parse_host, parse_target

METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PURGE"))
"""Methods that are handed to the application; it answers 405 to those it does not serve. All others: 501."""

MAX_REMEMBERED = 4096
"""Targets, hosts and field names whose reading is remembered, each: they come again with every page."""

MAX_REMEMBERED_BYTES = 256
"""Longer ones are not remembered."""

_K = TypeVar("_K")
_V = TypeVar("_V")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_LENGTH = re.compile(r"[0-9]{1,18}")
_MINOR_OF = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
_ASTERISK = Target("*", None, "*")
_CONDITIONS = frozenset(
    ("range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"),
)
_FRAMING_FIELDS = frozenset(("content-length", "transfer-encoding", "expect"))


class RequestLine(NamedTuple):
    """A well-formed request line. `minor` is the 1 of HTTP/1.1."""

    method: bytes
    target: bytes
    minor: int


@dataclass(slots=True)
class MessageHead:
    """A judged head. Not frozen, though nothing changes it: freezing would double the cost of making one.

    `framing` is None when no content follows. `is_plain`: GET or HEAD without content, preconditions and Range.
    `is_persistent`: the client may send another request on this connection after this one.
    """

    request: Request
    framing: FixedLength | Chunked | None
    is_persistent: bool
    is_plain: bool
    expects_continue: bool


def read_request_line(line: bytes) -> RequestLine | Refused:
    """Split a request line without its line end (RFC 9112 section 3), judging version and method but not the target."""
    parts = line.split(b" ")
    method = parts[0]
    if len(parts) == 3:
        minor = _MINOR_OF.get(parts[2])
        if minor is not None and method in METHODS and parts[1]:
            return RequestLine(method, parts[1], minor)
    return Refused(_fault_of_line(parts))


def _fault_of_line(parts: list[bytes]) -> Refusal:
    if _TOKEN.fullmatch(parts[0]) is None or len(parts) not in (2, 3) or not parts[1]:
        return Refusal.MALFORMED_REQUEST_LINE
    if len(parts) == 2:  # the simple request of HTTP/0.9
        return Refusal.UNKNOWN_VERSION
    if parts[2] not in _MINOR_OF:
        is_version = _VERSION.fullmatch(parts[2]) is not None
        return Refusal.UNKNOWN_VERSION if is_version else Refusal.MALFORMED_REQUEST_LINE
    return Refusal.UNKNOWN_METHOD


class HeadParser:
    """Parses whole heads one after the other; holds nothing of one when it parses the next.

    One serves all connections of a listener. Never raises on any input; `httptools` judges the grammar of the fields,
    and what it lets through is judged here.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._lines: list[tuple[str, str]] = []
        self._names: dict[bytes, str] = {}
        self._targets: dict[bytes, Target | AbsoluteTarget | TargetFault] = {}
        self._hosts: dict[str, HostName | None] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools for each field line."""
        known = self._names.get(name)
        if known is None:
            known = self._learn_name(name)
        self._lines.append((known, value.decode("latin-1")))

    def parse(self, line: RequestLine, head: bytes, scheme: str) -> MessageHead | Refused:
        """Judge `head` (from the request line to the empty line), whose first line is `line`."""
        fields = self._read_fields(head)
        if isinstance(fields, Refused):
            return fields
        target = self._target_of(line)
        if isinstance(target, Refused):
            return target
        host = self._host_of(fields, line, target)
        if isinstance(host, Refused):
            return host
        if isinstance(target, AbsoluteTarget):
            target = target.target
        connection = fields.get("connection")
        is_persistent = line.minor == 1 and (connection is None or not _has_token(connection, "close"))
        request = Request(line.method.decode("ascii"), target, host.name, host.port, fields, scheme)
        names = dict(fields.lines).keys()
        if not _FRAMING_FIELDS.isdisjoint(names):
            return self._judge_content(request, line, is_persistent)
        is_plain = line.method in (b"GET", b"HEAD") and _CONDITIONS.isdisjoint(names)
        return MessageHead(request, None, is_persistent, is_plain, False)

    def _read_fields(self, head: bytes) -> Fields | Refused:
        self._lines.clear()
        try:  # a new parser each time, for 0.3 us: nothing of one connection can reach another
            httptools.HttpRequestParser(self).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # an upgrade is an offer: we go on with HTTP/1.1 (RFC 9110 section 7.8)
        except httptools.HttpParserInvalidURLError:
            return Refused(Refusal.MALFORMED_TARGET)
        except httptools.HttpParserError as fault:
            return Refused(_refusal_of(fault))
        lines = tuple(self._lines)
        if b" \r\n" in head or b"\t\r\n" in head:  # whitespace after a value is not part of it (RFC 9112 section 5.1)
            lines = tuple((name, value.rstrip(" \t")) for name, value in lines)
        return Fields(lines)

    def _target_of(self, line: RequestLine) -> Target | AbsoluteTarget | Refused:
        raw = line.target
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

    def _host_of(self, fields: Fields, line: RequestLine, target: Target | AbsoluteTarget) -> HostName | Refused:
        text = fields.get("host")
        if text is None:
            if line.minor == 1 or isinstance(target, Target):
                return Refused(Refusal.MISSING_HOST)
            text = target.host
        host = self._hosts.get(text)
        if host is None:
            if len(fields.get_all("host")) > 1:
                return Refused(Refusal.REPEATED_HOST)
            host = parse_host(text)
            if host is None:
                return Refused(Refusal.MALFORMED_HOST)
            _remember(self._hosts, text, host)
        if isinstance(target, AbsoluteTarget) and parse_host(target.host) != host:
            return Refused(Refusal.DIFFERENT_HOST)
        return host

    def _judge_content(self, request: Request, line: RequestLine, is_persistent: bool) -> MessageHead | Refused:
        framing = self._framing_of(request.fields, line)
        if isinstance(framing, Refused):
            return framing
        expect = request.fields.get("expect")
        if expect is not None and expect.lower() != "100-continue":
            return Refused(Refusal.UNKNOWN_EXPECTATION)
        # HTTP/1.0 does not know the expectation: it is ignored there (RFC 9110 section 10.1.1)
        expects_continue = expect is not None and line.minor == 1 and framing is not None
        is_plain = (
            framing is None
            and line.method in (b"GET", b"HEAD")
            and not any(name in request.fields for name in _CONDITIONS)
        )
        return MessageHead(request, framing, is_persistent, is_plain, expects_continue)

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

    def _learn_name(self, name: bytes) -> str:
        text = name.decode("latin-1").lower()
        if len(name) <= MAX_REMEMBERED_BYTES:
            _remember(self._names, name, text)
        return text


def _refusal_of(fault: httptools.HttpParserError) -> Refusal:
    text = str(fault)
    if "Content-Length" in text or "Transfer-Encoding" in text:
        return Refusal.MALFORMED_FRAMING
    return Refusal.MALFORMED_FIELDS


def _has_token(value: str, token: str) -> bool:
    return any(part.strip(" \t").lower() == token for part in value.split(","))


def _remember(memo: dict[_K, _V], key: _K, value: _V) -> None:
    if len(memo) >= MAX_REMEMBERED:
        memo.clear()
    memo[key] = value
