"""A connection on a transport without a socket: order, memo, content, refusals, timeouts, back-pressure, drain."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.edge.connection import H1Connection
from cdn.edge.limits import HttpLimits
from cdn.edge.prepared import JOINED_BYTES
from tests.edge.engine_application import EchoApplication, Stream, prepared_of
from tests.edge.engine_bad_heads import BAD_CHUNKS, BAD_REQUESTS, HOST
from tests.edge.engine_responses import Received, read_responses
from tests.edge.engine_transport import Client, settle


def get(path: str = "/a", fields: bytes = b"", version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    return method + b" " + path.encode() + b" HTTP/" + version + b"\r\n" + HOST + fields + b"\r\n"


def post(content: bytes, path: str = "/echo", fields: bytes = b"") -> bytes:
    return get(path, b"Content-Length: %d\r\n" % len(content) + fields, method=b"POST") + content


def is_unheard(client: Client) -> bool:
    """Whether the server does not read from this client."""
    return client.transport.is_reading_paused


@pytest.fixture
def application() -> EchoApplication:
    application = EchoApplication()
    application.remember("/a", b"hello")
    application.remember("/large", b"x" * (JOINED_BYTES + 1))
    return application


@pytest.fixture
def client(application: EchoApplication) -> Client:
    return Client(application)


# -- hits --------------------------------------------------------------------------------------------------------------


async def test_a_head_that_comes_again_is_remembered(application: EchoApplication, client: Client) -> None:
    for _ in range(4):
        client.send(get())
    assert application.recalled == ["/a", "/a"]
    assert client.service.counters.memo_hits == 2
    assert len(client.transport.writes) == 4
    responses = read_responses(client.transport.sent)
    assert [response.content for response in responses] == [b"hello"] * 4
    assert not any(response.closes for response in responses)


@pytest.mark.parametrize("path", ["/a", "/large"])
async def test_head_says_the_same_as_get(client: Client, path: str) -> None:
    for _ in range(2):
        client.send(get(path))
        client.send(get(path, method=b"HEAD"))
    responses = read_responses(client.transport.sent, ["GET", "HEAD"] * 2)
    assert {tuple(response.fields.items()) for response in responses} == {tuple(responses[0].fields.items())}
    assert [bool(response.content) for response in responses] == [True, False] * 2


async def test_a_remembered_head_ends_with_the_generation(application: EchoApplication, client: Client) -> None:
    client.send(get())
    client.send(get())
    application.site.generation += 1
    application.remember("/a", b"new")
    client.send(get())
    client.send(get())
    contents = [response.content for response in read_responses(client.transport.sent)]
    assert contents == [b"hello", b"hello", b"new", b"new"]
    assert application.recalled == ["/a", "/a", "/a"], "it is remembered again at once"


async def test_a_remembered_head_ends_with_its_time(application: EchoApplication, client: Client) -> None:
    application.memory["/a"] = prepared_of(b"old", site=application.site, fresh_until=1010.0)
    client.send(get())
    client.send(get())
    client.now = 1010.0
    client.send(get())
    await settle()
    assert application.answered == ["/a"], "what may not be sent is not sent, though the application still recalls it"


async def test_a_retired_response_is_not_sent(application: EchoApplication, client: Client) -> None:
    client.send(get())
    client.send(get())
    application.memory.pop("/a").retire()
    client.send(get())
    await settle()
    assert [response.content for response in read_responses(client.transport.sent)] == [
        b"hello",
        b"hello",
        b"GET a.example /a None ",
    ]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_request_with_content_is_not_recalled(
    application: EchoApplication, client: Client, method: bytes
) -> None:
    client.send(get(fields=b"Content-Length: 1\r\n", method=method) + b"x")
    await settle()
    assert application.recalled == []
    assert application.answered == ["/a"]


async def test_pipelined_hits_are_answered_in_one_write(client: Client) -> None:
    client.send(get() * 20)
    assert len(client.transport.writes) == 1
    assert len(read_responses(client.transport.sent)) == 20


async def test_one_write_is_bounded(application: EchoApplication) -> None:
    client = Client(application, HttpLimits(max_pipelined=8))
    client.send(get() * 20)
    assert [len(read_responses(write)) for write in client.transport.writes] == [8, 8, 4]


@pytest.mark.parametrize(("fields", "version"), [(b"Connection: close\r\n", b"1.1"), (b"", b"1.0")])
@pytest.mark.parametrize(("path", "method"), [("/a", b"GET"), ("/large", b"GET"), ("/a", b"HEAD"), ("/echo", b"GET")])
async def test_a_client_that_wants_no_more_is_told_and_left(
    application: EchoApplication, client: Client, fields: bytes, version: bytes, path: str, method: bytes
) -> None:
    client.send(get(path, fields, version, method) + get())
    await settle()
    (response,) = read_responses(client.transport.sent, [method.decode()])
    assert response.closes
    assert client.transport.is_closed
    assert len(application.recalled) == 1, "what came behind is not looked at"


# -- the order of responses --------------------------------------------------------------------------------------------


async def test_responses_keep_the_order_of_requests(application: EchoApplication, client: Client) -> None:
    application.gate = asyncio.Event()
    client.send(get("/a") + get("/slow") + get("/a") + get("/slower"))
    client.send(get("/a"))
    await settle()
    assert len(read_responses(client.transport.sent)) == 1
    application.gate.set()
    await settle()
    contents = [response.content.split()[-2:] for response in read_responses(client.transport.sent)]
    assert contents == [[b"hello"], [b"/slow", b"None"], [b"hello"], [b"/slower", b"None"], [b"hello"]]


async def test_what_waits_behind_a_slow_response_is_bounded(application: EchoApplication) -> None:
    application.gate = asyncio.Event()
    client = Client(application, HttpLimits(max_backlog_bytes=1000))
    client.send(get("/slow"))
    await settle()
    sent = 0
    while not is_unheard(client):
        client.send(get())
        sent += 1
    assert sent * len(get()) < 1000 + 2 * len(get())
    application.gate.set()
    await settle()
    assert not is_unheard(client)
    assert len(read_responses(client.transport.sent)) == sent + 1


async def test_a_client_that_does_not_read_is_not_answered_on(application: EchoApplication) -> None:
    client = Client(application, HttpLimits(max_backlog_bytes=1000))
    client.transport.high_bytes = 50_000
    client.send(get("/large") * 40)
    assert len(read_responses(client.transport.sent)) == 2
    assert is_unheard(client)
    while client.transport.waiting_bytes:
        client.transport.unblock()
    assert not is_unheard(client)
    assert len(read_responses(client.transport.sent)) == 40


# -- answers of the application ----------------------------------------------------------------------------------------


async def test_a_stream_is_sent_as_the_client_takes_it(application: EchoApplication, client: Client) -> None:
    stream = application.streams["/s"] = Stream((b"x" * 600,) * 5, 3000)
    client.transport.high_bytes = 1000
    client.send(get("/s"))
    await settle()
    assert stream.given == 2
    for _ in range(4):
        client.transport.unblock()
        await settle()
    (response,) = read_responses(client.transport.sent)
    assert len(response.content) == 3000
    assert stream.closed == 1
    client.send(get())
    assert len(read_responses(client.transport.sent)) == 2


async def test_who_takes_as_fast_as_is_sent_does_not_keep_the_loop(
    application: EchoApplication, client: Client
) -> None:
    stream = application.streams["/s"] = Stream((b"x" * 600,) * 30, 18_000)
    client.send(get("/s"))
    for _ in range(3):
        await asyncio.sleep(0)
        assert stream.given < 15, "nobody else had a turn"
    while stream.closed == 0:
        await asyncio.sleep(0)
    (response,) = read_responses(client.transport.sent)
    assert len(response.content) == 18_000


async def test_what_was_not_written_because_the_client_left_is_not_counted(
    application: EchoApplication, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def send_file(connection: H1Connection, content: bytes | memoryview) -> bool:
        client.transport.is_closed = True
        return False

    monkeypatch.setattr(H1Connection, "send_file", send_file)
    application.streams["/s"] = Stream((b"x" * 600,) * 2, 1200)
    client.send(get("/s"))
    await settle()
    client.connection.connection_lost(None)
    assert client.service.traffic.numbers()["content_bytes HTTP/1.1"] == 0
    assert caplog.text == ""


@pytest.mark.parametrize("size", [5, 2, 4])
async def test_a_stream_of_another_size_resets(application: EchoApplication, client: Client, size: int) -> None:
    stream = application.streams["/s"] = Stream((b"ab", b"c"), size)
    client.send(get("/s"))
    await settle()
    assert client.transport.is_aborted
    assert stream.closed == 1
    assert len(client.transport.sent.partition(b"\r\n\r\n")[2]) <= size


async def test_the_stream_of_head_is_closed_unread(application: EchoApplication, client: Client) -> None:
    stream = application.streams["/s"] = Stream((b"abc",), 3)
    client.send(get("/s", method=b"HEAD"))
    await settle()
    (response,) = read_responses(client.transport.sent, ["HEAD"])
    assert response.fields["content-length"] == "3"
    assert (stream.given, stream.closed) == (0, 1)


async def test_a_client_that_goes_away_ends_stream_and_answer(application: EchoApplication, client: Client) -> None:
    stream = application.streams["/s"] = Stream((b"abc",), 3, gate=asyncio.Event())
    client.send(get("/s"))
    await settle()
    client.connection.connection_lost(None)
    await settle()
    assert stream.closed == 1
    application.gate = asyncio.Event()
    client.reconnect()
    client.send(get("/slow"))
    await settle()
    client.connection.connection_lost(ConnectionResetError())
    await settle()
    assert application.cancelled == ["/slow"]
    assert client.service.connections == set()


async def test_nothing_is_written_to_a_client_that_was_faster(application: EchoApplication, client: Client) -> None:
    for path in ("/slow", "/fails"):
        application.gate = asyncio.Event()
        client.reconnect()
        client.send(get(path))
        await settle()
        client.transport.is_closed = True  # reset by the client; the loop has not told the connection yet
        application.gate.set()
        await settle()
        client.connection.connection_lost(None)
        assert client.transport.sent == b""


async def test_statuses_without_content(client: Client) -> None:
    client.send(get("/nothing") + get("/same") + get("/a"))
    await settle()
    responses = read_responses(client.transport.sent)
    assert [response.status for response in responses] == [204, 304, 200]
    assert "content-length" not in responses[0].fields
    assert "content-length" not in responses[1].fields


@pytest.mark.parametrize("path", ["/fails", "/splits"])
async def test_an_application_that_fails_gives_a_plain_500(
    client: Client, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        client.send(get(path))
        await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.status == 500
    assert response.fields["cache-status"] == "edge; detail=internal-error"
    assert b"Traceback" not in response.content
    assert b"on purpose" not in response.content
    assert "no answer for GET a.example" in caplog.text


# -- content of requests -----------------------------------------------------------------------------------------------


async def test_content_reaches_the_application(client: Client) -> None:
    chunked = get("/echo", b"Transfer-Encoding: chunked\r\n", method=b"POST") + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    client.send(post(b"hello") + chunked + post(b"") + get())
    await settle()
    contents = [response.content.split(b" ")[-1] for response in read_responses(client.transport.sent)]
    assert contents == [b"hello", b"hello", b"", b"hello"]


async def test_expect_is_answered_when_the_content_is_wanted(client: Client) -> None:
    data = post(b"hello", fields=b"Expect: 100-continue\r\n")
    client.send(data[:-5])
    await settle()
    assert client.transport.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(data[-5:])
    await settle()
    assert [response.status for response in read_responses(client.transport.sent)] == [100, 200]
    assert not client.transport.is_over


async def test_expect_is_not_answered_when_the_content_came_unasked(client: Client) -> None:
    client.send(post(b"hello", fields=b"Expect: 100-continue\r\n"))
    await settle()
    assert [response.status for response in read_responses(client.transport.sent)] == [200]


async def test_expect_is_not_answered_when_nobody_reads(client: Client) -> None:
    client.send(post(b"hello", "/unread", b"Expect: 100-continue\r\n")[:-5])
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.status == 405
    assert response.closes, "the client may or may not send the content now"
    assert client.transport.is_over


async def test_small_unread_content_is_thrown_away(client: Client) -> None:
    data = post(b"hello" * 100, "/unread") + get()
    client.send(data[:200])
    await settle()
    client.send(data[200:])
    await settle()
    first, second = read_responses(client.transport.sent)
    assert (first.status, first.closes, second.content) == (405, False, b"hello")


async def test_large_unread_content_ends_the_connection(application: EchoApplication) -> None:
    client = Client(application, HttpLimits(max_drain_bytes=1000))
    client.send(post(b"x" * 5000, "/unread")[:500])
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.closes
    assert client.transport.has_ended
    assert not client.transport.is_closed, "it lingers, so that the client reads the answer"
    client.pass_time(2.0)
    assert client.transport.is_aborted


async def test_unread_chunked_content_ends_the_connection_at_the_bound(application: EchoApplication) -> None:
    client = Client(application, HttpLimits(max_drain_bytes=1000))
    client.send(get("/unread", b"Transfer-Encoding: chunked\r\n", method=b"POST"))
    await settle()
    for _ in range(6):
        assert not client.transport.is_over
        client.send(b"c8\r\n" + b"x" * 200 + b"\r\n")
    assert client.transport.has_ended


async def test_waiting_content_is_bounded(application: EchoApplication) -> None:
    application.gate = asyncio.Event()
    client = Client(application, HttpLimits(max_content_buffer_bytes=1000))
    content = b"x" * 10_000
    data = post(content)
    place = 0
    while not is_unheard(client):
        client.send(data[place : place + 300])
        place += 300
        await settle()
    assert place < 2000
    application.gate.set()
    await settle()
    assert not is_unheard(client)
    await client.send_parts(data[start : start + 300] for start in range(place, len(data), 300))
    (response,) = read_responses(client.transport.sent)
    assert response.content.endswith(content)


async def test_content_larger_than_the_application_takes_is_413(application: EchoApplication, client: Client) -> None:
    application.max_content_bytes = 10
    client.send(post(b"x" * 11))
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.status == 413


@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_bad_chunks_end_the_answer(application: EchoApplication, client: Client, name: str) -> None:
    head = get("/echo", b"Transfer-Encoding: chunked\r\n", method=b"POST")
    client.send(head)
    await settle()
    client.send(BAD_CHUNKS[name])
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.status == 400
    assert response.fields["cache-status"] == "edge; detail=malformed-chunk"
    assert application.cancelled == ["/echo"]
    assert client.transport.has_ended


async def test_a_fault_after_the_response_lets_the_response_be(client: Client) -> None:
    client.send(get("/unread", b"Transfer-Encoding: chunked\r\n", method=b"POST"))
    await settle()
    client.send(b"zz\r\n")
    (response,) = read_responses(client.transport.sent)
    assert response.status == 405
    assert client.transport.has_ended


# -- refusals ----------------------------------------------------------------------------------------------------------


def check_refusal(response: Received, status: int, detail: str) -> None:
    assert response.status == status
    assert response.closes
    assert response.fields["content-type"] == "text/plain; charset=utf-8"
    assert response.fields["cache-control"] == "no-store"
    assert response.fields["cache-status"].startswith("edge; detail=" + detail)
    assert response.content.startswith(str(status).encode())
    assert len(response.content) < 300


@pytest.mark.parametrize("name", BAD_REQUESTS)
@pytest.mark.parametrize("behind", [b"", get()])
async def test_bad_input_is_answered_and_never_handed_on(
    application: EchoApplication, client: Client, name: str, behind: bytes
) -> None:
    data, status, detail = BAD_REQUESTS[name]
    client.send(data + behind)
    await settle()
    (response,) = read_responses(client.transport.sent)
    check_refusal(response, status, detail)
    assert client.transport.has_ended
    assert application.recalled == application.answered == []
    client.send(get())
    await settle()
    assert application.recalled == []
    assert sum(client.service.counters.refused.values()) == 1


async def test_bad_input_behind_good_is_answered_in_order(application: EchoApplication, client: Client) -> None:
    data, status, detail = BAD_REQUESTS["missing host"]
    client.send(get() + get("/echo") + data)
    await settle()
    responses = read_responses(client.transport.sent)
    assert [response.status for response in responses] == [200, 200, 400]
    check_refusal(responses[-1], status, detail)


@pytest.mark.parametrize("data", [b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\nA: b\n"])
async def test_a_refused_head_request_gets_no_content(client: Client, data: bytes) -> None:
    client.send(data)
    (response,) = read_responses(client.transport.sent, ["HEAD"])
    assert (response.status, response.content) == (400, b"")


async def test_too_many_connections_get_503(application: EchoApplication) -> None:
    client = Client(application, HttpLimits(max_connections=1))
    first = client.transport
    client.reconnect()
    (response,) = read_responses(client.transport.sent)
    check_refusal(response, 503, "too-many-connections")
    assert not first.is_over


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\n", get()[:-1]])
async def test_a_head_that_dribbles_gets_408(client: Client, start: bytes) -> None:
    client.send(get())
    client.send(start)
    for byte in b"abcdefghi":
        client.pass_time(1.0)
        if start != get()[:-1]:
            client.send(bytes([byte]))
    assert not client.transport.is_over
    client.pass_time(1.0)
    responses = read_responses(client.transport.sent)
    check_refusal(responses[-1], 408, "head-timeout")
    assert client.transport.has_ended


async def test_an_idle_connection_is_closed_without_a_word(client: Client) -> None:
    client.send(get())
    client.pass_time(74.0)
    assert not client.transport.is_over
    client.send(get())
    client.pass_time(74.0)
    assert not client.transport.is_over
    client.pass_time(1.0)
    assert client.transport.is_closed
    assert [response.status for response in read_responses(client.transport.sent)] == [200, 200]


async def test_content_that_dribbles_gets_408(application: EchoApplication, client: Client) -> None:
    data = post(b"x" * 1000)
    client.send(data[:-900])
    await settle()
    for _ in range(29):
        client.pass_time(1.0)
        client.send(b"x")
        await settle()
    assert not client.transport.is_over
    client.pass_time(1.2)
    await settle()
    (response,) = read_responses(client.transport.sent)
    check_refusal(response, 408, "content-timeout")
    assert application.cancelled == ["/echo"]


async def test_content_that_comes_steadily_may_take_long(client: Client) -> None:
    client.send(post(b"x" * 100_000)[:-100_000])
    for _ in range(50):
        client.send(b"x" * 2000)
        await settle()
        client.pass_time(1.5)
    await settle()
    assert [response.status for response in read_responses(client.transport.sent)] == [200]


async def test_a_slow_application_is_not_the_client_s_fault(application: EchoApplication) -> None:
    application.gate = asyncio.Event()
    client = Client(application, HttpLimits(max_content_buffer_bytes=1000))
    data = post(b"x" * 3000)
    client.send(data[:2000])
    await settle()
    assert is_unheard(client)
    client.pass_time(1000.0)
    application.gate.set()
    await settle()
    client.pass_time(29.0)
    assert not client.transport.is_over
    client.send(data[2000:])
    await settle()
    assert [response.status for response in read_responses(client.transport.sent)] == [200]


async def test_time_for_content_starts_when_it_was_asked_for(application: EchoApplication, client: Client) -> None:
    application.gate = asyncio.Event()
    client.send(post(b"hello", fields=b"Expect: 100-continue\r\n")[:-5])
    await settle()
    client.pass_time(1000.0)
    application.gate.set()
    await settle()
    client.pass_time(29.0)
    assert not client.transport.is_over
    client.pass_time(1.0)
    assert read_responses(client.transport.sent)[-1].status == 408


async def test_a_client_that_takes_nothing_is_reset(application: EchoApplication, client: Client) -> None:
    stream = application.streams["/s"] = Stream((b"x" * 2048,) * 5, 10_240)
    client.transport.high_bytes = 1000
    client.send(get("/s"))
    await settle()
    client.pass_time(61.0)
    assert not client.transport.is_over
    client.pass_time(2.0)
    assert client.transport.is_aborted
    assert client.service.counters.timed_out == 1
    client.connection.connection_lost(None)
    await settle()
    assert stream.closed == 1


async def test_a_closed_connection_that_cannot_be_flushed_is_reset(client: Client) -> None:
    client.send(get(fields=b"Connection: close\r\n"))
    client.pass_time(59.0)
    assert not client.transport.is_aborted
    client.pass_time(1.0)
    assert client.transport.is_aborted


# -- endings -----------------------------------------------------------------------------------------------------------


async def test_what_was_asked_before_the_client_s_end_is_answered(client: Client) -> None:
    client.send(get("/echo") + get())
    assert client.connection.eof_received()
    await settle()
    assert len(read_responses(client.transport.sent)) == 2
    assert client.transport.is_closed


async def test_the_client_s_end_closes_an_idle_connection(client: Client) -> None:
    client.send(get())
    client.connection.eof_received()
    assert client.transport.is_closed


@pytest.mark.parametrize("data", [b"GET", get()[:-2], post(b"hello")[:-1]])
async def test_the_client_s_end_inside_a_message_gets_400(client: Client, data: bytes) -> None:
    client.send(data)
    await settle()
    client.connection.eof_received()
    await settle()
    (response,) = read_responses(client.transport.sent)
    check_refusal(response, 400, "incomplete-request")
    assert client.transport.is_closed


async def test_who_reads_slowly_has_the_last_answer_whole(client: Client) -> None:
    limits = client.service.limits
    client.transport.high_bytes = 10
    client.send(post(b"", "/unread").replace(b"Content-Length: 0", b"Content-Length: %d" % 10**6))
    await settle()
    client.transport.waiting_bytes = 100
    client.connection.resume_writing()
    await settle()
    assert client.transport.has_ended
    client.pass_time(limits.linger_s + 1)
    assert not client.transport.is_aborted
    client.transport.waiting_bytes = 0
    client.pass_time(limits.linger_s - 0.5)
    assert not client.transport.is_aborted
    client.pass_time(0.5)
    assert client.transport.is_aborted


async def test_who_reads_nothing_of_the_last_answer_is_left(client: Client) -> None:
    limits = client.service.limits
    client.transport.high_bytes = 10
    client.send(post(b"", "/unread").replace(b"Content-Length: 0", b"Content-Length: %d" % 10**6))
    await settle()
    assert client.transport.has_ended
    size = client.transport.waiting_bytes
    client.transport.waiting_bytes = 5
    client.connection.resume_writing()
    client.pass_time(limits.write_timeout_s + size / limits.min_transfer_rate_bytes_per_s + 1)
    assert client.transport.is_aborted


async def test_the_client_s_end_ends_lingering(client: Client) -> None:
    client.send(b"TRACE / HTTP/1.1\r\n")
    assert client.transport.has_ended
    client.connection.eof_received()
    assert client.transport.is_closed


async def test_an_empty_line_between_messages_says_nothing(client: Client) -> None:
    for _ in range(3):
        client.send(get())
        client.send(b"\r\n")
        client.pass_time(60.0)
    client.pass_time(14.0)
    assert not client.transport.is_over
    client.connection.eof_received()
    assert client.transport.is_closed
    assert [response.status for response in read_responses(client.transport.sent)] == [200] * 3


async def test_a_slow_client_has_its_time_for_the_last_response(client: Client) -> None:
    """The bytes that wait count, at the slowest rate that is allowed, though the connection is closed behind them."""
    client.transport.high_bytes = 1024
    client.send(get("/large", b"Connection: close\r\n"))
    assert client.transport.is_closed
    limits = client.service.limits
    transfer_s = client.transport.waiting_bytes / limits.min_transfer_rate_bytes_per_s
    client.pass_time(limits.write_timeout_s + transfer_s - 1)
    assert not client.transport.is_aborted
    client.connection.resume_writing()  # part of it was taken: no reason to wait for the rest for ever
    client.pass_time(2)
    assert client.service.counters.timed_out == 1
    assert client.transport.is_over


async def test_a_client_that_still_takes_a_response_is_not_idle(client: Client) -> None:
    client.transport.high_bytes = 1024
    client.send(get("/large"))
    client.pass_time(client.service.limits.idle_timeout_s + 1)
    assert not client.transport.is_over
    client.transport.unblock()
    client.pass_time(client.service.limits.idle_timeout_s + 1)
    assert client.transport.is_closed


async def test_drain_closes_idle_connections_at_once(client: Client) -> None:
    client.pass_time(0.1)
    client.send(get())
    client.connection.drain()
    assert client.transport.is_closed


async def test_drain_waits_for_the_first_request_of_a_connection_that_has_just_come(client: Client) -> None:
    client.connection.drain()
    assert not client.transport.is_over
    client.pass_time(client.service.limits.linger_s - 0.1)
    assert not client.transport.is_over
    client.send(get())
    (response,) = read_responses(client.transport.sent)
    assert response.closes
    assert client.transport.is_closed


async def test_drain_closes_a_connection_on_which_nothing_comes(client: Client) -> None:
    client.connection.drain()
    client.pass_time(client.service.limits.linger_s)
    assert client.transport.is_closed


async def test_drain_lets_a_running_answer_end_with_close(application: EchoApplication, client: Client) -> None:
    application.gate = asyncio.Event()
    client.send(get("/slow"))
    await settle()
    client.connection.drain()
    assert not client.transport.is_over
    application.gate.set()
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.closes
    assert client.transport.is_closed


async def test_drain_answers_a_request_that_is_arriving(client: Client) -> None:
    client.send(get())
    client.send(get()[:10])
    client.connection.drain()
    client.send(get()[10:])
    first, second = read_responses(client.transport.sent)
    assert (first.closes, second.closes) == (False, True)
    assert client.transport.is_closed


# -- any input, any cut ------------------------------------------------------------------------------------------------

MESSAGES = [
    (get("/a"), "GET"),
    (get("/a", method=b"HEAD"), "HEAD"),
    (get("/large"), "GET"),
    (get("/echo?q"), "GET"),
    (get("/nothing"), "GET"),
    (get("/a", b"Range: bytes=0-0\r\n"), "GET"),
    (post(b"hello"), "POST"),
    (get("/echo", b"Transfer-Encoding: chunked\r\n", method=b"PUT") + b"3;x\r\nabc\r\n0\r\nA: b\r\n\r\n", "PUT"),
    (post(b"hello", "/unread"), "POST"),
    (b"\r\n" + get("/a"), "GET"),
]


@settings(max_examples=60, deadline=None)
@given(messages=st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6), data=st.data())
def test_any_cut_of_pipelined_requests_gets_the_same_responses(
    messages: list[tuple[bytes, str]], data: st.DataObject
) -> None:
    stream = b"".join(message for message, _ in messages)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream)), max_size=8)))
    parts = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert asyncio.run(answers_to(parts)) == asyncio.run(answers_to([stream]))
    assert len(read_responses(asyncio.run(answers_to(parts)), [method for _, method in messages])) == len(messages)


@settings(max_examples=200, deadline=None)
@given(
    message=st.sampled_from([message for message, _ in MESSAGES]),
    place=st.integers(0, 200),
    removed=st.integers(0, 4),
    piece=st.binary(max_size=4),
)
def test_any_mutation_ends_in_valid_responses_and_a_close(
    message: bytes, place: int, removed: int, piece: bytes
) -> None:
    at = place % (len(message) + 1)
    stream = message[:at] + piece + message[at + removed :]
    methods = ["HEAD"] if stream.removeprefix(b"\r\n").startswith(b"HEAD ") else []
    one_by_one = [stream[start : start + 1] for start in range(len(stream))]
    for parts in ([stream], one_by_one):
        assert stream == b"" or read_responses(asyncio.run(answers_to(parts)), methods)


async def answers_to(parts: list[bytes]) -> bytes:
    application = EchoApplication()
    application.remember("/a", b"hello")
    application.remember("/large", b"x" * (JOINED_BYTES + 1))
    client = Client(application)
    for part in parts:
        if client.transport.is_over:
            break
        client.send(part)
        await settle()
    if not client.transport.is_over:
        client.connection.eof_received()
        await settle()
    assert client.transport.is_over
    return client.transport.sent
