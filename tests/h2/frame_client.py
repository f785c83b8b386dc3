"""A client that can break every rule of HTTP/2: it sends octets, and reads frames until a bound."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import hpack

from tests.h2 import frames
from tests.h2.frames import ACK, END_HEADERS, END_STREAM, PREFACE, Code, Frame, Kind

TIMEOUT_S = 30.0
"""No test waits for it unless the server hangs."""

MAX_FRAMES = 20_000
"""More than any answer of a test has: reading ends, whatever the server sends."""

AUTHORITY = "a.example"

Fields = list[tuple[str, str]]


class Ended(AssertionError):
    """The server closed the connection before it said what the test waits for."""


@dataclass(slots=True)
class Response:
    """What came on a stream."""

    fields: dict[str, str] = field(default_factory=dict)
    interim: list[dict[str, str]] = field(default_factory=list)
    trailers: dict[str, str] | None = None
    content: bytes = b""
    reset: int | None = None
    is_whole: bool = False

    @property
    def status(self) -> int:
        return int(self.fields[":status"])


class FrameClient:
    """One connection. `scheme` is that of its requests."""

    def __init__(self, connected: socket.socket, scheme: str = "http") -> None:
        self.socket = connected
        self.scheme = scheme
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.server_settings: dict[int, int] = {}
        self.responses: dict[int, Response] = {}
        self.goaways: list[Frame] = []
        self.window = frames.INITIAL_WINDOW
        """What the server takes of content, of all streams; and what it has added for single ones."""
        self.added: dict[int, int] = {}
        self.gives_windows = True
        """Whether what comes is given back to the windows at once."""
        self._waiting = b""
        self._next_id = 1
        self._block = b""
        self._pings = 0

    @classmethod
    def connect(
        cls, port: int, context: ssl.SSLContext | None = None, *, receive_bytes: int | None = None
    ) -> FrameClient:
        """Connect, and shake hands where there is a context. `receive_bytes`: how much the kernel may keep for us."""
        plain = socket.socket()
        plain.settimeout(TIMEOUT_S)
        if receive_bytes is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.connect(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is None:
            return cls(plain)
        return cls(context.wrap_socket(plain, server_hostname=AUTHORITY), "https")

    def close(self) -> None:
        self.socket.close()

    def abort(self) -> None:
        """Go away without a word: the connection is reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, *parts: bytes) -> None:
        """Octets, at once. A server that is gone already is no fault: what it said is read."""
        try:
            self.socket.sendall(b"".join(parts))
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return

    def end_sending(self) -> None:
        """Nothing more comes from here; the server's words still do."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def start(self, values: frames.Settings = ()) -> FrameClient:
        """Both prefaces, acknowledged on both sides."""
        self.send(PREFACE, frames.settings(values))
        self.read_until(lambda came: came.is_of(Kind.SETTINGS) and came.has(ACK))
        return self

    def next_id(self) -> int:
        self._next_id += 2
        return self._next_id - 2

    def fields(self, path: str = "/a", method: str = "GET", extra: Iterable[tuple[str, str]] = ()) -> Fields:
        return [
            (":method", method),
            (":scheme", self.scheme),
            (":authority", AUTHORITY),
            (":path", path),
            *extra,
        ]

    def block(self, fields: Iterable[tuple[str, str]]) -> bytes:
        return self.encoder.encode(list(fields))

    def head(
        self,
        path: str = "/a",
        method: str = "GET",
        extra: Iterable[tuple[str, str]] = (),
        *,
        stream_id: int | None = None,
        is_end: bool = True,
    ) -> tuple[int, bytes]:
        """A request's HEADERS, and its stream."""
        chosen = self.next_id() if stream_id is None else stream_id
        flags = END_HEADERS | (END_STREAM if is_end else 0)
        return chosen, frames.headers(chosen, self.block(self.fields(path, method, extra)), flags)

    def request(
        self,
        path: str = "/a",
        method: str = "GET",
        extra: Iterable[tuple[str, str]] = (),
        content: bytes | None = None,
    ) -> int:
        """Send one; `content` has to fit the windows and one frame."""
        stream_id, head = self.head(path, method, extra, is_end=content is None)
        self.send(head, b"" if content is None else frames.data(stream_id, content))
        return stream_id

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self) -> Frame | None:
        """The next frame, None at the end. Raises TimeoutError: the server hangs."""
        while len(self._waiting) < 9 or len(self._waiting) < 9 + int.from_bytes(self._waiting[:3], "big"):
            try:
                came = self.socket.recv(65_536)
            except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return None
            if not came:
                assert not self._waiting, f"the connection ended within a frame: {self._waiting[:32]!r}"
                return None
            self._waiting += came
        size = int.from_bytes(self._waiting[:3], "big")
        raw, self._waiting = self._waiting[: 9 + size], self._waiting[9 + size :]
        read = Frame(raw[3], raw[4], int.from_bytes(raw[5:9], "big"), raw[9:])
        self._note(read)
        return read

    def read_until(self, is_it: Callable[[Frame], bool]) -> list[Frame]:
        """All frames up to the one that is it. Raises Ended."""
        came: list[Frame] = []
        for _ in range(MAX_FRAMES):
            read = self.read()
            if read is None:
                raise Ended(f"the connection ended; it said {came[-5:]}")
            came.append(read)
            if is_it(read):
                return came
        raise AssertionError(f"{MAX_FRAMES} frames came, and not the one that was waited for; the last: {came[-1]}")

    def read_to_end(self) -> list[Frame]:
        """Everything until the server closes."""
        came: list[Frame] = []
        for _ in range(MAX_FRAMES):
            read = self.read()
            if read is None:
                return came
            came.append(read)
        raise AssertionError(f"{MAX_FRAMES} frames came, and no end; the last: {came[-1]}")

    def barrier(self) -> list[Frame]:
        """What the server says by itself of everything that was sent: it answers a PING behind it. Raises Ended.

        Twice, because the first answer may stand before what was said at the same moment (section 6.7).
        """
        came: list[Frame] = []
        for _ in range(2):
            self._pings += 1
            opaque = self._pings.to_bytes(8, "big")
            self.send(frames.ping(opaque))
            came += self.read_until(partial(_is_pong, opaque))
        return came

    def content_of(self, stream_id: int, size: int) -> int:
        """Wait until as much has come, and for what comes behind it. Returns how much it is."""
        known = self.responses.setdefault(stream_id, Response())
        if len(known.content) < size:
            self.read_until(lambda _: len(known.content) >= size)
        self.barrier()
        return len(known.content)

    def frames_until_whole(self, stream_id: int) -> list[Frame]:
        """What comes until the stream is answered or reset, of all streams."""
        known = self.responses.setdefault(stream_id, Response())
        if known.is_whole or known.reset is not None:
            return []
        return self.read_until(lambda _: known.is_whole or known.reset is not None)

    def response(self, stream_id: int) -> Response:
        """The whole response, or its reset."""
        self.frames_until_whole(stream_id)
        return self.responses[stream_id]

    def ask(
        self,
        path: str = "/a",
        method: str = "GET",
        extra: Iterable[tuple[str, str]] = (),
        content: bytes | None = None,
    ) -> Response:
        """A request and its response."""
        return self.response(self.request(path, method, extra, content))

    # -- what a test waits for -------------------------------------------------------------------------------------

    def expect_connection_error(self, *codes: Code) -> Frame:
        """GOAWAY with one of the codes, then the end. Returns the GOAWAY."""
        came = self.read_to_end()
        errors = [read for read in came if read.is_of(Kind.GOAWAY) and read.code != Code.NO_ERROR]
        assert errors, f"the connection ended without a GOAWAY that says why: {came[-5:]}"
        assert errors[-1].code in codes, f"{_name(errors[-1].code)} instead of {[_name(code) for code in codes]}"
        assert came[-1].is_of(Kind.GOAWAY), "nothing follows"
        return errors[-1]

    def expect_stream_error(self, stream_id: int, *codes: Code) -> None:
        """RST_STREAM with one of the codes, and the connection goes on."""
        known = self.response(stream_id)
        assert known.reset is not None, f"the stream was answered: {known}"
        assert known.reset in codes, f"{_name(known.reset)} instead of {[_name(code) for code in codes]}"
        self.expect_service()

    def expect_malformed(self, stream_id: int) -> None:
        """The request was malformed (section 8.1.1): a reset, or a 400 before it; the connection goes on."""
        known = self.response(stream_id)
        if known.reset is None:
            assert known.status == 400, known
        else:
            assert known.reset == Code.PROTOCOL_ERROR, _name(known.reset)
            assert not known.fields or known.status == 400, known
        self.expect_service()

    def expect_service(self) -> None:
        """The connection answers the next request."""
        answer = self.ask("/a")
        assert (answer.reset, answer.status, answer.content) == (None, 200, b"hello")

    # -- what every frame of a server must keep to -----------------------------------------------------------------

    def _note(self, read: Frame) -> None:
        """Judge and remember a frame."""
        assert read.word == read.stream_id, "the reserved bit stays unset (section 4.1)"
        assert read.kind != Kind.PUSH_PROMISE, "this client takes no push, and this server makes none"
        if read.kind == Kind.SETTINGS and not read.flags:
            self.server_settings.update(read.settings)
            self.send(frames.settings_ack())
        elif read.kind in (Kind.HEADERS, Kind.CONTINUATION):
            assert not read.flags & ~(END_STREAM | END_HEADERS), "unused flags stay unset (section 4.1)"
            self._note_head(read)
        elif read.kind == Kind.DATA:
            assert not read.flags & ~END_STREAM, "unused flags stay unset (section 4.1)"
            known = self.responses.setdefault(read.stream_id, Response())
            assert known.fields, "HEADERS come before DATA (section 8.1)"
            assert not known.is_whole, "nothing comes behind the end of a stream (section 5.1)"
            known.content += read.payload
            known.is_whole = read.has(END_STREAM)
            if self.gives_windows and read.payload:
                size = len(read.payload)
                self.send(frames.window_update(0, size), frames.window_update(read.stream_id, size))
        elif read.kind == Kind.WINDOW_UPDATE:
            increment = int.from_bytes(read.payload, "big")
            assert 0 < increment <= frames.MAX_WINDOW, "an increment (section 6.9)"
            if read.stream_id == 0:
                self.window += increment
                assert self.window <= frames.MAX_WINDOW, "no window exceeds that (section 6.9.1)"
            else:
                self.added[read.stream_id] = self.added.get(read.stream_id, 0) + increment
        elif read.kind == Kind.GOAWAY:
            assert read.word == 0, "GOAWAY is of the connection (section 6.8)"
            if self.goaways:
                assert read.last_stream_id <= self.goaways[-1].last_stream_id, "it never grows (section 6.8)"
            self.goaways.append(read)
        elif read.kind == Kind.RST_STREAM:
            known = self.responses.setdefault(read.stream_id, Response())
            assert known.reset is None, "one RST_STREAM a stream (section 5.4.2)"
            known.reset = read.code

    def _note_head(self, read: Frame) -> None:
        self._block += read.payload
        known = self.responses.setdefault(read.stream_id, Response())
        assert not known.is_whole, "nothing comes behind the end of a stream (section 5.1)"
        if not read.has(END_HEADERS):
            return
        decoded = {str(name): str(value) for name, value in self.decoder.decode(self._block)}
        self._block = b""
        if known.fields:
            known.trailers = decoded
            assert read.has(END_STREAM), "trailers end the stream (section 8.1)"
        elif decoded[":status"].startswith("1"):
            assert not read.has(END_STREAM), "an interim response is not the end (section 8.1)"
            known.interim.append(decoded)
            return
        else:
            known.fields = decoded
        known.is_whole = read.has(END_STREAM)


def _is_pong(opaque: bytes, read: Frame) -> bool:
    return read.is_of(Kind.PING) and read.has(ACK) and read.payload == opaque


def _name(code: int) -> str:
    return Code(code).name if code in Code.__members__.values() else hex(code)
