"""States, numbers and concurrency of streams (RFC 9113 sections 5.1 and 5.4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.h2 import frames
from tests.h2.frame_client import FrameClient
from tests.h2.frames import END_HEADERS, END_STREAM, Code, Setting
from tests.h2.rules import Rule, case, rule
from tests.h2.serving import Serving
from tests.h2.test_framing import expect_either

Octets = Callable[[FrameClient], bytes]

ON_IDLE: list[tuple[str, Octets]] = [
    ("DATA", lambda c: frames.data(1, b"content")),
    ("RST_STREAM", lambda c: frames.rst_stream(1)),
    ("WINDOW_UPDATE", lambda c: frames.window_update(1, 100)),
    ("CONTINUATION", lambda c: frames.continuation(1, c.block(c.fields()))),
]


@pytest.mark.parametrize(
    ("rule", "octets"),
    [case("5.1", f"{name} on an idle stream is a connection error", octets, id=name) for name, octets in ON_IDLE],
)
def test_on_an_idle_stream(rule: Rule, client: FrameClient, octets: Octets) -> None:
    client.send(octets(client))
    client.expect_connection_error(Code.PROTOCOL_ERROR)


@rule("5.1", "PRIORITY is taken on an idle stream, which stays idle")
def test_priority_on_an_idle_stream(client: FrameClient) -> None:
    client.send(frames.priority(1), frames.priority(5))
    client.expect_service()


@rule("5.1", "HEADERS on a stream that only the server could open are a connection error")
@rule("5.1.1", "streams of a client have odd numbers; others are a connection error")
def test_an_even_stream(client: FrameClient) -> None:
    client.send(frames.headers(2, client.block(client.fields())))
    client.expect_connection_error(Code.PROTOCOL_ERROR)


@rule("5.1", "DATA on a stream that only the server could open is a connection error")
def test_data_on_an_even_stream(client: FrameClient) -> None:
    client.send(frames.data(2, b"x"))
    client.expect_connection_error(Code.PROTOCOL_ERROR)


@rule("5.1.1", "a stream's number exceeds those of all streams before it; others are a connection error")
def test_a_smaller_number(client: FrameClient) -> None:
    assert client.response(_ask_on(client, 5)).status == 200
    client.send(frames.headers(3, client.block(client.fields())))
    client.expect_connection_error(Code.PROTOCOL_ERROR, Code.STREAM_CLOSED)


@rule("5.1.1", "streams that were skipped are closed: DATA on one is an error")
def test_skipped_streams_are_closed(client: FrameClient) -> None:
    assert client.response(_ask_on(client, 7)).status == 200
    client.send(frames.data(3, b"x"))
    expect_either(client, 3, Code.STREAM_CLOSED, Code.PROTOCOL_ERROR)


@rule("5.1.1", "the largest stream number is served")
def test_the_last_stream(client: FrameClient) -> None:
    assert client.response(_ask_on(client, 2**31 - 1)).content == b"hello"


@rule("5.1.1", "stream 0 opens nothing: HEADERS on it are a connection error")
def test_stream_0(client: FrameClient) -> None:
    client.send(frames.headers(0, client.block(client.fields())))
    client.expect_connection_error(Code.PROTOCOL_ERROR)


BEHIND_END: list[tuple[str, Octets]] = [
    ("DATA", lambda c: frames.data(1, b"late")),
    ("HEADERS", lambda c: frames.headers(1, c.block([("x-late", "1")]))),
]


@pytest.mark.parametrize(
    ("rule", "octets"),
    [
        case(
            "5.1", f"{name} on a stream that the client ended is a stream error of type STREAM_CLOSED", octets, id=name
        )
        for name, octets in BEHIND_END
    ],
)
def test_half_closed(rule: Rule, client: FrameClient, octets: Octets) -> None:
    stream_id, head = client.head("/held/half-closed")
    client.send(head, octets(client))
    expect_either(client, stream_id, Code.STREAM_CLOSED)


@rule("5.1", "WINDOW_UPDATE and PRIORITY on a stream that the client ended are taken")
def test_half_closed_takes_windows(client: FrameClient, transport: str) -> None:
    stream_id = client.request(f"/held/taken-{transport}")
    client.send(frames.window_update(stream_id, 10), frames.priority(stream_id))
    client.ask(f"/release/taken-{transport}")
    assert client.response(stream_id).content == b"held"


@rule("5.1", "RST_STREAM on a stream that the client ended closes it, and the application stops")
@rule("6.4", "nothing is sent on a stream that the client reset")
@rule("5.4.2", "RST_STREAM is not answered by RST_STREAM")
def test_the_client_resets(client: FrameClient, serving: Serving, transport: str) -> None:
    name = f"reset-{transport}"
    stream_id = client.request(f"/held/{name}")
    client.barrier()
    client.send(frames.rst_stream(stream_id))
    client.ask(f"/release/{name}")
    client.expect_service()
    client.barrier()
    assert stream_id not in client.responses
    assert f"/held/{name}" in serving.state()["cancelled"]


ON_CLOSED: list[tuple[str, Octets]] = [
    ("WINDOW_UPDATE", lambda c: frames.window_update(1, 10)),
    ("RST_STREAM", lambda c: frames.rst_stream(1)),
    ("PRIORITY", lambda c: frames.priority(1)),
]


@pytest.mark.parametrize(
    ("rule", "octets"),
    [case("5.1", f"{name} on a closed stream is no error", octets, id=name) for name, octets in ON_CLOSED],
)
def test_closed_takes(rule: Rule, client: FrameClient, octets: Octets) -> None:
    client.response(_ask_on(client, 1))
    client.send(octets(client), octets(client))
    client.expect_service()


@pytest.mark.parametrize(
    ("rule", "octets"),
    [
        case("5.1", f"{name} on a stream that both ended is an error of type STREAM_CLOSED", octets, id=name)
        for name, octets in BEHIND_END
    ],
)
def test_closed_refuses(rule: Rule, client: FrameClient, octets: Octets) -> None:
    client.response(_ask_on(client, 1))
    client.send(octets(client))
    expect_either(client, 1, Code.STREAM_CLOSED, Code.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("rule", "octets"),
    [
        case("5.1", f"{name} on a stream that the client reset is an error of type STREAM_CLOSED", octets, id=name)
        for name, octets in BEHIND_END
    ],
)
def test_reset_refuses(rule: Rule, client: FrameClient, octets: Octets) -> None:
    stream_id, head = client.head("/held/never", "POST", is_end=False)
    client.send(head, frames.rst_stream(stream_id), octets(client))
    expect_either(client, stream_id, Code.STREAM_CLOSED, Code.PROTOCOL_ERROR)


@rule("5.1", "what was under way to a stream that the server reset is read and dropped, and changes the table")
@rule("5.4.2", "after RST_STREAM the server takes what the client sent before it knew")
def test_what_was_under_way(client: FrameClient) -> None:
    for field in (("connection", "close"), ("content-length", "many")):
        stream_id, head = client.head("/echo", "POST", [field], is_end=False)
        client.send(head)
        client.expect_malformed(stream_id)
        late = frames.headers(stream_id, client.block([("x-late", f"{field[0]} in the table")]))
        client.send(frames.data(stream_id, b"x" * 1000, 0), frames.window_update(stream_id, 5), late)
        told = client.ask("/head", extra=[("x-late", f"{field[0]} in the table")])
        assert f'["x-late", "{field[0]} in the table"]'.encode() in told.content


@rule("5.1.2", "the server says how many streams may be open, at least 100 as is advised")
def test_the_limit_is_told(client: FrameClient) -> None:
    assert 100 <= client.server_settings[Setting.MAX_CONCURRENT_STREAMS] <= 1000


@rule("5.1.2", "a stream beyond the limit is refused by a stream error of type REFUSED_STREAM")
@rule("8.7", "REFUSED_STREAM is said only of requests that the application never saw")
def test_streams_beyond_the_limit(client: FrameClient, serving: Serving, transport: str) -> None:
    limit = client.server_settings[Setting.MAX_CONCURRENT_STREAMS]
    held = [client.head(f"/held/many-{transport}") for _ in range(limit)]
    client.send(*(head for _, head in held))
    client.barrier()
    before = serving.state()["answered"]
    refused, head = client.head("/head", extra=[("x-refused", "in the table")])
    client.send(head)
    known = client.response(refused)
    assert known.reset == Code.REFUSED_STREAM
    client.send(frames.rst_stream(held[0][0]))
    told = client.ask("/head", extra=[("x-refused", "in the table")])
    assert b"x-refused" in told.content
    client.ask(f"/release/many-{transport}")
    assert all(client.response(stream_id).content == b"held" for stream_id, _ in held[1:])
    assert serving.state()["answered"] == before


@rule(
    "5.4.1", "a connection error is told by GOAWAY with the last stream that was processed, then the connection closes"
)
@rule("6.8", "GOAWAY names a stream no lower than any that was processed")
def test_the_last_stream_is_named(client: FrameClient) -> None:
    stream_id = client.request()
    client.response(stream_id)
    client.send(frames.data(0, b"x"))
    assert client.expect_connection_error(Code.PROTOCOL_ERROR).last_stream_id == stream_id


@rule("5.4.2", "a stream error leaves the other streams alone")
def test_other_streams_go_on(client: FrameClient, transport: str) -> None:
    waiting = client.request(f"/held/aside-{transport}")
    bad = client.request("/a", extra=[("Upper", "case")])
    client.expect_malformed(bad)
    client.ask(f"/release/aside-{transport}")
    assert client.response(waiting).content == b"held"


@rule("5.4.3", "a client that goes away takes its requests with it")
def test_the_client_goes_away(client: FrameClient, serving: Serving, transport: str) -> None:
    client.request(f"/held/gone-{transport}")
    client.barrier()
    client.abort()
    serving.wait_until(lambda state: f"/held/gone-{transport}" in state["cancelled"])


@rule("5.4.3", "a client that sends nothing more gives no windows: what waits for one ends")
def test_the_client_sends_no_more(client: FrameClient, serving: Serving) -> None:
    client.gives_windows = False
    before = serving.state()["tasks"]
    stream_id = client.request("/stream")
    client.content_of(stream_id, frames.INITIAL_WINDOW)
    client.end_sending()
    serving.wait_until(lambda state: state["tasks"] <= before)


def _ask_on(client: FrameClient, stream_id: int) -> int:
    client.send(frames.headers(stream_id, client.block(client.fields()), END_HEADERS | END_STREAM))
    if stream_id < 2**31 - 1:
        client._next_id = stream_id + 2
    return stream_id
