"""`cdn up` speaks HTTP/2 unless its settings say otherwise, in its own process and in workers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.running import RunningCdn
from tests.e2e.secure_visits import port_of, trusting, visit_once_there
from tests.e2e.test_https_of_up import with_site
from tests.h2 import frames
from tests.h2.frame_client import FrameClient
from tests.h2.frames import END_HEADERS, END_STREAM

HOST = "blog.cdn.localhost"


def chosen_protocol(cdn: RunningCdn) -> str | None:
    context = trusting(cdn.root_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port_of(cdn.https_url)), 20) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as secret,
    ):
        return secret.selected_alpn_protocol()


def by_prior_knowledge(cdn: RunningCdn) -> FrameClient:
    port = urlsplit(cdn.http_url).port
    assert port is not None
    return FrameClient.connect(port)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_is_spoken(start_cdn: Callable[..., RunningCdn], tmp_path: Path, workers: str) -> None:
    cdn = with_site(start_cdn("--https", "127.0.0.1:0", "--workers", workers), tmp_path)
    visit_once_there(cdn.https_url, HOST, trusting(cdn.root_file))
    assert chosen_protocol(cdn) == "h2"
    client = by_prior_knowledge(cdn)
    try:
        client.start()
        for _ in range(3):
            stream_id = client.next_id()
            head = [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/")]
            client.send(frames.headers(stream_id, client.block(head), END_HEADERS | END_STREAM))
            answer = client.response(stream_id)
            assert (answer.status, answer.content) == (200, b"a page")
    finally:
        client.close()


def test_it_is_not_spoken_where_it_is_switched_off(start_cdn: Callable[..., RunningCdn], tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text("[edge.http2]\nenabled = false\n")
    cdn = with_site(start_cdn("--https", "127.0.0.1:0", "--config", str(file)), tmp_path)
    visit_once_there(cdn.https_url, HOST, trusting(cdn.root_file))
    assert chosen_protocol(cdn) == "http/1.1"
    client = by_prior_knowledge(cdn)
    try:
        client.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert client.socket.recv(65_536).startswith(b"HTTP/1.1 505 ")
    finally:
        client.close()
