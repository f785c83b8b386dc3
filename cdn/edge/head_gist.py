"""The gist of a request head: what of it can make a difference to a hit.

Heads of browsers seldom come again byte for byte, for their cookies differ from visitor to visitor; but what is left
without the lines that no hit depends on comes again with every visitor. So it is remembered beside the whole heads:
3 us for a head that never came before, 13 us with all of it judged anew.
"""

from __future__ import annotations

import re
from typing import Final

from cdn.edge.access_line import Words, encode_words
from cdn.edge.limits import HttpLimits
from cdn.edge.prepared import Prepared

MAX_KNOWN_LINES: Final = 4096
"""Field lines whose meaning is remembered. Beyond it all are forgotten: reading one again takes 1 us."""

MAX_KNOWN_LINE_BYTES: Final = 1024
"""Longer ones are not remembered. With the bound above: some 10 MiB at worst, 1 MiB with what browsers send."""

UNTELLING: Final = frozenset(
    (
        "accept",
        "accept-language",
        "cookie",
        "device-memory",
        "dnt",
        "downlink",
        "dpr",
        "ect",
        "origin",
        "priority",
        "purpose",
        "referer",
        "rtt",
        "save-data",
        "sec-ch-prefers-color-scheme",
        "sec-ch-prefers-reduced-motion",
        "sec-ch-ua",
        "sec-ch-ua-arch",
        "sec-ch-ua-bitness",
        "sec-ch-ua-full-version",
        "sec-ch-ua-full-version-list",
        "sec-ch-ua-mobile",
        "sec-ch-ua-model",
        "sec-ch-ua-platform",
        "sec-ch-ua-platform-version",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "sec-fetch-user",
        "sec-gpc",
        "sec-purpose",
        "traceparent",
        "tracestate",
        "upgrade-insecure-requests",
        "user-agent",
        "viewport-width",
        "width",
        "x-request-id",
        "x-requested-with",
    )
)
"""Names of fields that neither framing, nor routing, nor `Recall` looks at. A hit may still be chosen by one of them:
then it says so in `Prepared.selecting`, and heads that lead to it are not remembered by their gist."""

LOGGED: Final = {"referer": "referer", "user-agent": "user_agent"}
"""Those of them that the access log has, and the members that they are there."""

_UNTOLD: Final = {
    spelt.encode("ascii"): LOGGED.get(name, "") for name in sorted(UNTELLING) for spelt in (name, name.title())
}
"""Names of untelling lines as they are mostly spelt, and their members in the access log; "": none."""

_SELDOM_AGAIN: Final = frozenset(
    spelt.encode("ascii") for name in ("cookie", "traceparent", "x-request-id") for spelt in (name, name.title())
)
_COME_AGAIN: Final = frozenset((b"host", b"accept-encoding", b"connection", b"cache-control", b"pragma", b"te"))
"""Names of telling lines that are remembered; of all others nobody knows whether they come again."""

# As for any field line (RFC 9110 section 5.5): neither CR, LF nor NUL, nor other control characters but the tab.
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")

_TELLS: Final = b"tells"
"""Stands for a line that is part of the gist; compared by identity."""

_SAYS_NOTHING: Final = b"says nothing"
"""Stands for a line of which the log has nothing unless it is repeated: then it joins their values. By identity."""


Gist = tuple[bytes, bytes]
"""The request line and the field lines that tell; what the access log says of the others (`encode_words`)."""

_R: Final = 0x72
"""The third octet of `,"referer":`, but not of `,"user_agent":`."""

_NO_HEAD: Final = b"\0"


class GistReader:
    """One serves all connections of a listener. Never raises on any input.

    It judges nothing but the lines that it leaves out: what they leave is looked for among gists of heads that were
    judged whole, and a head that differs from such a one only in well-formed lines that tell nothing is as good.
    """

    __slots__ = ("_gist", "_known", "_last", "_max_bytes", "_max_lines", "_words")

    def __init__(self, limits: HttpLimits, words: Words = encode_words) -> None:
        self._words = words
        self._max_bytes = min(limits.max_request_line_bytes, limits.max_fields_bytes)
        self._max_lines = limits.max_fields + 3  # the request line, and the two ends of the empty line
        self._known: dict[bytes, bytes] = {b"": b""}
        self._last = _NO_HEAD
        self._gist: Gist | None = None

    def read(self, head: bytes) -> Gist | None:
        """The gist of a whole head, from its request line to its empty line; None when only the whole of it will do.

        The last one is kept: who found nothing under it asks again on the way to judging all of the head.
        """
        if head is not self._last:
            self._gist = self._read(head)
            self._last = head
        return self._gist

    def _read(self, head: bytes) -> Gist | None:
        lines = head.split(b"\r\n")
        if len(lines) > self._max_lines or len(head) > self._max_bytes:
            return None
        known = self._known
        each = iter(lines)
        telling = [next(each)]
        agent = referer = b""
        for line in each:
            part = known.get(line)
            if part is None:
                part = self._read_line(line)
            if part is _TELLS:
                telling.append(line)
            elif part:
                if part is _SAYS_NOTHING:
                    return None
                if part[2] == _R:
                    if referer:  # repeated: the log joins their values
                        return None
                    referer = part
                elif agent:
                    return None
                else:
                    agent = part
        return b"\r\n".join(telling), referer + agent

    def _read_line(self, line: bytes) -> bytes:
        """_TELLS, or what the access log has of a line that does not."""
        colon = line.find(b":")
        name = line[:colon] if colon > 0 else b""
        member = _UNTOLD.get(name)
        if member is None:
            name = name.lower()
            member = _UNTOLD.get(name)
        if member is None or _VALUE.fullmatch(line, colon + 1) is None:
            part = _TELLS
        elif member:
            part = self._words(member, line[colon + 1 :].strip(b" \t").decode("latin-1")) or _SAYS_NOTHING
        else:
            part = b""
        if len(line) <= MAX_KNOWN_LINE_BYTES and (name in _COME_AGAIN if part is _TELLS else name not in _SELDOM_AGAIN):
            if len(self._known) >= MAX_KNOWN_LINES:
                self._known.clear()
                self._known[b""] = b""
            self._known[line] = part
        return part


def may_stand_for(prepared: Prepared) -> bool:
    """Whether every head with the same gist leads to this response, as long as it is usable."""
    return prepared.may_come_again and UNTELLING.isdisjoint(prepared.selecting)
