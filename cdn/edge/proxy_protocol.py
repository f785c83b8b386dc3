"""The PROXY protocol of HAProxy, versions 1 and 2: what a proxy says ahead of a connection it passes on.

Pure: bytes in, a value out. The specification is doc/proxy-protocol.txt of HAProxy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from cdn.edge.trusted_proxies import parse_address

MAX_LINE_BYTES = 107
"""The longest header of version 1 with its line end (section 2.1)."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_BYTES = 16
_NAME = b"PROXY "
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _INET, _INET6, _UNIX = range(4)
_ADDRESS_BYTES = {_INET: 4, _INET6: 16}
_BLOCK_BYTES = {_INET: 12, _INET6: 36, _UNIX: 216}
_MAX_TRANSPORT = 2  # unspecified, stream, datagram


class ProxyFault(Enum):
    """Why a header is not accepted; the value names it in counters."""

    MALFORMED = "malformed-proxy-header"
    TOO_LARGE = "proxy-header-too-large"
    TIMEOUT = "proxy-header-timeout"


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A whole header. `client_address` is None when the peer itself is the client, or nothing else is known."""

    client_address: str | None
    size_bytes: int


def read_proxy_header(data: bytes | bytearray, max_bytes: int) -> ProxyHeader | ProxyFault | None:
    """The header at the start of `data`; None when more bytes are needed.

    A fault as soon as no further bytes can mend it. `max_bytes` bounds version 2, whose length is what it says.
    """
    if data.startswith(_NAME):
        return _read_line(data)
    if data.startswith(_SIGNATURE):
        return _read_block(data, max_bytes)
    if _NAME.startswith(data) or _SIGNATURE.startswith(data):
        return None
    return ProxyFault.MALFORMED


def _read_line(data: bytes | bytearray) -> ProxyHeader | ProxyFault | None:
    end = data.find(b"\r\n", 0, MAX_LINE_BYTES)
    if end < 0:
        return ProxyFault.MALFORMED if len(data) >= MAX_LINE_BYTES else None
    words = bytes(data[:end]).split(b" ")
    size_bytes = end + 2
    if words[1] == b"UNKNOWN":
        return ProxyHeader(None, size_bytes)
    if len(words) != 6 or any(_PORT.fullmatch(port) is None or int(port) > 65_535 for port in words[4:]):
        return ProxyFault.MALFORMED
    source, destination = (_address_named(words[1], word) for word in words[2:4])
    if source is None or destination is None:
        return ProxyFault.MALFORMED
    return ProxyHeader(_plain(source), size_bytes)


def _address_named(family: bytes, word: bytes) -> IPv4Address | IPv6Address | None:
    if b"%" in word or not word.isascii():
        return None
    text = word.decode("ascii")
    try:
        match family:
            case b"TCP4":
                return IPv4Address(text)
            case b"TCP6":
                return IPv6Address(text)
            case _:
                return None
    except AddressValueError:
        return None


def _read_block(data: bytes | bytearray, max_bytes: int) -> ProxyHeader | ProxyFault | None:
    """Version 2 (section 2.2). What stands behind the addresses is not needed here and skipped."""
    if len(data) > len(_SIGNATURE) and data[12] not in (_LOCAL, _PROXY):
        return ProxyFault.MALFORMED
    if len(data) < _FIXED_BYTES:
        return None
    family, transport = data[13] >> 4, data[13] & 0x0F
    block_bytes = int.from_bytes(data[14:16], "big")
    size_bytes = _FIXED_BYTES + block_bytes
    if size_bytes > max_bytes:
        return ProxyFault.TOO_LARGE
    is_local = data[12] == _LOCAL
    if not is_local and (family > _UNIX or transport > _MAX_TRANSPORT):
        return ProxyFault.MALFORMED
    is_known = not is_local and transport != 0
    if is_known and block_bytes < _BLOCK_BYTES.get(family, 0):
        return ProxyFault.MALFORMED
    if len(data) < size_bytes:
        return None
    address_bytes = _ADDRESS_BYTES.get(family)
    if not is_known or address_bytes is None:
        return ProxyHeader(None, size_bytes)
    packed = bytes(data[_FIXED_BYTES : _FIXED_BYTES + address_bytes])
    return ProxyHeader(_plain(IPv4Address(packed) if family == _INET else IPv6Address(packed)), size_bytes)


def _plain(address: IPv4Address | IPv6Address) -> str:
    return str(parse_address(str(address)) or address)
