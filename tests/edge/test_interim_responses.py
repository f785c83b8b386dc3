"""1xx responses: at once, before the final head, and only to those who know them."""

from __future__ import annotations

import asyncio

import pytest

from cdn.edge.response import Response
from cdn.errors import InvalidInput
from tests.edge.engine_application import TEXT, EchoApplication, Stream
from tests.edge.engine_responses import read_responses
from tests.edge.engine_transport import Client, settle

LINK = (("link", "</a.css>; rel=preload; as=style"),)
GET = b"GET /s HTTP/1.1\r\nHost: a.example\r\n\r\n"


@pytest.fixture
def application() -> EchoApplication:
    application = EchoApplication(gate=asyncio.Event())
    application.interim["/s"] = [(103, LINK)]
    application.responses["/s"] = Response(200, TEXT, b"abc")
    return application


@pytest.fixture
def client(application: EchoApplication) -> Client:
    return Client(application)


async def finish(application: EchoApplication) -> None:
    assert application.gate is not None
    application.gate.set()
    await settle()


async def test_it_is_sent_at_once_and_the_final_one_follows(application: EchoApplication, client: Client) -> None:
    client.send(GET)
    await settle()
    (early,) = read_responses(client.transport.sent)
    assert (early.status, early.fields) == (103, dict(LINK))
    await finish(application)
    assert [response.status for response in read_responses(client.transport.sent)] == [103, 200]
    client.send(GET)
    await settle()
    assert [response.status for response in read_responses(client.transport.sent)] == [103, 200] * 2


async def test_several_keep_their_order(application: EchoApplication, client: Client) -> None:
    application.interim["/s"] = [(102, ()), (103, LINK), (199, (("a", "b"),))]
    client.send(GET)
    await finish(application)
    assert [response.status for response in read_responses(client.transport.sent)] == [102, 103, 199, 200]


async def test_a_client_of_http_1_0_does_not_know_them(application: EchoApplication, client: Client) -> None:
    client.send(GET.replace(b"1.1", b"1.0"))
    await finish(application)
    assert [response.status for response in read_responses(client.transport.sent)] == [200]


@pytest.mark.parametrize("status", [99, 100, 101, 200, 304])
async def test_what_is_the_engine_s_own_is_not_sent(application: EchoApplication, client: Client, status: int) -> None:
    application.interim["/s"] = [(status, LINK)]
    client.send(GET)
    await settle()
    assert client.transport.sent == b""
    await finish(application)


async def test_never_after_the_final_head(application: EchoApplication, client: Client) -> None:
    client.send(GET)
    await finish(application)
    sent = client.transport.sent
    application.visitors[0].send_interim(103, LINK)
    assert client.transport.sent == sent


async def test_never_between_the_parts_of_the_content(application: EchoApplication, client: Client) -> None:
    gate = asyncio.Event()
    application.responses["/s"] = Response(200, TEXT, Stream((b"abc",), 3, gate=gate))
    client.send(GET)
    await finish(application)
    application.visitors[0].send_interim(103, LINK)
    gate.set()
    await settle()
    assert [response.status for response in read_responses(client.transport.sent)] == [103, 200]


async def test_never_to_a_client_that_left(application: EchoApplication, client: Client) -> None:
    client.send(GET)
    await settle()
    sent = client.transport.sent
    client.transport.is_closed = True
    application.visitors[0].send_interim(103, LINK)
    client.connection.connection_lost(None)
    application.visitors[0].send_interim(103, LINK)
    assert client.transport.sent == sent


async def test_what_a_client_does_not_take_is_not_piled_up(application: EchoApplication, client: Client) -> None:
    application.interim["/s"] = [(103, LINK)] * 1000
    client.transport.high_bytes = 500
    client.send(GET)
    await settle()
    assert len(client.transport.sent) < 700
    client.transport.unblock()
    await finish(application)
    assert read_responses(client.transport.sent)[-1].status == 200


async def test_a_field_cannot_break_out(application: EchoApplication, client: Client) -> None:
    client.send(GET)
    await settle()
    with pytest.raises(InvalidInput):
        application.visitors[0].send_interim(103, (("link", "a\r\n\r\nHTTP/1.1 200 OK"),))
    await finish(application)
    assert [response.status for response in read_responses(client.transport.sent)] == [103, 200]


async def test_the_hundred_of_an_expectation_still_comes(application: EchoApplication, client: Client) -> None:
    application.interim["/echo"] = [(103, LINK)]
    client.send(b"POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    await finish(application)
    assert [response.status for response in read_responses(client.transport.sent)] == [103, 100]
    client.send(b"ab")
    await settle()
    assert [response.status for response in read_responses(client.transport.sent)] == [103, 100, 200]
