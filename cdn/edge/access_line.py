"""One line of the access log: a JSON document in ASCII, so that no client can write what a terminal would obey.

It is put together from three parts: when, who, and what came of it; the third is the same each time that a hit is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import msgspec

from cdn.edge.access_log_settings import Addresses
from cdn.http.request import Request

MAX_LINE_BYTES = 4096
"""A pipe takes so much whole (PIPE_BUF), whoever else writes to it. What a longer line would say is cut."""

MAX_HEAD_BYTES = 256
"""Of these, for when and who."""

MAX_TAIL_BYTES = MAX_LINE_BYTES - MAX_HEAD_BYTES
"""And for what came of it."""

LINE_END = b"}\n"
"""The end of the third part."""

_CUT = b',"cut":true'

_CUT_TARGET = 1024
_CUT_METHOD = 32
_CUT_VALUES = (200, 50)
"""Characters kept of what makes a line too long; of fields fewer where that is not enough, for one takes up to twelve
octets: so the last always fits."""

_UNSAFE = re.compile(r"[^\x20-\x7e]")

_IPV4_PREFIX = 24
_IPV6_PREFIX = 48


class Said(msgspec.Struct, omit_defaults=True):
    """What came of a request. What is empty is left out."""

    host: str
    method: str
    target: str
    protocol: str
    status: int
    bytes: int
    duration_ms: float
    outcome: str
    site: str = ""
    referer: str = ""
    user_agent: str = ""
    first_byte_ms: float | None = None
    cache_status: str = ""
    reason: str = ""
    complete: bool = True
    cut: bool = False


_MILLISECONDS = tuple(b'%03dZ",' % millisecond for millisecond in range(1000))

_encode = msgspec.json.Encoder().encode


def encode_said(said: Said) -> bytes:
    """The third part, with the line's end. Changes `said` where it is too long."""
    raw = _encode(said)
    if len(raw) > MAX_TAIL_BYTES:
        raw = _encode(_cut(said, _CUT_VALUES[0]))
    raw = _in_ascii(raw)
    for kept in _CUT_VALUES:
        if len(raw) <= MAX_TAIL_BYTES:
            break
        raw = _in_ascii(_encode(_cut(said, kept)))
    return raw[1:] + b"\n"


def encode_hit(  # noqa: PLR0917 - what a line holds
    host: str,
    method: str,
    target: str,
    protocol: str,
    status: int,
    size_bytes: int,
    outcome: str,
    site: str,
    words: str,
) -> bytes | None:
    """What `encode_said` says of a hit, in a third of its time (0.3 us); None where it is too long.

    `words` are what `encode_words` makes of the fields that are kept. Host, method, target and site hold nothing that
    JSON escapes: labels of a name, a token (RFC 9110 section 5.6.2), a target in its normal form, a site's name.
    """
    said_site = f',"site":"{site}"' if site else ""
    line = (
        f'"host":"{host}","method":"{method}","target":"{target}","protocol":"{protocol}","status":{status},'
        f'"bytes":{size_bytes},"duration_ms":0,"outcome":"{outcome}"{said_site}{words}}}\n'
    ).encode("ascii")
    return line if len(line) <= MAX_TAIL_BYTES else None


Words = Callable[[str, str], bytes]
"""Makes what a line says of one more member, as `encode_words` does; may keep less of it."""


def encode_words(name: str, value: str) -> bytes:
    """What `encode_said` writes of one more member whose value a client sent: to be put before the brace that ends a
    line. Nothing for an empty value."""
    if not value:
        return b""
    raw = b',"%b":%b' % (name.encode("ascii"), _encode(text_of(value)))
    return _in_ascii(raw)


def with_words(line: bytes, words: bytes) -> bytes | None:
    """The third part with more members, from `encode_words`; None where that is too long."""
    return line[:-2] + words + b"}\n" if len(line) + len(words) <= MAX_TAIL_BYTES else None


def cut_mark(line: bytes) -> bytes:
    """What is to be added to a third part that does not say everything, if it does not say so already."""
    return b"" if line.endswith(_CUT + LINE_END) else _CUT


def target_of(request: Request, *, with_query: bool) -> str:
    """Path and query in their one normal form."""
    target = request.target
    return target.path if target.query is None or not with_query else f"{target.path}?{target.query}"


def text_of(value: str | None) -> str:
    """A field's value as text: UTF-8 is read, other octets beyond ASCII stand as `\\xNN`. Empty without one."""
    if value is None:
        return ""
    return value if value.isascii() else value.encode("latin-1").decode("utf-8", "backslashreplace")


def without_query(referer: str | None) -> str | None:
    """A Referer without what stands behind the path of its URL: mostly the query of another target of the same site."""
    return None if referer is None else referer.partition("?")[0]


def encode_visitor(address: str, scheme: str, tls_version: str) -> bytes:
    """The second part. `address` as `shown_address` gives it; what is empty is left out."""
    parts = {"scheme": scheme, "address": address, "tls": tls_version}
    return b"".join(b'"%b":%b,' % (name.encode(), _encode(text)) for name, text in parts.items() if text)


def shown_address(address: str, kept: Addresses) -> str:
    """What is kept of an IP address; empty: nothing."""
    if kept is Addresses.WHOLE:
        return address
    if kept is Addresses.NONE:
        return ""
    prefix = _IPV4_PREFIX if ip_address(address).version == 4 else _IPV6_PREFIX
    return str(ip_network((address, prefix), strict=False).network_address)


def encode_time(second: str, millisecond: int) -> bytes:
    """The first part: `second` like 2026-11-23T08:01:48 (UTC)."""
    return b'{"time":"%b.%b' % (second.encode("ascii"), _MILLISECONDS[millisecond])


def _cut(said: Said, kept: int) -> Said:
    said.method = said.method[:_CUT_METHOD]
    said.target = said.target[:_CUT_TARGET]
    said.referer = said.referer[:kept]
    said.user_agent = said.user_agent[:kept]
    said.cache_status = said.cache_status[:kept]
    said.cut = True
    return said


def _in_ascii(raw: bytes) -> bytes:
    """JSON's own escapes for whatever is not printable ASCII."""
    if raw.isascii() and b"\x7f" not in raw:
        return raw
    return _UNSAFE.sub(_escape, raw.decode("utf-8")).encode("ascii")


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
