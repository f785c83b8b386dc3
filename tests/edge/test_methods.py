"""Methods: any token reaches the application, two never do, and what a bundle says to the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cdn.edge.node import EdgeNode
from cdn.edge.settings import EdgeSettings
from cdn.journal.record import RECORD_VERSION, Audience, Record, SiteCreated
from cdn.origin.directory import DirectoryStore
from tests.edge.engine_application import EchoApplication
from tests.edge.engine_responses import Received, read_responses
from tests.edge.engine_transport import Client, settle


def ask(method: str, host: str = "a.example", content: bytes = b"") -> bytes:
    return f"{method} /a HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


@pytest.mark.parametrize("method", ["BREW", "get", "QUERY", "M-SEARCH", "PURGE", "!#$%&'*+-.^_`|~09AZaz", "X" * 1000])
async def test_any_token_reaches_the_application(method: str) -> None:
    application = EchoApplication()
    application.remember("/a", b"of GET alone")
    client = Client(application)
    for _ in range(3):
        client.send(ask(method, content=b"hello"))
        await settle()
    responses = read_responses(client.transport.sent)
    assert [response.content.decode() for response in responses] == [f"{method} a.example /a None hello"] * 3
    assert application.recalled == []


@pytest.mark.parametrize(("method", "status"), [("CONNECT", 501), ("TRACE", 405)])
async def test_two_methods_reach_nobody(method: str, status: int) -> None:
    application = EchoApplication()
    client = Client(application)
    client.send(ask(method))
    await settle()
    (response,) = read_responses(client.transport.sent)
    assert response.status == status
    assert application.answered == application.recalled == []
    assert response.fields.get("allow") == ("GET, HEAD, OPTIONS" if status == 405 else None)


async def test_a_bundle_is_read_only(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    node = await EdgeNode.start(
        EdgeSettings("n1", tmp_path / "edge", "cdn.localhost", "http://127.0.0.1:9", "cdn_0_0", port=0), store
    )
    try:
        change = SiteCreated("s1", "blog", {})
        node.view.catalog_fold.apply(Record(RECORD_VERSION, "e1", 1, "site", 0.0, "actor", Audience.ALL, change))
        node.follower.caught_up()
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            response = await visit(node.port, method)
            assert response.status == 405
            assert response.fields["allow"] == "GET, HEAD, OPTIONS"
            assert response.fields["cache-status"] == "cdn; detail=method"
        for method in ("BREW", "get", "X" * 1000):
            response = await visit(node.port, method)
            assert response.status == 501
            assert response.fields["cache-status"] == "cdn; detail=unknown-method"
            assert len(response.content) < 300
        assert (await visit(node.port, "OPTIONS")).status == 204
    finally:
        await node.stop()
        await store.aclose()


async def visit(port: int, method: str) -> Received:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ask(method, "blog.cdn.localhost"))
    writer.write_eof()
    (response,) = read_responses(await reader.read())
    writer.close()
    await writer.wait_closed()
    return response
