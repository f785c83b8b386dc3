"""How a connection becomes one of HTTP/2 (RFC 9113 section 3)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import pytest

from tests.h2 import frames
from tests.h2.frame_client import TIMEOUT_S, FrameClient
from tests.h2.frames import ACK, PREFACE, Code, Kind, Setting
from tests.h2.rules import Rule, case, rule
from tests.h2.serving import Serving, client_context

Connect = Callable[[], FrameClient]


@rule("3.1", "an Upgrade to h2c is not followed: HTTP/1.1 answers")
def test_upgrade_is_not_followed(serving: Serving) -> None:
    answer = talk_plain(
        serving,
        b"GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"hello")


@pytest.mark.parametrize(
    ("offered", "chosen"), [(("h2", "http/1.1"), "h2"), (("h2",), "h2"), (("http/1.1",), "http/1.1")]
)
@rule("3.2", "the protocol of a TLS connection is negotiated by ALPN")
def test_alpn(serving: Serving, offered: tuple[str, ...], chosen: str) -> None:
    with connect_tls(serving, *offered) as connected:
        assert connected.selected_alpn_protocol() == chosen


@rule("3.2", "without ALPN a TLS connection is none of HTTP/2")
def test_without_alpn_there_is_no_http2(serving: Serving) -> None:
    with connect_tls(serving) as connected:
        client = FrameClient(connected, "https")
        client.send(PREFACE, frames.settings())
        came = connected.recv(65_536)
        assert came.startswith(b"HTTP/1.1 "), came


@rule("3.3", "the preface alone, by prior knowledge, makes a plain connection one of HTTP/2")
def test_prior_knowledge(serving: Serving) -> None:
    serving.connect("plain").start().expect_service()


@rule("3.4", "the server's first frame is SETTINGS")
def test_the_first_frame_is_settings(connect: Connect) -> None:
    client = connect()
    client.send(PREFACE, frames.settings())
    first = client.read()
    assert first is not None
    assert first.is_of(Kind.SETTINGS, 0)
    assert not first.has(ACK)


@rule("3.4", "the client's SETTINGS are acknowledged, once, after the server's own")
@rule("6.5.3", "SETTINGS are acknowledged")
def test_settings_are_acknowledged(connect: Connect) -> None:
    client = connect()
    client.send(PREFACE, frames.settings({Setting.INITIAL_WINDOW_SIZE: 100_000}))
    came = client.barrier()
    assert [read.has(ACK) for read in came if read.is_of(Kind.SETTINGS)] == [False, True]


@rule("3.4", "requests may follow the preface without waiting for the server's")
def test_requests_follow_the_preface_at_once(connect: Connect) -> None:
    client = connect()
    stream_id, head = client.head()
    client.send(PREFACE, frames.settings(), head)
    assert client.response(stream_id).content == b"hello"


@rule("3.4", "the preface is the same in whatever pieces it comes")
def test_octet_by_octet(connect: Connect) -> None:
    client = connect()
    stream_id, head = client.head()
    for octet in PREFACE + frames.settings() + head:
        client.send(bytes((octet,)))
    assert client.response(stream_id).content == b"hello"


NOT_SETTINGS = [
    ("headers", lambda client: client.head()[1]),
    ("ping", lambda _: frames.ping()),
    ("window-update", lambda _: frames.window_update(0, 1)),
    ("unknown", lambda _: frames.frame(0xFE, 0, 0, b"any")),
    ("acknowledgement", lambda _: frames.settings_ack()),
]


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        case("3.4", f"a preface that goes on with {name} instead of SETTINGS is a connection error", first, id=name)
        for name, first in NOT_SETTINGS
    ],
)
def test_the_preface_ends_with_settings(rule: Rule, connect: Connect, first: Callable[[FrameClient], bytes]) -> None:
    client = connect()
    client.send(PREFACE, first(client))
    client.expect_connection_error(Code.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    "said", [b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX" + b"x" * 64, b"\0" * 64]
)
@rule("3.4", "where ALPN said h2, anything but the preface is a connection error")
def test_an_invalid_preface_over_tls(serving: Serving, said: bytes) -> None:
    client = serving.connect("tls")
    client.send(said)
    goaways = [read for read in client.read_to_end() if read.is_of(Kind.GOAWAY)]
    assert [goaway.code for goaway in goaways] in ([], [Code.PROTOCOL_ERROR])


@pytest.mark.parametrize("said", [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n\r\n\r\n\r\n\r\n"])
@rule("3.4", "what begins like the preface and is none is a connection error")
def test_a_preface_that_goes_wrong(serving: Serving, said: bytes) -> None:
    answer = talk_plain(serving, said)
    assert b" 200 " not in answer


def talk_plain(serving: Serving, said: bytes) -> bytes:
    """All that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", serving.plain), timeout=TIMEOUT_S) as connected:
        connected.sendall(said)
        answer = b""
        while part := connected.recv(65_536):
            answer += part
        return answer


def connect_tls(serving: Serving, *offered: str) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", serving.tls), timeout=TIMEOUT_S)
    context = client_context(serving.root, *offered) if offered else ssl.create_default_context(cafile=serving.root)
    return context.wrap_socket(plain, server_hostname="a.example")
