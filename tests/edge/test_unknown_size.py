"""Responses whose size nobody knows ahead: chunked, ended by the connection, cut off, and those without content."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdn.edge.chunked_coding import NEVER_TRAILERS
from cdn.edge.response import Response, Unsent
from cdn.http.fields import FieldLines
from tests.edge.engine_application import TEXT, EchoApplication, Stream
from tests.edge.engine_responses import read_responses
from tests.edge.engine_transport import Client, settle

TE = b"Connection: TE\r\nTE: gzip;q=0.5, Trailers\r\n"


def request(fields: bytes = b"", method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return method + b" /s HTTP/" + version + b"\r\nHost: a.example\r\n" + fields + b"\r\n"


@pytest.fixture
def application() -> EchoApplication:
    return EchoApplication()


@pytest.fixture
def client(application: EchoApplication) -> Client:
    return Client(application)


def stream_of(
    application: EchoApplication,
    *parts: bytes,
    trailers: FieldLines = (),
    fails: bool = False,
    gate: asyncio.Event | None = None,
) -> Stream:
    stream = application.streams["/s"] = Stream(parts, None, gate=gate, trailers=trailers, fails=fails)
    return stream


async def test_it_is_chunked_and_the_connection_goes_on(application: EchoApplication, client: Client) -> None:
    stream = stream_of(application, b"he", b"", b"l" * 20, b"o")
    client.send(request() + request(b"Connection: close\r\n"))
    await settle()
    first, second = read_responses(client.transport.sent)
    assert first.content == second.content == b"he" + b"l" * 20 + b"o"
    assert first.fields["transfer-encoding"] == "chunked"
    assert (first.closes, second.closes) == (False, True)
    assert client.transport.is_closed
    assert not client.transport.is_aborted
    assert stream.closed == 2


async def test_nothing_at_all_is_one_last_chunk(application: EchoApplication, client: Client) -> None:
    stream_of(application)
    client.send(request())
    await settle()
    assert client.transport.sent.endswith(b"\r\n\r\n0\r\n\r\n")


async def test_what_is_there_is_sent_before_the_rest(application: EchoApplication, client: Client) -> None:
    stream_of(application, b"first", b"second", gate=(gate := asyncio.Event()))
    client.send(request())
    await settle()
    assert client.transport.sent.endswith(b"transfer-encoding: chunked\r\n\r\n"), "the head waits for nothing"
    gate.set()
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.content == b"firstsecond"


@pytest.mark.parametrize("fields", [b"", b"TE: gzip\r\n", b"TE: trailers-not\r\n", b"Trailer: x\r\n"])
async def test_trailers_are_for_those_who_ask(application: EchoApplication, client: Client, fields: bytes) -> None:
    stream_of(application, b"a", trailers=(("server-timing", "db;dur=53"),))
    client.send(request(fields) + request(TE))
    await settle()
    without, having = read_responses(client.transport.sent)
    assert without.trailers == {}
    assert having.trailers == {"server-timing": "db;dur=53"}
    assert without.content == having.content == b"a"


async def test_trailers_never_change_what_the_message_is(application: EchoApplication, client: Client) -> None:
    forbidden = tuple((name, "1") for name in sorted(NEVER_TRAILERS))
    stream_of(application, b"a", trailers=(*forbidden, ("etag", '"a"')))
    client.send(request(TE))
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.trailers == {"etag": '"a"'}
    assert {"content-length", "transfer-encoding", "set-cookie", "host", "cache-control"} <= NEVER_TRAILERS


async def test_content_of_known_size_has_no_trailers(application: EchoApplication, client: Client) -> None:
    application.streams["/s"] = Stream((b"abc",), 3, trailers=(("etag", '"a"'),))
    client.send(request(TE))
    await settle()
    assert client.transport.sent.endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize("fields", [b"", TE, b"Connection: keep-alive\r\n"])
async def test_a_client_of_http_1_0_reads_to_the_end(
    application: EchoApplication, client: Client, fields: bytes
) -> None:
    stream_of(application, b"ab", b"", b"c", trailers=(("etag", '"a"'),))
    client.send(request(fields, version=b"1.0"))
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.content == b"abc"
    assert response.closes
    assert "transfer-encoding" not in response.fields
    assert client.transport.is_closed
    assert not client.transport.is_aborted


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("trailer", [False, True])
async def test_a_stream_that_fails_is_never_whole(
    application: EchoApplication, client: Client, version: bytes, trailer: bool
) -> None:
    stream = stream_of(
        application, b"abc", fails=not trailer, trailers=(("etag", "a\r\nset-cookie: b"),) if trailer else ()
    )
    if trailer and version == b"1.0":
        stream.fails = True
    client.send(request(TE, version=version))
    await settle()
    assert client.transport.is_aborted
    assert not client.transport.sent.endswith(b"0\r\n\r\n")
    assert b"set-cookie" not in client.transport.sent
    assert stream.closed == 1


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_no_more_is_read_than_the_client_takes(
    application: EchoApplication, client: Client, version: bytes
) -> None:
    stream = stream_of(application, *(b"x" * 600,) * 5)
    client.transport.high_bytes = 1000
    client.send(request(version=version))
    await settle()
    assert stream.given == 2
    for _ in range(5):
        client.transport.unblock()
        await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.content == b"x" * 3000
    assert stream.closed == 1


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_nothing_is_said_to_a_client_that_left(
    application: EchoApplication, client: Client, version: bytes
) -> None:
    stream = stream_of(application, b"abc", b"def", gate=(gate := asyncio.Event()))
    client.send(request(version=version))
    await settle()
    client.transport.is_closed = True  # reset by the client; the loop has not told the connection yet
    sent = client.transport.sent
    gate.set()
    await settle()
    client.connection.connection_lost(ConnectionResetError())
    await settle()
    assert client.transport.sent == sent
    assert stream.closed == 1


async def test_a_client_that_left_is_not_told_that_all_is_there(application: EchoApplication, client: Client) -> None:
    stream = stream_of(application, b"abc")
    client.transport.high_bytes = 1
    client.send(request())
    await settle()
    sent = client.transport.sent
    assert sent.endswith(b"3\r\nabc\r\n")
    client.transport.is_closed = True
    client.transport.unblock()
    await settle()
    assert client.transport.sent == sent
    assert stream.closed == 1
    assert not client.transport.is_aborted


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_head_of_unknown_size_has_no_length(application: EchoApplication, client: Client, version: bytes) -> None:
    stream = stream_of(application, b"abc")
    client.send(request(method=b"HEAD", version=version))
    await settle()
    (response,) = read_responses(client.transport.sent, ["HEAD"])
    assert "content-length" not in response.fields
    assert "transfer-encoding" not in response.fields
    assert (stream.given, stream.closed) == (0, 1)
    assert response.closes == (version == b"1.0")


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_content_stay_without(application: EchoApplication, client: Client, status: int) -> None:
    stream = Stream((b"abc",), None)
    application.responses["/s"] = Response(status, (), stream)
    client.send(request() + request(b"Connection: close\r\n"))
    await settle()
    responses = read_responses(client.transport.sent)
    assert [response.status for response in responses] == [status, status]
    assert not {"content-length", "transfer-encoding"} & set(responses[0].fields)
    assert (stream.given, stream.closed) == (0, 2)


@pytest.mark.parametrize("size", [None, 0, 7])
async def test_content_that_is_not_sent_need_not_be_there(
    application: EchoApplication, client: Client, size: int | None
) -> None:
    application.responses["/s"] = Response(200, TEXT, Unsent(size))
    client.send(request(method=b"HEAD"))
    await settle()
    (response,) = read_responses(client.transport.sent, ["HEAD"])
    assert response.fields.get("content-length") == (None if size is None else str(size))
    client.reconnect()
    application.responses["/s"] = Response(304, TEXT, Unsent(size))
    client.send(request())
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert "content-length" not in response.fields


async def test_content_that_has_to_be_sent_must_be_there(application: EchoApplication, client: Client) -> None:
    application.responses["/s"] = Response(200, TEXT, Unsent(7))
    client.send(request())
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.status == 500


@pytest.mark.parametrize("content", [b"abc", Stream((b"abc",), 3), Stream((b"abc",), None)])
async def test_a_date_of_the_response_stays(
    application: EchoApplication, client: Client, content: bytes | Stream
) -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    application.responses["/s"] = Response(200, (("date", date), *TEXT), content)
    client.send(request())
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.fields["date"] == date


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.binary(max_size=40), max_size=6), wants=st.booleans(), is_old=st.booleans())
def test_any_parts_arrive_as_their_whole(parts: list[bytes], wants: bool, is_old: bool) -> None:
    async def play() -> None:
        application = EchoApplication()
        stream_of(application, *parts, trailers=(("x-a", "1"), ("x-b", "2")))
        client = Client(application)
        client.send(request(TE if wants else b"", version=b"1.0" if is_old else b"1.1"))
        await settle()
        (response,) = read_responses(client.transport.sent)
        assert response.content == b"".join(parts)
        assert response.trailers == ({"x-a": "1", "x-b": "2"} if wants and not is_old else {})

    asyncio.run(play())
