"""The first message of a TLS client, as far as it decides who answers (RFC 8446 section 4.1.2).

Pure: bytes in, a value out. OpenSSL reads the same bytes again and judges what is not looked at here.
"""

from __future__ import annotations

import re
import struct
from enum import Enum, auto
from functools import lru_cache

import msgspec

from cdn.edge.ticket_keys import TICKET_KEY_NAME_BYTES

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MAX_FRAGMENT_BYTES = 1 << 14

_SERVER_NAME = 0
_ALPN = 16
_SESSION_TICKET = 35
_PRE_SHARED_KEY = 41
_SERVER_NAME_HEAD = struct.Struct("!HBH")  # length of the list, name_type, length of the name
_LOOKED_AT = frozenset({_SERVER_NAME, _ALPN, _SESSION_TICKET, _PRE_SHARED_KEY})  # all below 256

MAX_REMEMBERED_NAMES = 4096
"""Names as they stood in a ClientHello whose reading is remembered, some 300 octets each: as many as certificates."""

MAX_REMEMBERED_PROTOCOLS = 64
"""The same of lists of protocols: browsers have a few."""

MAX_USUAL_PROTOCOLS_BYTES = 64
"""Of a list whose reading may be remembered."""

_NAME = re.compile(rb"[A-Za-z0-9_.:-]{1,255}")
_ADDRESS_STARTS = frozenset(b"0123456789abcdefABCDEF.:")
_ADDRESS = re.compile(rb"[0-9.]+|[0-9A-Fa-f.:]*:[0-9A-Fa-f.:]*")


class HelloFault(Enum):
    """Why what came is no ClientHello that could be answered."""

    NOT_TLS = auto()
    """Not even the head of a handshake record."""
    MALFORMED = auto()
    TOO_LARGE = auto()


class ClientHello(msgspec.Struct, frozen=True, gc=False):
    """What a client said before anything was chosen. A Struct: a dataclass takes 3 us more when a handshake begins.

    `server_name` in lower case without the final dot, "" without one (RFC 6066 section 3); an address, which may not
    stand there and does when somebody asks for `https://192.0.2.1/`, is none. `protocols` are those of
    ALPN (RFC 7301), empty without the extension. `ticket_key_names` are the first 16 octets of each session ticket
    that it offers.
    """

    server_name: str
    protocols: tuple[bytes, ...]
    ticket_key_names: tuple[bytes, ...]


_SAYS_NOTHING = ClientHello("", (), ())


class ClientHelloReader:
    """Collects the ClientHello from however many reads and records it takes; each octet is looked at once.

    `received` is everything that came, for OpenSSL to read it too; it never exceeds `max_bytes` and one read.
    """

    __slots__ = ("_at", "_max_bytes", "_message", "received")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._message = b""  # the records' content so far
        self._at = 0  # where the next record begins in what was received
        self.received = b""

    def receive(self, data: bytes) -> ClientHello | HelloFault | None:
        """Bytes came; None: more are needed. Not to be called again after anything else."""
        received = self.received = self.received + data if self.received else data
        at = self._at
        while True:
            if received[at : at + 1] not in {b"", b"\x16"} or received[at + 1 : at + 2] not in {b"", b"\x03"}:
                return HelloFault.MALFORMED if at else HelloFault.NOT_TLS
            if len(received) < at + 5:
                break
            size = received[at + 3] << 8 | received[at + 4]
            if not 0 < size <= _MAX_FRAGMENT_BYTES:
                return HelloFault.MALFORMED
            if at + 5 + size > self._max_bytes:
                return HelloFault.TOO_LARGE
            if len(received) < at + 5 + size:
                break
            self._message += received[at + 5 : at + 5 + size]
            at = self._at = at + 5 + size
            read = self._read_message()
            if read is not None:
                return read
        return None

    def _read_message(self) -> ClientHello | HelloFault | None:
        message = self._message
        if message[0] != _CLIENT_HELLO:
            return HelloFault.MALFORMED
        if len(message) < 4:
            return None
        stop = 4 + (message[1] << 16 | message[2] << 8 | message[3])
        if stop > self._max_bytes:
            return HelloFault.TOO_LARGE
        if len(message) < stop:
            return None
        return read_client_hello(message[4:stop])


def read_at_once(data: bytes, max_bytes: int) -> ClientHello | None:
    """What a ClientHello says that came whole in one record and one read, as nearly all do; None for everything else,
    which a ClientHelloReader judges."""
    size = len(data) - 5
    if (
        size < 4
        or data[0] != _HANDSHAKE
        or data[1] != 3
        or size > _MAX_FRAGMENT_BYTES
        or data[3] << 8 | data[4] != size
        or size + 5 > max_bytes
        or data[5] != _CLIENT_HELLO
        or data[6]
        or data[7] << 8 | data[8] != size - 4
    ):
        return None
    try:
        return _read(data, 9)
    except (IndexError, struct.error, _Malformed):
        return None


def read_client_hello(message: bytes) -> ClientHello | HelloFault:
    """What a whole ClientHello says; `message` is without the head of the handshake message."""
    try:
        return _read(message, 0)
    except (IndexError, struct.error, _Malformed):
        return HelloFault.MALFORMED


class _Malformed(Exception):
    """A length that leads beyond its frame, or what may not stand where it stands."""


def _read(message: bytes, at: int) -> ClientHello:
    """What begins at `at` and is all the rest. Raises _Malformed, and what an index beyond the end raises."""
    at += 34  # legacy_version and random
    at += 1 + message[at]  # legacy_session_id
    at += 2 + (message[at] << 8 | message[at + 1])  # cipher_suites
    at += 1 + message[at]  # legacy_compression_methods
    end = len(message)
    if at == end:
        return _SAYS_NOTHING  # from before there were extensions
    if at + 2 + (message[at] << 8 | message[at + 1]) != end:
        raise _Malformed
    found = _extensions(message, at + 2, end)
    if not found:
        return _SAYS_NOTHING
    return ClientHello(
        _server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else "",
        _known_protocols(found[_ALPN]) if _ALPN in found else (),
        _ticket_key_names(found) if _SESSION_TICKET in found or _PRE_SHARED_KEY in found else (),
    )


def _extensions(message: bytes, at: int, end: int) -> dict[int, bytes]:
    """Those that are looked at, by type; none of them may stand twice (section 4.2)."""
    found: dict[int, bytes] = {}
    while at < end:
        stop = at + 4 + (message[at + 2] << 8 | message[at + 3])
        if stop > end:
            raise _Malformed
        kind = message[at + 1]
        if kind in _LOOKED_AT and not message[at]:
            if kind in found:
                raise _Malformed
            found[kind] = message[at + 4 : stop]
        at = stop
    return found


@lru_cache(MAX_REMEMBERED_NAMES)
def _server_name(data: bytes) -> str:
    """The host_name of a server_name_list, of which there is one (RFC 6066 section 3)."""
    list_bytes, kind, name_bytes = _SERVER_NAME_HEAD.unpack_from(data)
    name = data[5:]
    if list_bytes != len(data) - 2 or kind != 0 or name_bytes != len(name) or not _NAME.fullmatch(name):
        raise _Malformed
    if name[0] in _ADDRESS_STARTS and _ADDRESS.fullmatch(name):
        return ""
    return name.decode("ascii").lower().removesuffix(".")


def _known_protocols(data: bytes) -> tuple[bytes, ...]:
    return _usual_protocols(data) if len(data) <= MAX_USUAL_PROTOCOLS_BYTES else _protocols(data)


def _protocols(data: bytes) -> tuple[bytes, ...]:
    """The ProtocolNameList (RFC 7301 section 3.1): at least one, none of them empty."""
    if (data[0] << 8 | data[1]) != len(data) - 2 or len(data) == 2:
        raise _Malformed
    names = []
    at = 2
    while at < len(data):
        stop = at + 1 + data[at]
        if stop > len(data) or stop == at + 1:
            raise _Malformed
        names.append(data[at + 1 : stop])
        at = stop
    return tuple(names)


_usual_protocols = lru_cache(MAX_REMEMBERED_PROTOCOLS)(_protocols)


def _ticket_key_names(found: dict[int, bytes]) -> tuple[bytes, ...]:
    """Of session tickets of TLS 1.2 (RFC 5077), and the identities of TLS 1.3's keys (RFC 8446 section 4.2.11)."""
    tickets = [found.get(_SESSION_TICKET, b"")]
    data = found.get(_PRE_SHARED_KEY)
    if data is not None:
        end = 2 + (data[0] << 8 | data[1])
        if end > len(data):
            raise _Malformed
        at = 2
        while at < end:
            stop = at + 2 + (data[at] << 8 | data[at + 1])
            if stop + 4 > end:  # obfuscated_ticket_age
                raise _Malformed
            tickets.append(data[at + 2 : stop])
            at = stop + 4
    return tuple(ticket[:TICKET_KEY_NAME_BYTES] for ticket in tickets if len(ticket) >= TICKET_KEY_NAME_BYTES)
