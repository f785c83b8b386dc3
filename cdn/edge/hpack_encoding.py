"""Header blocks of responses (RFC 7541), without the dynamic table and without Huffman coding.

So a block depends on nothing but its fields: it is made once for a stored response and sent on every connection.
"""

from __future__ import annotations

from typing import Final

from cdn.edge.hpack_table import STATIC_TABLE
from cdn.http.fields import FieldLines

_OF_CONNECTION: Final = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
"""Fields of HTTP/1.1 alone (RFC 9113 section 8.2.2)."""

_NAMES: Final[dict[bytes, int]] = {}
for _index, (_name, _) in reversed(list(enumerate(STATIC_TABLE, start=1))):
    _NAMES[_name.encode("ascii")] = _index
_STATUSES: Final = {
    int(value): bytes((0x80 | index,)) for index, (name, value) in enumerate(STATIC_TABLE, start=1) if name == ":status"
}
_STATUS_NAME: Final = _NAMES[b":status"]


def encode_status(status: int) -> bytes:
    """The `:status` of a response, with which its block begins."""
    return _STATUSES.get(status) or bytes((_STATUS_NAME, 3)) + b"%d" % status


def encode_field(name: bytes, value: bytes) -> bytes:
    """One field line, as a literal that nobody adds to a table (RFC 7541 section 6.2.2). `name` is in lower case."""
    index = _NAMES.get(name)
    length = bytes((len(value),)) if len(value) < 127 else encode_integer(len(value), 7)
    if index is None:
        named = b"\0" + (bytes((len(name),)) if len(name) < 127 else encode_integer(len(name), 7)) + name
    else:
        named = bytes((index,)) if index < 15 else bytes((15, index - 15))
    return named + length + value


def encode_integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """An integer with a prefix (RFC 7541 section 5.1); `first` is what stands before the prefix."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes((first | value,))
    octets = bytearray((first | most,))
    value -= most
    while value >= 128:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def encode_lines(lines: bytes) -> bytes:
    """The block of field lines as HTTP/1.1 has them, each `name: value` CRLF with the name in lower case.

    Fields that only HTTP/1.1 has are left out.
    """
    parts: list[bytes] = []
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b": ")
        if colon and name not in _OF_CONNECTION:
            parts.append(encode_field(name, value))
    return b"".join(parts)


def encode_response_head(head: bytes) -> bytes:
    """The block that says what an encoded head of HTTP/1.1 says: status line, field lines, with or without the empty
    line at the end."""
    line, _, lines = head.partition(b"\r\n")
    return encode_status(int(line[9:12])) + encode_lines(lines)


def encode_trailers(fields: FieldLines) -> bytes:
    """The block of trailer fields."""
    return b"".join(encode_field(name.encode("ascii"), value.encode("latin-1")) for name, value in fields)
