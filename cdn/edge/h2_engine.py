"""The server's side of one HTTP/2 connection without IO (RFC 9113): bytes in, events out; answers in, frames out."""

from __future__ import annotations

from cdn.edge.h2_events import ErrorCode, Event
from cdn.edge.h2_limits import H2Limits


class H2Engine:
    """One connection. Never raises on any input: what a client does wrong becomes frames and events.

    Whoever drives it calls `receive` with what came, answers the events, then takes `output` while the transport has
    room, and after that `take_events`.
    """

    def __init__(self, limits: H2Limits) -> None: ...

    # -- what came ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Queue our SETTINGS, which are the first frame of a connection (RFC 9113 section 3.4)."""

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What `data` says, in order. The client's preface comes first (section 3.4), also by prior knowledge."""
        raise NotImplementedError

    def take_events(self) -> list[Event]:
        """What has happened beside `receive`: `Writable` after `output`, `ConnectionOver` after `drain` or a limit that
        was met while answering. To be asked after `output`."""
        raise NotImplementedError

    def consumed(self, stream_id: int, flow_bytes: int) -> None:
        """A part of a request's content was read: the client may send as much again.

        Does nothing for a stream that is over: what nobody read of it was given back to the connection at once.
        """

    # -- answers -----------------------------------------------------------------------------------------------------
    # Each does nothing for a stream that is over, so nobody has to ask first.

    def respond(self, stream_id: int, block: bytes, content: bytes | memoryview) -> None:
        """A whole response. `content` is not copied until it is sent; empty: HEADERS end the stream."""

    def send_interim(self, stream_id: int, block: bytes) -> None:
        """The block of an interim response (RFC 9110 section 15.2)."""

    def send_head(self, stream_id: int, block: bytes, *, is_end: bool) -> None:
        """The block of the response; content follows unless `is_end`."""

    def send_content(self, stream_id: int, part: bytes | memoryview, *, is_end: bool) -> None:
        """Content after its head. Ask `may_send` first; a part is queued in any case."""

    def send_trailers(self, stream_id: int, block: bytes) -> None:
        """Trailer fields after the content; they end the stream."""

    def may_send(self, stream_id: int) -> bool:
        """Whether the next part of this stream's content has room. When not, `Writable` comes once it has, or
        `StreamOver`. True for a stream with nothing queued and for one that is over."""
        raise NotImplementedError

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream (RST_STREAM): what is queued of it is dropped. No `StreamOver` follows."""

    # -- the connection ----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Go away gracefully (section 6.8): streams that the client has opened or is opening are answered, and no new
        ones after it has read this. `ConnectionOver` comes when the last is answered. A second call does not wait for
        the client to have read it."""

    def go_away(self, code: ErrorCode, reason: str) -> None:
        """End the connection: GOAWAY is the last frame of `output`; `ConnectionOver` comes."""

    def output(self, max_bytes: int) -> list[bytes | memoryview]:
        """Frames that may leave now, in order; all but content whatever `max_bytes` is.

        Content leaves by urgency and fairly among equals (RFC 9218 section 10), within the windows, and about
        `max_bytes` of it: ask again when the transport has taken these. Empty when there is nothing to send.
        """
        raise NotImplementedError

    def stalled_since(self, now: float, min_rate_bytes_per_s: int) -> dict[int, float]:
        """Streams whose content waits for the client's windows, and since when they have got less than the rate; 0
        stands for the connection's window. To be asked about once a second: that is how exact it is."""
        raise NotImplementedError

    @property
    def has_begun(self) -> bool:
        """Whether the client's preface is whole: its SETTINGS were read."""
        raise NotImplementedError

    @property
    def open_streams(self) -> int:
        """Requests under way: those whose content comes, that wait for an answer, or whose answer is leaving."""
        raise NotImplementedError

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way and no part of one has come."""
        raise NotImplementedError

    @property
    def has_output(self) -> bool:
        """Whether `output` would give anything."""
        raise NotImplementedError

    @property
    def is_over(self) -> bool:
        """Whether nothing more is read; `output` may still have the last frames."""
        raise NotImplementedError
