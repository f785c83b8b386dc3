"""What heads led to is remembered within one bound, and many whole heads leave the gists their part of it."""

from __future__ import annotations

from cdn.edge.limits import HttpLimits
from tests.edge.engine_application import EchoApplication, prepared_of
from tests.edge.engine_transport import Client

LIMITS = HttpLimits(max_memo_entries=16)


def head(path: str, visitor: int) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: {visitor}\r\n\r\n".encode()


def test_whole_heads_that_come_again_push_no_gist_out() -> None:
    application = EchoApplication()
    for path in ("/seldom", "/often"):
        application.memory[path] = prepared_of(path.encode(), site=application.site)
    client = Client(application, LIMITS)
    for visitor in range(2):
        client.send(head("/seldom", visitor))
    for visitor in range(100):
        for _ in range(2):
            client.send(head("/often", visitor))
    assert len(client.service.memo) <= LIMITS.max_memo_entries // 2
    before = client.service.counters.memo_hits
    client.send(head("/seldom", 2))
    assert client.service.counters.memo_hits == before + 1
