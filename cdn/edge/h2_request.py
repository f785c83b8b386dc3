"""From the field list of one HTTP/2 request to a judged request (RFC 9113 sections 8.2 and 8.3)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from cdn.edge.access_line import Words, encode_words
from cdn.edge.content_framing import Chunked, FixedLength
from cdn.edge.h2_events import BlockShape, HeaderList
from cdn.edge.h2_section import MalformedRequest, Section, SectionGist, SectionReader, is_value, malformed
from cdn.edge.head_parser import MessageHead
from cdn.edge.limits import HttpLimits
from cdn.edge.refusal import Refusal, Refused
from cdn.http.request import Request
from cdn.http.target import AbsoluteTarget, HostName, Target, TargetFault, parse_target

MAX_TARGETS = 1024
"""Targets whose reading is remembered: they come again with every page."""

MAX_TARGET_BYTES = 1024
"""Longer ones are not remembered. With the bound above: 3 MiB at worst, half of one with what browsers send."""

_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_new: Final = tuple.__new__
_NOT_ASCII: Final = "The request target has bytes that must be percent-encoded."
_ASTERISK: Final = Target("*", None, "*")


class RequestGist(NamedTuple):
    """What of a request can make a difference to a hit (head_gist.py has the reasons): equal `key`s mean the same.

    `words` is what the access log says of the rest.
    """

    key: bytes
    words: bytes
    host: str
    is_head: bool


class RequestReader:
    """Judges field lists; one serves all connections of a listener and holds nothing of a request but memos.

    What HTTP/1.1 refuses is refused here with the same words. What only HTTP/2 forbids is a MalformedRequest.
    """

    def __init__(self, limits: HttpLimits, words: Words = encode_words) -> None:
        self._limits = limits
        self._max_line_bytes = limits.max_request_line_bytes
        self._sections = SectionReader(limits, words)
        self._targets: dict[str, Target] = {}

    def gist(self, fields: HeaderList, shape: BlockShape | None = None) -> RequestGist | None:
        """The gist of a GET or HEAD without content that `read` would find nothing against but its target; 1 us, and
        0.4 when a request of this `shape` had one. None for all others."""
        if shape is not None and type(shape.reading) is SectionGist:
            known = shape.reading
            path = fields[len(shape.before)][1]
            told = path.encode("latin-1") + known.key, known.words, known.host, known.is_head
            return _new(RequestGist, told)  # 0.1 us instead of 0.25
        path_at = 0
        for name, _ in fields:
            if name == ":path":
                break
            path_at += 1
        else:
            return None
        others = (*fields[:path_at], *fields[path_at + 1 :])
        section = self._sections.known.get(others) or self._sections.judge(others)
        if type(section) is not Section or section.gist is None or path_at > section.pseudo_fields:
            return None
        gist = section.gist
        if shape is not None:
            shape.reading = gist
        # The target first: it was not judged, but NUL is not in the rest.
        return RequestGist(fields[path_at][1].encode("latin-1") + gist.key, gist.words, gist.host, gist.is_head)

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
        section = self._sections.known.get(others) or self._sections.judge(others)
        if isinstance(section, MalformedRequest):
            return section
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
        section = self._sections.judge(tuple(fields), has_path=False)
        if isinstance(section, MalformedRequest):
            return section
        assert section.refusal is not None
        return Refused(section.refusal)

    def _judge_target(self, section: Section, path: str) -> Target | Refused | MalformedRequest:
        """The target, or what stands against it, or against what HTTP/1.1 judges before it."""
        if not path or not is_value(path):
            return malformed(":path")
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
        if len(path) <= MAX_TARGET_BYTES:
            if len(self._targets) >= MAX_TARGETS:
                self._targets.clear()
            self._targets[path] = target
        return target

    def _with_framing(
        self, request: Request, section: Section, is_end: bool
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
