"""An HTTP/2 connection without a socket: python-hyper's `h2` as the client, a clock that the test moves."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.settings

from cdn.edge.application import Application
from cdn.edge.h2_connection import H2Connection
from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_service import H2Service
from cdn.edge.head_memo import HeadMemo
from cdn.edge.head_parser import HeadParser
from cdn.edge.limits import HttpLimits
from cdn.edge.service import ListenerCounters, Service
from tests.edge.engine_transport import RecordingTransport, settle

Fields = list[tuple[str, str]]


@dataclass
class Received:
    """What came on one stream."""

    fields: Fields = field(default_factory=list)
    interim: list[Fields] = field(default_factory=list)
    content: bytes = b""
    trailers: Fields | None = None
    is_whole: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.of(":status") or 0)

    def of(self, name: str) -> str | None:
        return dict(self.fields).get(name)


class H2Client:
    """One connection to `application`. With `is_generous` it acknowledges, and gives windows back."""

    def __init__(
        self,
        application: Application,
        limits: HttpLimits | None = None,
        h2_limits: H2Limits | None = None,
        *,
        scheme: str = "http",
        is_generous: bool = True,
    ) -> None:
        limits = limits or HttpLimits()
        self.now = 1000.0
        self.service = Service(
            application=application,
            limits=limits,
            parser=HeadParser(limits),
            memo=HeadMemo(limits.max_memo_entries, limits.max_memo_bytes, limits.max_memo_head_bytes),
            cache_name="edge",
            scheme=scheme,
            monotonic=lambda: self.now,
            wall=lambda: 1_700_000_000.0,
            counters=ListenerCounters(),
            http2=H2Service.of(limits, h2_limits),
        )
        self.scheme = scheme
        self.is_generous = is_generous
        self.streams: dict[int, Received] = {}
        self.goaways: list[tuple[int, int, bytes]] = []
        self.settings: dict[int, int] = {}
        self._taken = 0
        self.transport = RecordingTransport()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.connection = self.connect()

    def connect(self, transport: RecordingTransport | None = None, *, is_silent: bool = False) -> H2Connection:
        self.transport = transport or RecordingTransport()
        self.connection = H2Connection(self.service)
        self.transport.protocol = self.connection
        self._taken = 0
        self.streams.clear()
        self.goaways.clear()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.connection.connection_made(self.transport)
        if not is_silent:
            self.h2.initiate_connection()
            self.flush()
        return self.connection

    # -- what the client sends

    def head(self, path: str = "/a", method: str = "GET", fields: Fields | None = None) -> Fields:
        return [
            (":method", method),
            (":scheme", self.scheme),
            (":authority", "a.example"),
            (":path", path),
            *(fields or []),
        ]

    def ask(self, path: str = "/a", method: str = "GET", fields: Fields | None = None, *, is_end: bool = True) -> int:
        """Queue a request; `flush` sends what was queued in one piece."""
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, self.head(path, method, fields), end_stream=is_end)
        return stream_id

    def get(self, path: str = "/a", method: str = "GET", fields: Fields | None = None) -> Received:
        """What is answered at once."""
        stream_id = self.ask(path, method, fields)
        self.flush()
        return self.streams[stream_id]

    async def exchange(
        self, path: str = "/a", method: str = "GET", fields: Fields | None = None, content: bytes = b""
    ) -> Received:
        """What is answered in the end."""
        stream_id = self.ask(path, method, fields, is_end=not content)
        if content:
            self.h2.send_data(stream_id, content, end_stream=True)
        self.flush()
        await self.settle()
        return self.streams[stream_id]

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.transport.is_over:
            self.connection.data_received(data)
        self.read()

    async def settle(self) -> None:
        """Let every task go on, and read and acknowledge what they send."""
        for _ in range(4):
            await settle()
            self.flush()

    # -- what it reads

    def read(self) -> None:
        """Take what the server has sent."""
        sent = self.transport.sent
        data, self._taken = sent[self._taken :], len(sent)
        data = self._without_goaways(data)
        for event in self.h2.receive_data(data) if data else ():
            self._note(event)
        if self.is_generous and data:
            answer = self.h2.data_to_send()
            if answer and not self.transport.is_over:
                self.connection.data_received(answer)
                self.read()

    def _without_goaways(self, data: bytes) -> bytes:
        """Hyper's h2 takes GOAWAY for the end, though answers may follow it (RFC 9113 section 6.8)."""
        kept: list[bytes] = []
        at = 0
        while at < len(data):
            end = at + 9 + int.from_bytes(data[at : at + 3])
            if data[at + 3] == 7:
                last_id, code = struct.unpack_from(">II", data, at + 9)
                self.goaways.append((last_id, code, data[at + 17 : end]))
            else:
                kept.append(data[at:end])
            at = end
        return b"".join(kept)

    def _note(self, event: h2.events.Event) -> None:
        stream_id = getattr(event, "stream_id", None)
        stream = self.streams.setdefault(stream_id, Received()) if stream_id else Received()
        if isinstance(event, h2.events.ResponseReceived):
            stream.fields = list(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.interim.append(list(event.headers))  # type: ignore[arg-type]
        elif isinstance(event, h2.events.DataReceived):
            stream.content += event.data
            if self.is_generous and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = list(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.StreamEnded):
            stream.is_whole = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.connection.check(self.now)
        self.read()
