"""One HTTP/2 connection serves all hosts of its certificate (RFC 9113 section 9.1.1), and says 421 to others."""

from __future__ import annotations

import asyncio
import ssl

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded

from tests.edge.tls_stage import NAME, TlsStage, client_context, serve

BOTH = {"protocols": ("h2", "http/1.1")}


class H2Asker:
    """python-hyper's client on a connection of the stage."""

    def __init__(self, connected: ssl.SSLSocket) -> None:
        self._socket = connected
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()

    async def ask(self, *hosts: str, method: str = "GET") -> list[tuple[str, bytes]]:
        """Status and content for each, asked for in one write."""
        return await asyncio.to_thread(self._ask, hosts, method)

    def _ask(self, hosts: tuple[str, ...], method: str) -> list[tuple[str, bytes]]:
        ids = []
        for host in hosts:
            ids.append(stream_id := self._h2.get_next_available_stream_id())
            asked = [(":method", method), (":scheme", "https"), (":authority", host), (":path", "/a")]
            self._h2.send_headers(stream_id, asked, end_stream=True)
        self._socket.sendall(self._h2.data_to_send())
        status: dict[int, str] = {}
        content = dict.fromkeys(ids, b"")
        open_ids = set(ids)
        while open_ids:
            received = self._socket.recv(65_536)
            assert received, "the connection ended"
            for event in self._h2.receive_data(received):
                match event:
                    case ResponseReceived(stream_id=int(each), headers=list(fields)):
                        status[each] = next(str(value) for name, value in fields if str(name) == ":status")
                    case DataReceived(stream_id=int(each), data=bytes(part)):
                        content[each] += part
                    case StreamEnded(stream_id=int(each)):
                        open_ids.discard(each)
            self._socket.sendall(self._h2.data_to_send())
        return [(status[each], content[each]) for each in ids]


async def asker(stage: TlsStage, name: str) -> H2Asker:
    client = await stage.connect(name, client_context("h2"))
    assert client.socket.selected_alpn_protocol() == "h2"
    return H2Asker(client.socket)


def test_hosts_of_the_certificate_share_a_connection_and_others_are_told_apart() -> None:
    async def scene(stage: TlsStage) -> None:
        client = await asker(stage, "x.wild.example")
        for _ in range(3):  # what is remembered of a request is no way around
            own, sibling, strange, address, again = await client.ask(
                "x.wild.example", "y.wild.example:8443", NAME, "127.0.0.1", "x.wild.example"
            )
            assert own == sibling == again == ("200", b"hello")
            assert strange[0] == address[0] == "421"
            assert b"connect anew" in strange[1]
        assert await client.ask(NAME, method="HEAD") == [("421", b"")]
        assert await client.ask("y.wild.example") == [("200", b"hello")]
        assert stage.listener.counters.h2_connections == 1

    serve(scene, contexts=BOTH)


def test_what_one_connection_may_ask_another_may_not() -> None:
    async def scene(stage: TlsStage) -> None:
        own, strange = await asker(stage, NAME), await asker(stage, "b.example")
        for _ in range(3):
            assert await own.ask(NAME) == [("200", b"hello")]
            assert [status for status, _ in await strange.ask(NAME, "b.example")] == ["421", "200"]

    serve(scene, contexts=BOTH)
