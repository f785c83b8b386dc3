"""Flow control in both directions (RFC 9113 sections 5.2 and 6.9)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.h2 import frames
from tests.h2.frame_client import FrameClient
from tests.h2.frames import INITIAL_WINDOW, MAX_WINDOW, PADDED, Code, Kind, Setting
from tests.h2.rules import Rule, case, rule
from tests.h2.served import BIG_BYTES, pattern

Connect = Callable[[], FrameClient]


@pytest.fixture
def stingy(connect: Connect) -> FrameClient:
    """A client that gives windows only when a test says so."""
    client = connect()
    client.gives_windows = False
    return client


def received(client: FrameClient, *streams: tuple[int, int]) -> list[int]:
    """How much of each has come, when at least as much has come as is said."""
    return [client.content_of(stream_id, size) for stream_id, size in streams]


@rule("5.2.1", "without SETTINGS and WINDOW_UPDATE windows are 65,535 octets, and no more is sent")
@rule("6.9.2", "windows begin at 65,535 octets")
@pytest.mark.parametrize("path", ["/big", "/stream", "/sized"])
def test_the_windows_at_first(stingy: FrameClient, path: str) -> None:
    stream_id = stingy.start().request(path)
    assert stingy.content_of(stream_id, INITIAL_WINDOW) == INITIAL_WINDOW
    stingy.send(frames.window_update(stream_id, 1000))
    assert stingy.content_of(stream_id, INITIAL_WINDOW) == INITIAL_WINDOW, "the connection's window is at its end"
    stingy.send(frames.window_update(0, 500))
    assert stingy.content_of(stream_id, INITIAL_WINDOW + 500) == INITIAL_WINDOW + 500
    stingy.send(frames.window_update(0, 500), frames.window_update(0, 500))
    assert stingy.content_of(stream_id, INITIAL_WINDOW + 1000) == INITIAL_WINDOW + 1000, (
        "the stream's window is at its end"
    )
    assert stingy.responses[stream_id].content == pattern(BIG_BYTES)[: INITIAL_WINDOW + 1000]


@rule("6.9.1", "the connection's window holds for all streams together")
def test_the_window_of_the_connection(stingy: FrameClient) -> None:
    stingy.start({Setting.INITIAL_WINDOW_SIZE: 40_000})
    streams = [stingy.request("/big") for _ in range(4)]
    stingy.read_until(lambda _: sum(len(known.content) for known in stingy.responses.values()) >= INITIAL_WINDOW)
    assert sum(received(stingy, *((at, 0) for at in streams))) == INITIAL_WINDOW
    stingy.send(frames.window_update(0, 2**20))
    assert received(stingy, *((at, 40_000) for at in streams)) == [40_000] * 4


@rule("5.2.1", "DATA alone is held back by windows: heads, and what answers control frames, are not")
def test_what_is_not_held_back(stingy: FrameClient) -> None:
    stingy.start({Setting.INITIAL_WINDOW_SIZE: 0})
    big, empty = stingy.request("/big"), stingy.request("/empty")
    head = stingy.request("/a", "HEAD")
    assert stingy.response(empty).status == 200
    assert stingy.response(head).fields["content-length"] == "5"
    assert stingy.content_of(big, 0) == 0
    assert stingy.responses[big].status == 200, "its head is here"


@rule("6.9.1", "DATA without octets may end a stream that has no window")
def test_an_end_needs_no_window(stingy: FrameClient) -> None:
    stingy.start({Setting.INITIAL_WINDOW_SIZE: 5})
    assert stingy.response(stingy.request("/a")).content == b"hello"
    assert stingy.response(stingy.request("/bytes/0")).content == b""


@rule("6.9.2", "a larger SETTINGS_INITIAL_WINDOW_SIZE gives open streams the difference")
def test_windows_of_open_streams_grow(stingy: FrameClient) -> None:
    stingy.start({Setting.INITIAL_WINDOW_SIZE: 1000})
    streams = [stingy.request("/big"), stingy.request("/stream")]
    assert received(stingy, *((at, 1000) for at in streams)) == [1000, 1000]
    stingy.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 3000}))
    assert received(stingy, *((at, 3000) for at in streams)) == [3000, 3000]


@rule(
    "6.9.2", "a smaller SETTINGS_INITIAL_WINDOW_SIZE may make windows negative; nothing is sent until they are positive"
)
def test_windows_of_open_streams_shrink(stingy: FrameClient) -> None:
    stingy.start({Setting.INITIAL_WINDOW_SIZE: 3000})
    stream_id = stingy.request("/big")
    assert stingy.content_of(stream_id, 3000) == 3000
    stingy.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1000}), frames.window_update(stream_id, 1999))
    assert stingy.content_of(stream_id, 3000) == 3000
    stingy.send(frames.window_update(stream_id, 1))
    assert stingy.content_of(stream_id, 3000) == 3000
    stingy.send(frames.window_update(stream_id, 10))
    assert stingy.content_of(stream_id, 3010) == 3010


@rule("6.9.2", "SETTINGS do not change the connection's window")
def test_settings_leave_the_connection_alone(stingy: FrameClient) -> None:
    stingy.start({Setting.INITIAL_WINDOW_SIZE: 2**20})
    stream_id = stingy.request("/big")
    assert stingy.content_of(stream_id, INITIAL_WINDOW) == INITIAL_WINDOW
    stingy.send(frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**21}))
    assert stingy.content_of(stream_id, INITIAL_WINDOW) == INITIAL_WINDOW


@rule("5.2.2", "frames are read while an answer waits for its window: the window may be among them")
def test_frames_are_read_meanwhile(stingy: FrameClient) -> None:
    stingy.start({Setting.INITIAL_WINDOW_SIZE: 10})
    big = stingy.request("/big")
    for _ in range(50):
        small = stingy.request("/a")
        assert stingy.response(small).content == b"hello"
    stingy.send(frames.window_update(big, BIG_BYTES), frames.window_update(0, BIG_BYTES))
    assert stingy.response(big).content == pattern(BIG_BYTES)


@rule("6.9.1", "a WINDOW_UPDATE beyond 2^31-1 of a stream is a stream error of type FLOW_CONTROL_ERROR")
def test_overflow_of_a_stream(stingy: FrameClient) -> None:
    stingy.start({Setting.INITIAL_WINDOW_SIZE: 10})
    stream_id = stingy.request("/held/overflow-of-stream")
    stingy.send(frames.window_update(stream_id, MAX_WINDOW))
    stingy.expect_stream_error(stream_id, Code.FLOW_CONTROL_ERROR)


@rule("6.9.1", "a WINDOW_UPDATE beyond 2^31-1 of the connection is a connection error of type FLOW_CONTROL_ERROR")
def test_overflow_of_the_connection(client: FrameClient) -> None:
    client.send(frames.window_update(0, MAX_WINDOW))
    client.expect_connection_error(Code.FLOW_CONTROL_ERROR)


@rule("6.9.1", "windows up to 2^31-1 are no error")
def test_the_largest_windows(client: FrameClient) -> None:
    stream_id, head = client.head("/held/large", is_end=True)
    client.send(
        head,
        frames.window_update(stream_id, MAX_WINDOW - INITIAL_WINDOW),
        frames.window_update(0, MAX_WINDOW - INITIAL_WINDOW),
    )
    client.gives_windows = False
    client.expect_service()


@rule(
    "6.9.2",
    "SETTINGS that make a stream's window exceed 2^31-1 are a connection error of type FLOW_CONTROL_ERROR",
)
def test_overflow_by_settings(stingy: FrameClient) -> None:
    stingy.start({Setting.INITIAL_WINDOW_SIZE: 10})
    stream_id = stingy.request("/held/overflow")
    stingy.send(frames.window_update(stream_id, MAX_WINDOW - 10), frames.settings({Setting.INITIAL_WINDOW_SIZE: 11}))
    stingy.expect_connection_error(Code.FLOW_CONTROL_ERROR)


@rule("6.9", "an increment of 0 for a stream is a stream error of type PROTOCOL_ERROR")
def test_no_increment_of_a_stream(stingy: FrameClient) -> None:
    stingy.start({Setting.INITIAL_WINDOW_SIZE: 10})
    stream_id = stingy.request("/big")
    stingy.send(frames.window_update(stream_id, 0))
    stingy.expect_stream_error(stream_id, Code.PROTOCOL_ERROR)


WRONG_UPDATES = [
    (
        "zero",
        "an increment of 0 for the connection is a connection error",
        frames.window_update(0, 0),
        Code.PROTOCOL_ERROR,
    ),
    (
        "short",
        "WINDOW_UPDATE of less than 4 octets is a connection error of type FRAME_SIZE_ERROR",
        frames.frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\1"),
        Code.FRAME_SIZE_ERROR,
    ),
    (
        "long",
        "WINDOW_UPDATE of more than 4 octets is a connection error of type FRAME_SIZE_ERROR",
        frames.frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\1\0"),
        Code.FRAME_SIZE_ERROR,
    ),
    (
        "empty",
        "WINDOW_UPDATE without an increment is a connection error of type FRAME_SIZE_ERROR",
        frames.frame(Kind.WINDOW_UPDATE),
        Code.FRAME_SIZE_ERROR,
    ),
]


@pytest.mark.parametrize(
    ("rule", "octets", "code"),
    [case("6.9", sentence, octets, code, id=name) for name, sentence, octets, code in WRONG_UPDATES],
)
def test_wrong_updates(rule: Rule, client: FrameClient, octets: bytes, code: Code) -> None:
    client.send(octets)
    client.expect_connection_error(code)


@rule("6.9", "a stream's WINDOW_UPDATE of another length than 4 octets is a connection error of type FRAME_SIZE_ERROR")
def test_wrong_length_on_a_stream(client: FrameClient) -> None:
    stream_id = client.request("/held/length")
    client.send(frames.frame(Kind.WINDOW_UPDATE, 0, stream_id, b"\0\0\0\0\1"))
    client.expect_connection_error(Code.FRAME_SIZE_ERROR)


def upload(client: FrameClient, stream_id: int, content: bytes, padding: int = 0) -> None:
    """Send all of it as the windows allow, padding counted."""
    room = client.server_settings.get(Setting.INITIAL_WINDOW_SIZE, INITIAL_WINDOW)
    overhead = padding + 1 if padding else 0
    sent = 0
    while content:
        size = min(client.window, room + client.added.get(stream_id, 0) - sent, 16_384) - overhead
        if size <= 0:
            client.read_until(lambda read: read.is_of(Kind.WINDOW_UPDATE))
            continue
        part, content = content[:size], content[size:]
        flags = PADDED if padding else 0
        client.send(frames.data(stream_id, frames.padded(part, padding) if padding else part, flags))
        sent += len(part) + overhead
        client.window -= len(part) + overhead


@rule("6.9.1", "WINDOW_UPDATE is sent for the stream and for the connection as content is read")
@rule("6.1", "padding counts in flow control, and is given back")
@pytest.mark.parametrize("padding", [0, 255])
def test_uploads(connect: Connect, padding: int) -> None:
    client = connect().start()
    content = pattern(400_000)
    for _ in range(2):
        stream_id, head = client.head("/echo", "POST", is_end=False)
        client.send(head)
        upload(client, stream_id, content, padding)
        client.send(frames.data(stream_id))
        assert client.response(stream_id).content.endswith(content)


@rule("6.1", "DATA of padding alone counts, and is given back")
def test_padding_alone_is_given_back(client: FrameClient) -> None:
    stream_id, head = client.head("/counted/padding-alone", "POST", is_end=False)
    client.send(head)
    room = client.server_settings.get(Setting.INITIAL_WINDOW_SIZE, INITIAL_WINDOW)
    frame = frames.data(stream_id, frames.padded(b"", 255), PADDED)
    for sent in range(0, room + 5 * 256, 256):
        while room + client.added.get(stream_id, 0) - sent < 256:
            client.read_until(lambda read: read.is_of(Kind.WINDOW_UPDATE, stream_id))
        client.send(frame)
    client.send(frames.data(stream_id, b"end"))
    assert client.response(stream_id).content.isdigit()


@rule("6.9.1", "content beyond a stream's window is an error of type FLOW_CONTROL_ERROR")
def test_content_beyond_the_window(client: FrameClient, transport: str) -> None:
    window = client.server_settings.get(Setting.INITIAL_WINDOW_SIZE, INITIAL_WINDOW)
    stream_id, head = client.head(f"/read-held/beyond-{transport}", "POST", is_end=False)
    client.send(head)
    client.barrier()
    parts = [frames.data(stream_id, b"x" * 16_384, 0) for _ in range(window // 16_384 + 1)]
    client.send(*parts)
    known: set[int] = set()

    def is_error(read: frames.Frame) -> bool:
        known.add(read.kind)
        return read.kind in (Kind.RST_STREAM, Kind.GOAWAY)

    assert client.read_until(is_error)[-1].code == Code.FLOW_CONTROL_ERROR
    assert Kind.WINDOW_UPDATE not in known, "nobody has read"


@rule("6.9", "DATA of streams that are in error counts for the connection's window, and is given back")
@rule("6.1", "DATA on a stream that is not open is an error of that stream, and is counted")
def test_data_in_error_is_given_back(client: FrameClient) -> None:
    for _ in range(16):
        stream_id, head = client.head("/echo", "POST", [("connection", "close")], is_end=False)
        client.send(head)
        upload(client, stream_id, b"x" * 60_000)
        client.send(frames.data(stream_id))
        client.expect_malformed(stream_id)
    assert client.window > 0


@rule("8.1", "content that the application does not read is given back to the connection's window")
def test_unread_content_is_given_back(client: FrameClient) -> None:
    for _ in range(30):
        stream_id, head = client.head("/unread", "POST", is_end=False)
        client.send(head)
        upload(client, stream_id, b"x" * 16_384)
        client.send(frames.data(stream_id))
        assert client.response(stream_id).status == 405
        client.barrier()
    client.expect_service()
