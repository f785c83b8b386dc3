"""The first message of a TLS client, as far as it decides who answers (RFC 8446 section 4.1.2).

Pure: bytes in, a value out. OpenSSL reads the same bytes again and judges what is not looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from cdn.edge.ticket_keys import TICKET_KEY_NAME_BYTES

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MAX_FRAGMENT_BYTES = 1 << 14

_SERVER_NAME = 0
_ALPN = 16
_SESSION_TICKET = 35
_PRE_SHARED_KEY = 41
_LOOKED_AT = frozenset({_SERVER_NAME, _ALPN, _SESSION_TICKET, _PRE_SHARED_KEY})

_NAME = re.compile(rb"[A-Za-z0-9_.:-]{1,255}")
_ADDRESS = re.compile(rb"[0-9.]+|[0-9A-Fa-f.:]*:[0-9A-Fa-f.:]*")


class HelloFault(Enum):
    """Why what came is no ClientHello that could be answered."""

    NOT_TLS = auto()
    """Not even the head of a handshake record."""
    MALFORMED = auto()
    TOO_LARGE = auto()


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client said before anything was chosen.

    `server_name` in lower case without the final dot, "" without one (RFC 6066 section 3); an address, which may not
    stand there and does when somebody asks for `https://192.0.2.1/`, is none. `protocols` are those of
    ALPN (RFC 7301), empty without the extension. `ticket_key_names` are the first 16 octets of each session ticket
    that it offers.
    """

    server_name: str
    protocols: tuple[bytes, ...]
    ticket_key_names: tuple[bytes, ...]


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
        return HelloFault.TOO_LARGE if len(received) > self._max_bytes else None

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


def read_client_hello(message: bytes) -> ClientHello | HelloFault:
    """What a whole ClientHello says; `message` is without the head of the handshake message."""
    try:
        return _read(message)
    except _Malformed:
        return HelloFault.MALFORMED


class _Malformed(Exception):
    """A length that leads beyond its frame, or what may not stand where it stands."""


def _read(message: bytes) -> ClientHello:
    at = 34  # legacy_version, random
    at = _vector(message, at, 1).stop  # legacy_session_id
    at = _vector(message, at, 2).stop  # cipher_suites
    at = _vector(message, at, 1).stop  # legacy_compression_methods
    if at == len(message):
        return ClientHello("", (), ())  # before there were extensions
    found = _extensions(_content(message, at, 2, is_last=True))
    ticket_names = (name[:TICKET_KEY_NAME_BYTES] for name in _tickets(found))
    return ClientHello(
        _server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else "",
        tuple(_protocols(found[_ALPN])) if _ALPN in found else (),
        tuple(name for name in ticket_names if len(name) == TICKET_KEY_NAME_BYTES),
    )


def _vector(data: bytes, at: int, length_bytes: int) -> slice:
    """Where the content of a vector lies whose length stands at `at` (RFC 8446 section 3.4)."""
    start = at + length_bytes
    stop = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or stop > len(data):
        raise _Malformed
    return slice(start, stop)


def _content(data: bytes, at: int, length_bytes: int, *, is_last: bool = False) -> bytes:
    where = _vector(data, at, length_bytes)
    if is_last and where.stop != len(data):
        raise _Malformed
    return data[where]


def _extensions(data: bytes) -> dict[int, bytes]:
    """Those that are looked at, by type; none may stand twice (section 4.2)."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        where = _vector(data, at + 2, 2)
        kind = data[at] << 8 | data[at + 1]
        if kind in _LOOKED_AT:
            if kind in found:
                raise _Malformed
            found[kind] = data[where]
        at = where.stop
    return found


def _server_name(data: bytes) -> str:
    """The host_name of a server_name_list, of which there is one (RFC 6066 section 3)."""
    names = _content(data, 0, 2, is_last=True)
    if not names or names[0] != 0:
        raise _Malformed
    name = _content(names, 1, 2, is_last=True)
    if not _NAME.fullmatch(name):
        raise _Malformed
    if _ADDRESS.fullmatch(name):
        return ""
    return name.decode("ascii").lower().removesuffix(".")


def _protocols(data: bytes) -> Iterator[bytes]:
    """The ProtocolNameList (RFC 7301 section 3.1): at least one, none of them empty."""
    names = _content(data, 0, 2, is_last=True)
    if not names:
        raise _Malformed
    at = 0
    while at < len(names):
        where = _vector(names, at, 1)
        if where.start == where.stop:
            raise _Malformed
        yield names[where]
        at = where.stop


def _tickets(found: dict[int, bytes]) -> Iterator[bytes]:
    """Session tickets: of TLS 1.2 (RFC 5077), and the identities of TLS 1.3's keys (RFC 8446 section 4.2.11)."""
    if found.get(_SESSION_TICKET):
        yield found[_SESSION_TICKET]
    if _PRE_SHARED_KEY in found:
        identities = _content(found[_PRE_SHARED_KEY], 0, 2)
        at = 0
        while at < len(identities):
            where = _vector(identities, at, 2)
            if where.stop + 4 > len(identities):
                raise _Malformed
            yield identities[where]
            at = where.stop + 4  # obfuscated_ticket_age
