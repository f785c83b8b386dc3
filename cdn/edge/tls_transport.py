"""A connection above TLS: a transport to what speaks HTTP, and the protocol of the plain transport below.

Written with OpenSSL's memory buffers and not with the event loop's own TLS: the ClientHello is read before there is an
SSL object, a connection that waits has no buffers at all, and what is to be sent stays where it lies (which may be a
mapped file) until the client takes what was encrypted before.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Any

from cdn.edge.certificate_cover import COVER, CertificateCover
from cdn.edge.openssl import Secured
from cdn.edge.tls_contexts import TlsContexts

_log = logging.getLogger(__name__)

RECORD_BYTES = 16 * 1024
"""Content of one TLS record at the most (RFC 8446 section 5.1): OpenSSL reads one at a time."""

SLICE_BYTES = 128 * 1024
"""Encrypted at one time: with the 64 KiB of the plain transport all that a slow client makes us hold."""

MAX_MUTE_BYTES = 2 * RECORD_BYTES
"""Taken from a client without content among them: one record at the most is under way, so beyond it they are updates of
keys and the like for their own sake. Each of 27 octets costs as much as a request. Beyond: reset. OpenSSL is given no
more than this at one time, so that others wait for no more than 20 ms of it."""

MAX_UNREAD_ANSWERS_BYTES = 16 * 1024
"""What OpenSSL answers by itself (updates of keys) to a client that reads nothing; beyond: reset."""

Content = bytes | bytearray | memoryview

_NOBODY = asyncio.Protocol()
"""What a challenge is served by, and every connection until it begins and when it is gone."""


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """The transport above a finished handshake.

    `close` sends what was written, says close_notify and ends (RFC 8446 section 6.1, RFC 9112 section 9.8). It does not
    wait for the client's, and says none to a client that went without a word and was sent nothing since. `abort` says
    nothing, so that content without a length is known to be cut. A client that ends without close_notify has ended all
    the same: its requests have lengths of their own.

    The two buffers are those of the process. Every call of OpenSSL finds them empty and leaves them so.
    """

    __slots__ = (
        "_below",
        "_cover",
        "_incoming",
        "_is_above_paused",
        "_is_below_paused",
        "_is_client_gone",
        "_is_closing",
        "_is_end_said",
        "_is_end_wanted",
        "_is_eof_given",
        "_mute_bytes",
        "_outgoing",
        "_protocol",
        "_secured",
        "_unread_answers_bytes",
        "_waiting",
        "_waiting_bytes",
    )

    def __init__(
        self,
        below: asyncio.Transport,
        secured: Secured,
        tls: TlsContexts,
        cover: CertificateCover | None = None,
    ) -> None:
        # Without asyncio's own __init__, whose dictionary nothing here asks for.
        self._below = below
        self._cover = cover
        self._secured = secured
        self._incoming = tls.incoming
        self._outgoing = tls.outgoing
        self._protocol = _NOBODY
        self._waiting: deque[memoryview] | None = None
        self._waiting_bytes = 0
        self._is_below_paused = False
        self._is_above_paused = False
        self._is_closing = False
        self._is_end_wanted = False
        self._is_end_said = False
        self._is_eof_given = False
        self._is_client_gone = False
        self._mute_bytes = 0
        self._unread_answers_bytes = 0

    def start(self, protocol: asyncio.Protocol, rest: bytes) -> None:
        """Serve `protocol`; `rest` came behind the handshake and is encrypted."""
        self._protocol = protocol
        protocol.connection_made(self)
        if rest:
            self.data_received(rest)

    # -- what the transport below calls ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Records came, or parts of them."""
        if len(data) > MAX_MUTE_BYTES:
            for at in range(0, len(data), MAX_MUTE_BYTES):
                self.data_received(data[at : at + MAX_MUTE_BYTES])
            return
        if self._is_closing or self._is_eof_given:
            return
        incoming = self._incoming
        incoming.write(data)
        try:
            content = self._secured.read(RECORD_BYTES)
            is_end = not content
            if incoming.pending and not is_end:
                content, is_end = self._read_on(content)
        except ssl.SSLWantReadError:  # not one whole record of content
            self._mute_bytes += len(data)
            if self._mute_bytes > MAX_MUTE_BYTES:
                _log.debug("a TLS connection is reset: its records have no content")
                self._discard()
                self.abort()
                return
            self._answer_alerts()
            return
        except ssl.SSLError as fault:
            self._fail(fault)
            return
        if self._outgoing.pending or incoming.pending:
            self._answer_alerts()
        if content:
            self._mute_bytes = 0
            self._protocol.data_received(content)
        if is_end:
            self._give_eof()

    def _read_on(self, first: bytes) -> tuple[bytes, bool]:
        """The content of the other records that are here, behind that of the first; whether the client has ended.
        Raises ssl.SSLError."""
        contents = [first]
        try:
            while self._incoming.pending:
                content = self._secured.read(RECORD_BYTES)
                if not content:
                    return b"".join(contents), True
                contents.append(content)
        except ssl.SSLWantReadError:
            pass  # the rest of a record is still to come
        return b"".join(contents), False

    def _answer_alerts(self) -> None:
        """Send what OpenSSL has to say by itself (updates of keys); throw away what stands behind a close_notify."""
        self._incoming.read()
        answer = self._outgoing.read()
        if not answer:
            return
        if self._is_below_paused:
            self._unread_answers_bytes += len(answer)
            if self._unread_answers_bytes > MAX_UNREAD_ANSWERS_BYTES:
                _log.debug("a TLS connection is reset: its client does not read what it makes us answer")
                self.abort()
                return
        self._below.write(answer)

    def _discard(self) -> None:
        """Leave nothing in the buffers, which are everybody's."""
        self._incoming.read()
        self._outgoing.read()

    def _fail(self, fault: ssl.SSLError) -> None:
        """What came is no record of this connection: OpenSSL's alert is all that is still said."""
        _log.debug("a TLS connection is closed: %s", fault)
        self._is_closing = self._is_end_said = True
        self._forget_waiting()
        self._answer_alerts()
        self._below.close()

    def _give_eof(self) -> None:
        if not self._is_eof_given:
            self._is_eof_given = True
            if not self._protocol.eof_received():
                self.close()

    def eof_received(self) -> bool:
        """The client sends nothing more, whether it said so in TLS or not."""
        self._is_client_gone = not self._is_eof_given
        if not self._is_closing:
            self._give_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._is_closing = True
        self._forget_waiting()
        # Each holds the other: what OpenSSL keeps of a connection goes now, and not when the collector comes.
        protocol, self._protocol = self._protocol, _NOBODY
        protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits for the client than it takes."""
        self._is_below_paused = True
        self._pause_above()

    def resume_writing(self) -> None:
        """The client took enough of it: the next slice."""
        self._is_below_paused = False
        self._unread_answers_bytes = 0
        self._send_waiting()

    # -- what the protocol above calls -----------------------------------------------------------------------------

    def write(self, data: Content) -> None:
        """Send `data`, or keep it until the client takes what was sent before."""
        if self._is_closing or self._is_end_wanted or not data:
            return
        if self._waiting or self._is_below_paused or len(data) > SLICE_BYTES:
            self._wait(data)
            self._send_waiting()
        else:
            self._send((data,))

    def writelines(self, list_of_data: Iterable[Content]) -> None:
        """Send pieces one behind the other."""
        pieces = list_of_data if isinstance(list_of_data, tuple | list) else tuple(list_of_data)
        if self._is_closing or self._is_end_wanted:
            return
        size_bytes = sum(map(len, pieces))
        if self._waiting or self._is_below_paused or size_bytes > SLICE_BYTES:
            for piece in pieces:
                self._wait(piece)
            self._send_waiting()
        elif size_bytes <= RECORD_BYTES:
            self.write(b"".join(pieces))
        else:
            self._send(pieces)

    def write_eof(self) -> None:
        """Say close_notify behind what was written; the client may still send."""
        if not self._is_closing:
            self._is_end_wanted = True
            self._end_if_sent()

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def close(self) -> None:
        """End when what was written has left; nothing more is read."""
        if not self._is_closing:
            self._is_closing = True
            self._end_if_sent()

    def abort(self) -> None:
        """End at once and without a word."""
        self._is_closing = True
        self._forget_waiting()
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether it ends or has ended."""
        return self._is_closing or self._below.is_closing()

    def pause_reading(self) -> None:
        """Take nothing from the client for now."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again."""
        self._below.resume_reading()

    def is_reading(self) -> bool:
        """Whether the client is read from."""
        return self._below.is_reading()

    def get_write_buffer_size(self) -> int:
        """Octets that wait for the client, here and below."""
        return self._waiting_bytes + self._below.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Those of the transport below."""
        return self._below.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Those of the transport below."""
        self._below.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`ssl_object`, COVER, and everything that the transport below knows."""
        match name:
            case "ssl_object":
                return self._secured
            case _ if name == COVER:
                return self._cover
            case _:
                return self._below.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol goes on."""
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError("TLS carries streams")
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """What is served."""
        return self._protocol

    # -- sending ---------------------------------------------------------------------------------------------------

    def _wait(self, data: Content) -> None:
        if data:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(memoryview(bytes(data) if isinstance(data, bytearray) else data).cast("B"))
            self._waiting_bytes += len(data)

    def _forget_waiting(self) -> None:
        self._waiting_bytes = 0
        if self._waiting is not None:
            self._waiting.clear()  # and not another one: it may be being sent

    def _send_waiting(self) -> None:
        """Encrypt what waits, slice after slice, as long as the client takes it."""
        waiting = self._waiting
        while waiting and not self._is_below_paused:
            pieces: list[Content] = []
            room_bytes = SLICE_BYTES
            while waiting and room_bytes:
                piece = waiting.popleft()
                if len(piece) > room_bytes:
                    waiting.appendleft(piece[room_bytes:])
                    piece = piece[:room_bytes]
                room_bytes -= len(piece)
                pieces.append(piece)
            self._waiting_bytes -= SLICE_BYTES - room_bytes
            self._send(pieces)
        if waiting or self._is_below_paused:
            self._pause_above()
            return
        self._waiting = None
        self._end_if_sent()
        if self._is_above_paused:
            self._is_above_paused = False
            self._protocol.resume_writing()

    def _send(self, pieces: Iterable[Content]) -> None:
        """Encrypt, and hand to the transport below."""
        self._is_client_gone = False
        try:
            for piece in pieces:
                sent_bytes = self._secured.write(piece)  # of all its records in one call: 4 us less of 64 KiB
                while sent_bytes < len(piece):
                    sent_bytes += self._secured.write(memoryview(piece)[sent_bytes:])
        except ssl.SSLError as fault:
            self._fail(fault)
            return
        self._below.write(self._outgoing.read())

    def _pause_above(self) -> None:
        if not self._is_above_paused:
            self._is_above_paused = True
            self._protocol.pause_writing()

    def _end_if_sent(self) -> None:
        """When nothing waits any more, do what was wanted: end the sending, or the connection."""
        if self._waiting or not (self._is_end_wanted or self._is_closing):
            return
        if not self._is_end_said and not self._below.is_closing():
            self._is_end_said = True
            if not self._is_client_gone:
                self._say_close_notify()
            if not self._is_closing:
                self._below.write_eof()
        if self._is_closing:
            self._below.close()

    def _say_close_notify(self) -> None:
        try:
            self._secured.shutdown()
        except ssl.SSLWantReadError:
            pass  # it is said; the client's own is not waited for
        except ssl.SSLError as fault:
            _log.debug("close_notify could not be said: %s", fault)
        self._answer_alerts()
