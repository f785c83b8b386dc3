"""The gist of a request head: what of it can make a difference to a hit.

Heads of browsers seldom come again byte for byte, for their cookies differ from visitor to visitor; but what is left
without the lines that no hit depends on comes again with every visitor. So it is remembered beside the whole heads:
3 us for a head that never came before, 13 us with all of it judged anew.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from cdn.edge.access_line import encode_words
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

_LOGGED: Final = {"referer": "referer", "user-agent": "user_agent"}
_NEVER_THE_SAME: Final = frozenset(("cookie", "referer", "traceparent", "x-request-id"))

# As for any field line (RFC 9110 section 5.5): neither CR, LF nor NUL, nor other control characters but the tab.
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")

_TELLS: Final = b"tells"
"""Stands for a line that is part of the gist; compared by identity."""


class Gist(NamedTuple):
    """`lines`: the request line and the field lines that tell. `words`: what the access log says of the others."""

    lines: bytes
    words: bytes


class GistReader:
    """One serves all connections of a listener. Never raises on any input.

    It judges nothing but the lines that it leaves out: what they leave is looked for among gists of heads that were
    judged whole, and a head that differs from such a one only in well-formed lines that tell nothing is as good.
    """

    __slots__ = ("_known", "_max_bytes", "_max_lines")

    def __init__(self, limits: HttpLimits) -> None:
        self._max_bytes = min(limits.max_request_line_bytes, limits.max_fields_bytes)
        self._max_lines = limits.max_fields + 3  # the request line, and the two ends of the empty line
        self._known: dict[bytes, bytes] = {b"": b""}

    def read(self, head: bytes) -> Gist | None:
        """The gist of a whole head, from its request line to its empty line; None when only the whole of it will do."""
        lines = head.split(b"\r\n")
        if len(lines) > self._max_lines or len(head) > self._max_bytes:
            return None
        known = self._known
        each = iter(lines)
        telling = [next(each)]
        words = b""
        for line in each:
            part = known.get(line)
            if part is None:
                part = self._read_line(line)
            if part is _TELLS:
                telling.append(line)
            elif part:
                if words and part[:9] in words:  # a repeated field, whose values the log joins; `,"refere`
                    return None
                words += part
        return Gist(b"\r\n".join(telling), words)

    def _read_line(self, line: bytes) -> bytes:
        """_TELLS, or what the access log has of a line that does not."""
        colon = line.find(b":")
        name = line[:colon].decode("latin-1").lower() if colon > 0 else ""
        part = _TELLS
        if name in UNTELLING and _VALUE.fullmatch(line, colon + 1) is not None:
            logged = _LOGGED.get(name)
            part = b"" if logged is None else encode_words(logged, line[colon + 1 :].strip(b" \t").decode("latin-1"))
        if len(line) <= MAX_KNOWN_LINE_BYTES and name not in _NEVER_THE_SAME:
            if len(self._known) >= MAX_KNOWN_LINES:
                self._known.clear()
                self._known[b""] = b""
            self._known[line] = part
        return part


def may_stand_for(prepared: Prepared) -> bool:
    """Whether every head with the same gist leads to this response, as long as it is usable."""
    return prepared.may_come_again and UNTELLING.isdisjoint(prepared.selecting)
