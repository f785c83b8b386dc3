"""From the field list of one HTTP/2 request to a judged request (RFC 9113 sections 8.2 and 8.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from cdn.edge.access_line import encode_words
from cdn.edge.content_framing import Chunked, FixedLength
from cdn.edge.h2_events import HeaderList
from cdn.edge.head_gist import LOGGED, UNTELLING
from cdn.edge.head_parser import MessageHead
from cdn.edge.limits import HttpLimits
from cdn.edge.refusal import Refusal, Refused
from cdn.http.fields import Fields
from cdn.http.request import Request
from cdn.http.target import AbsoluteTarget, HostName, Target, TargetFault, parse_host, parse_target

MAX_SECTIONS = 4096
"""Field sections whose reading is remembered: one of each client for each kind of thing that a page asks for."""

MAX_SECTION_BYTES = 2048
"""Longer ones are not remembered. With the bound above: 14 MiB at worst, 6 MiB with what browsers send."""

MAX_LINES = 4096
"""Single fields whose reading is remembered, for sections that are new."""

MAX_LINE_BYTES = 1024
"""Longer ones are not remembered. With the bound above: 5 MiB at worst, 1 MiB with what browsers send."""

MAX_TARGETS = 1024
"""Targets whose reading is remembered, each of at most MAX_LINE_BYTES; hosts, too."""

_PSEUDO_FIELDS: Final = frozenset((":method", ":scheme", ":authority"))
_OF_CONNECTION: Final = frozenset(("connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"))
_NEVER_THE_SAME: Final = frozenset(("cookie", "authorization", "referer", "if-none-match", "if-modified-since"))
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_NOT_ASCII: Final = "The request target has bytes that must be percent-encoded."
_SCHEMES: Final = frozenset(("http", "https"))
_PLAIN_METHODS: Final = frozenset(("GET", "HEAD"))
_ASTERISK: Final = Target("*", None, "*")
_VERSION_BYTES: Final = len("  HTTP/1.1")
_LINE_BYTES: Final = len(": \r\n")
_PLAIN, _HOST, _COOKIE, _FRAMING = 0, 1, 2, 4


@dataclass(frozen=True, slots=True)
class MalformedRequest:
    """Not a request at all (RFC 9113 section 8.1.1): the stream is reset with PROTOCOL_ERROR. `reason` is for logs."""

    reason: str


class RequestGist(NamedTuple):
    """What of a request can make a difference to a hit (head_gist.py has the reasons): equal `key`s mean the same.

    `words` is what the access log says of the rest.
    """

    key: bytes
    words: bytes
    host: str
    is_head: bool


@dataclass(slots=True)
class _Section:
    """All fields but `:path`, judged; nothing changes it. `refusal` comes before what the target is refused for, a
    refused `host` behind it. `pseudo_fields` is how many stood before the others. `gist` is None where requests have
    none."""

    method: str
    fields: Fields
    host: HostName | Refusal
    refusal: Refusal | None
    is_plain: bool
    has_framing: bool
    line_bytes: int
    pseudo_fields: int
    gist: tuple[bytes, bytes, str, bool] | None


def may_stand_in_trailers(name: str, value: str) -> bool:
    """Whether a trailer section with this field is well-formed (RFC 9113 sections 8.1, 8.2.1 and 8.2.2)."""
    return _NAME.fullmatch(name) is not None and _VALUE.fullmatch(value) is not None and name not in _OF_CONNECTION


class RequestReader:
    """Judges field lists; one serves all connections of a listener and holds nothing of a request but memos.

    What HTTP/1.1 refuses is refused here with the same words. What only HTTP/2 forbids is a MalformedRequest.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._max_line_bytes = limits.max_request_line_bytes
        self._sections: dict[tuple[tuple[str, str], ...], _Section] = {}
        self._lines: dict[tuple[str, str], int] = {}
        self._targets: dict[str, Target] = {}
        self._hosts: dict[str, HostName] = {}

    def gist(self, fields: HeaderList) -> RequestGist | None:
        """The gist of a GET or HEAD without content that `read` would find nothing against but its target; 1 us.

        None for all others, and when these fields are not remembered.
        """
        path_at = 0
        for name, _ in fields:
            if name == ":path":
                break
            path_at += 1
        else:
            return None
        section = self._sections.get((*fields[:path_at], *fields[path_at + 1 :]))
        if section is None or section.gist is None or path_at > section.pseudo_fields:
            return None
        key, words, host, is_head = section.gist
        # The target first: it was not judged, but NUL is not in the rest.
        return RequestGist(fields[path_at][1].encode("latin-1") + key, words, host, is_head)

    def read(self, fields: HeaderList, is_end: bool, scheme: str) -> MessageHead | Refused | MalformedRequest:
        """Judge `fields`; `scheme` is the connection's ("http" or "https").

        The request's fields are those of the same request by HTTP/1.1: `host` first, cookies joined. `framing` is None
        when no content follows, FixedLength when its size is announced, else Chunked: the end is told when it comes.
        """
        path_at = 0
        for name, _ in fields:
            if name == ":path":
                break
            path_at += 1
        else:
            return self._read_without_path(fields)
        path = fields[path_at][1]
        others = (*fields[:path_at], *fields[path_at + 1 :])
        section = self._sections.get(others)
        if section is None:
            judged = self._judge(others, has_path=True)
            if isinstance(judged, MalformedRequest):
                return judged
            section = judged
        if path_at > section.pseudo_fields:
            return MalformedRequest("The field :path stands behind fields of the request.")
        target = self._targets.get(path)
        if target is None or len(path) + section.line_bytes > self._max_line_bytes or section.refusal is not None:
            found = self._judge_target(section, path)
            if not isinstance(found, Target):
                return found
            target = found
        host = section.host
        if type(host) is not HostName:
            assert isinstance(host, Refusal)
            return Refused(host)
        request = Request(section.method, target, host.name, host.port, section.fields, scheme)
        if is_end and not section.has_framing:
            return MessageHead(request, None, True, section.is_plain, False)
        return self._with_framing(request, section, is_end)

    def _read_without_path(self, fields: HeaderList) -> Refused | MalformedRequest:
        """Only CONNECT has none (RFC 9113 section 8.5)."""
        section = self._judge(tuple(fields), has_path=False)
        if isinstance(section, MalformedRequest):
            return section
        assert section.refusal is not None
        return Refused(section.refusal)

    def _judge(self, others: tuple[tuple[str, str], ...], *, has_path: bool) -> _Section | MalformedRequest:
        pseudo = _read_pseudo(others)
        fault = pseudo if isinstance(pseudo, MalformedRequest) else _fault_of_pseudo(pseudo, has_path=has_path)
        if fault is not None:
            return fault
        assert isinstance(pseudo, dict)
        lines: list[tuple[str, str]] = []
        hosts: list[str] = []
        cookies = seen = 0
        remembered = self._lines
        for field in others[len(pseudo) :]:
            kind = remembered.get(field)
            if kind is None:
                judged = self._judge_line(field)
                if isinstance(judged, MalformedRequest):
                    return judged
                kind = judged
            if kind == _HOST:
                hosts.append(field[1])
                continue
            lines.append(field)
            seen |= kind
            cookies += kind == _COOKIE
        if cookies > 1:
            lines = _join_cookies(lines)
        return self._section(others, pseudo, lines, hosts, has_framing=bool(seen & _FRAMING), has_path=has_path)

    def _section(
        self,
        others: tuple[tuple[str, str], ...],
        pseudo: dict[str, str],
        lines: list[tuple[str, str]],
        hosts: list[str],
        *,
        has_framing: bool,
        has_path: bool,
    ) -> _Section | MalformedRequest:
        host = self._judge_host(pseudo.get(":authority"), hosts)
        if isinstance(host, MalformedRequest):
            return host
        authority = pseudo.get(":authority", hosts[0] if hosts else None)
        if authority is not None:
            lines.insert(0, ("host", authority))
        method = pseudo[":method"]
        more = [("host", host) for host in hosts[1:]]
        size_bytes = sum(len(name) + len(value) + _LINE_BYTES for name, value in (*lines, *more))
        refusal = _REFUSED_METHODS.get(method)
        if refusal is None and pseudo[":scheme"].lower() not in _SCHEMES:
            refusal = Refusal.MALFORMED_TARGET
        if refusal is None and size_bytes > self._limits.max_fields_bytes:
            refusal = Refusal.FIELDS_TOO_LARGE
        if refusal is None and len(lines) + len(more) > self._limits.max_fields:
            refusal = Refusal.TOO_MANY_FIELDS
        section = _Section(
            method,
            Fields(tuple(lines)),
            host,
            refusal,
            method in _PLAIN_METHODS,
            has_framing,
            len(method) + _VERSION_BYTES,
            len(pseudo),
            None,
        )
        if method in _PLAIN_METHODS and refusal is None and not has_framing and isinstance(host, HostName):
            section.gist = _gist_of(method, host, section.fields)
        if size_bytes <= MAX_SECTION_BYTES and has_path:
            if len(self._sections) >= MAX_SECTIONS:
                self._sections.clear()
            self._sections[others] = section
        return section

    def _judge_line(self, field: tuple[str, str]) -> int | MalformedRequest:
        """What kind of field it is; only names and values that HTTP/1.1 takes, too, pass."""
        name, value = field
        if _NAME.fullmatch(name) is None:
            what = "stands behind fields of the request" if name.startswith(":") else "has a name of other characters"
            return MalformedRequest(f"The field {name!r} {what}.")
        if _VALUE.fullmatch(value) is None:
            return MalformedRequest(f"The field {name!r} has control characters, or whitespace around its value.")
        if name in _OF_CONNECTION or (name == "te" and value != "trailers"):
            return MalformedRequest(f"The field {name!r} is about connections of HTTP/1.1.")
        kind = _KINDS.get(name, _PLAIN)
        if name not in _NEVER_THE_SAME and len(name) + len(value) <= MAX_LINE_BYTES:
            if len(self._lines) >= MAX_LINES:
                self._lines.clear()
            self._lines[field] = kind
        return kind

    def _judge_host(self, authority: str | None, hosts: list[str]) -> HostName | Refusal | MalformedRequest:
        """Which host is meant (RFC 9113 section 8.3.1)."""
        if len(hosts) > 1:
            return Refusal.REPEATED_HOST
        if authority is None:
            return self._host_named(hosts[0]) or Refusal.MALFORMED_HOST if hosts else Refusal.MISSING_HOST
        host = self._host_named(authority)
        if host is None:
            return Refusal.MALFORMED_HOST if _VALUE.fullmatch(authority) else _malformed(":authority")
        if hosts:
            named = self._host_named(hosts[0])
            if named != host:
                return Refusal.MALFORMED_HOST if named is None else Refusal.DIFFERENT_HOST
        return host

    def _host_named(self, value: str) -> HostName | None:
        host = self._hosts.get(value)
        if host is None:
            host = parse_host(value)
            if host is not None:
                if len(self._hosts) >= MAX_TARGETS:
                    self._hosts.clear()
                self._hosts[value] = host
        return host

    def _judge_target(self, section: _Section, path: str) -> Target | Refused | MalformedRequest:
        """The target, or what stands against it, or against what HTTP/1.1 judges before it."""
        if not path or _VALUE.fullmatch(path) is None:
            return _malformed(":path")
        if section.method == "CONNECT":
            return MalformedRequest("CONNECT has the field :path.")
        if len(path) + section.line_bytes > self._max_line_bytes:
            return Refused(Refusal.TARGET_TOO_LONG)
        if section.refusal is not None:
            note = TargetFault.UNKNOWN_FORM.value if section.refusal is Refusal.MALFORMED_TARGET else ""
            return Refused(section.refusal, note)
        if not path.isascii():
            return Refused(Refusal.MALFORMED_TARGET, _NOT_ASCII)
        target = parse_target(path.encode("ascii"))
        if target is TargetFault.ASTERISK and section.method == "OPTIONS":
            return _ASTERISK
        if isinstance(target, AbsoluteTarget):  # a path, and nothing else, is what :path has
            target = TargetFault.UNKNOWN_FORM
        if isinstance(target, TargetFault):
            return Refused(Refusal.MALFORMED_TARGET, target.value)
        if len(path) <= MAX_LINE_BYTES:
            if len(self._targets) >= MAX_TARGETS:
                self._targets.clear()
            self._targets[path] = target
        return target

    def _with_framing(
        self, request: Request, section: _Section, is_end: bool
    ) -> MessageHead | Refused | MalformedRequest:
        length = request.fields.get("content-length")
        if length is not None:
            if _LENGTH.fullmatch(length) is None:
                return MalformedRequest("The field content-length is not one number.")
            if is_end and int(length):
                return MalformedRequest("The field content-length announces content, and none comes.")
            if int(length) > self._limits.max_content_bytes:
                return Refused(Refusal.CONTENT_TOO_LARGE)
        expect = request.fields.get("expect")
        if expect is not None and expect.lower() != "100-continue":
            return Refused(Refusal.UNKNOWN_EXPECTATION)
        if is_end:
            return MessageHead(request, None, True, section.is_plain, False)
        # DATA frames tell the end as the last chunk does
        framing = Chunked(self._limits) if length is None else FixedLength(int(length))
        return MessageHead(request, framing, True, False, expect is not None)


class ArrivingContent:
    """Counts the content of one request against what was announced (RFC 9113 section 8.1.1) and what is allowed."""

    __slots__ = ("_left_bytes", "_max_bytes")

    def __init__(self, message: MessageHead, limits: HttpLimits) -> None:
        framing = message.framing
        self._left_bytes = framing.remaining_bytes if isinstance(framing, FixedLength) else None
        self._max_bytes = limits.max_content_bytes

    def add(self, size_bytes: int) -> MalformedRequest | Refused | None:
        """So much content came: None when that may be."""
        if self._left_bytes is not None:
            self._left_bytes -= size_bytes
            return MalformedRequest("More content came than was announced.") if self._left_bytes < 0 else None
        self._max_bytes -= size_bytes
        return Refused(Refusal.CONTENT_TOO_LARGE) if self._max_bytes < 0 else None

    def end(self) -> MalformedRequest | None:
        """The request has ended: None when its content is whole."""
        return MalformedRequest("Less content came than was announced.") if self._left_bytes else None


_KINDS: Final = {"host": _HOST, "cookie": _COOKIE, "content-length": _FRAMING, "expect": _FRAMING}
_REFUSED_METHODS: Final = {"CONNECT": Refusal.UNKNOWN_METHOD, "TRACE": Refusal.METHOD_NOT_ALLOWED}


def _gist_of(method: str, host: HostName, fields: Fields) -> tuple[bytes, bytes, str, bool] | None:
    """What gists of requests with these fields end with; their words, host, and whether they are of HEAD."""
    telling = [method, host.name, str(host.port)]
    words = b""
    for name, value in fields:
        if name not in UNTELLING:
            telling.append(f"{name}:{value}")
        elif name in LOGGED:
            if len(fields.get_all(name)) > 1:  # whose values the log joins
                return None
            words += encode_words(LOGGED[name], value)
    return b"\0" + "\n".join(telling).encode("latin-1"), words, host.name, method == "HEAD"


def _read_pseudo(others: tuple[tuple[str, str], ...]) -> dict[str, str] | MalformedRequest:
    """The pseudo-fields, which stand before all others (RFC 9113 section 8.3), but for `:path`."""
    pseudo: dict[str, str] = {}
    for name, value in others:
        if not name.startswith(":"):
            break
        if name not in _PSEUDO_FIELDS or name in pseudo:
            what = "twice" if name in pseudo or name == ":path" else "though requests have none of that name"
            return MalformedRequest(f"The field {name!r} stands there {what}.")
        pseudo[name] = value
    return pseudo


def _join_cookies(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """One line in the place of the first (RFC 9113 section 8.2.3)."""
    cookie = "; ".join(value for name, value in lines if name == "cookie")
    at = next(at for at, (name, _) in enumerate(lines) if name == "cookie")
    return [*lines[:at], ("cookie", cookie), *(line for line in lines[at:] if line[0] != "cookie")]


def _fault_of_pseudo(pseudo: dict[str, str], *, has_path: bool) -> MalformedRequest | None:
    method = pseudo.get(":method")
    scheme = pseudo.get(":scheme")
    if method is None or _TOKEN.fullmatch(method) is None:
        return _malformed(":method")
    if method == "CONNECT" and not has_path and scheme is None and ":authority" in pseudo:
        return None
    if scheme is None or _SCHEME.fullmatch(scheme) is None:
        return _malformed(":scheme")
    if method == "CONNECT":
        return MalformedRequest("CONNECT has other fields than :method and :authority.")
    return None if has_path else _malformed(":path")


def _malformed(name: str) -> MalformedRequest:
    return MalformedRequest(f"The field {name} is missing or malformed.")
