"""Connections: their end, their names, and TLS (RFC 9113 section 9)."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable

import pytest

from tests.h2 import frames
from tests.h2.frame_client import TIMEOUT_S, FrameClient
from tests.h2.frames import Code, Kind
from tests.h2.rules import rule
from tests.h2.served import BIG_BYTES, pattern
from tests.h2.serving import Serving, client_context


@pytest.fixture
def draining(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """A server of the test's own, to be ended."""
    return Serving.launch(tmp_path_factory.mktemp("h2-draining"))


@rule("9.1", "a server that ends tells so by GOAWAY, answers what was asked for, and only then closes")
@rule("6.8", "a graceful end begins with GOAWAY of stream 2^31-1 and NO_ERROR; a later one names the last stream")
@rule("6.8", "the last stream in GOAWAY never grows")
@pytest.mark.parametrize("transport", ["plain", "tls"])
def test_a_graceful_end(draining: Serving, transport: str) -> None:
    client = draining.connect(transport).start()
    held = client.request("/held/drain")
    big = client.request("/big")
    operator = draining.connect().start()
    operator.request("/drain")
    came = client.read_until(lambda read: read.is_of(Kind.GOAWAY))
    assert (came[-1].code, came[-1].last_stream_id) == (Code.NO_ERROR, 2**31 - 1)
    client.barrier()
    client.send(client.head("/release/drain")[1])
    assert client.response(held).content == b"held"
    assert client.response(big).content == pattern(BIG_BYTES)
    came = client.read_to_end()
    goaways = [read for read in came if read.is_of(Kind.GOAWAY)]
    assert all(read.code == Code.NO_ERROR for read in goaways)
    assert all(big <= read.last_stream_id < 2**31 - 1 for read in goaways)
    draining.close_clients()
    draining.stop()
    assert "Traceback" not in draining.words()


@rule("9.1", "an idle connection of a server that ends is told by GOAWAY and closed")
def test_an_idle_connection_ends(draining: Serving) -> None:
    client = draining.connect("tls").start()
    client.expect_service()
    operator = draining.connect().start()
    operator.request("/drain")
    came = client.read_to_end()
    assert [read.code for read in came if read.is_of(Kind.GOAWAY)][-1] == Code.NO_ERROR
    draining.close_clients()
    draining.stop()


@rule("9.1", "a connection that the client closes in peace leaves nothing behind")
@pytest.mark.parametrize("transport", ["plain", "tls"])
def test_the_client_closes(serving: Serving, transport: str) -> None:
    before = serving.state()["tasks"]
    for _ in range(20):
        client = serving.connect(transport).start()
        client.request("/stream")
        client.send(frames.goaway())
        client.close()
    serving.wait_until(lambda state: state["tasks"] <= before)


BEGUN: dict[str, Callable[[FrameClient], bytes]] = {
    "frame": lambda client: frames.frame(Kind.HEADERS, 5, 1, b"", length=100),
    "frame-head": lambda client: b"\0\0",
    "block": lambda client: frames.headers(1, client.block(client.fields()), 0),
}


@rule("9.1", "a connection that ends within a frame or a block is closed: the rest never comes")
@pytest.mark.parametrize("begun", BEGUN)
def test_the_client_ends_within_a_frame(serving: Serving, begun: str) -> None:
    client = serving.connect().start()
    client.send(BEGUN[begun](client))
    client.end_sending()
    client.read_to_end()


@rule("9.1.1", "a host that the connection's certificate covers is answered")
@rule("9.1.1", "a host that it does not cover is answered 421")
def test_misdirected_requests(serving: Serving) -> None:
    client = serving.connect("tls").start()
    for authority, status in (("a.example", 200), ("a.example:443", 200), ("b.example", 421), ("x.a.example", 421)):
        stream_id = client.next_id()
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", "/a")]
        client.send(frames.headers(stream_id, client.block(fields)))
        assert client.response(stream_id).status == status, authority
    client.expect_service()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@rule("9.2", "TLS 1.2 and 1.3 carry HTTP/2; SNI chooses the certificate")
def test_versions_of_tls(serving: Serving, version: ssl.TLSVersion) -> None:
    context = client_context(serving.root, "h2")
    context.minimum_version = context.maximum_version = version
    with shake(serving, context) as connected:
        assert connected.selected_alpn_protocol() == "h2"
        FrameClient(connected, "https").start().expect_service()


@rule("9.2", "TLS 1.1 is refused")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_an_old_version_of_tls(serving: Serving) -> None:
    context = client_context(serving.root, "h2")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake(serving, context)


@rule("9.2.1", "TLS is not compressed")
def test_tls_is_not_compressed(serving: Serving) -> None:
    context = client_context(serving.root, "h2")
    context.options &= ~ssl.OP_NO_COMPRESSION
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with shake(serving, context) as connected:
        assert connected.compression() is None


PROHIBITED = "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384"
"""Of Appendix A: CBC instead of an AEAD."""


@rule("9.2.2", "no prohibited cipher suite of TLS 1.2 is negotiated")
def test_prohibited_suites(serving: Serving) -> None:
    context = client_context(serving.root, "h2")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(PROHIBITED)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake(serving, context)


@rule("9.2.2", "a suite that is not prohibited is served, AES-128-GCM by ECDHE over P-256 among them")
def test_a_mandatory_suite(serving: Serving) -> None:
    context = client_context(serving.root, "h2")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    context.set_ecdh_curve("prime256v1")
    with shake(serving, context) as connected:
        FrameClient(connected, "https").start().expect_service()


@rule("9.2.3", "no certificate is asked for behind the handshake")
def test_no_certificate_is_asked_for(serving: Serving) -> None:
    context = client_context(serving.root, "h2")
    context.post_handshake_auth = True
    with shake(serving, context) as connected:
        client = FrameClient(connected, "https").start()
        client.expect_service()
        assert json.loads(client.ask("/head").content)["scheme"] == "https"


def shake(serving: Serving, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection that has shaken hands. Raises ssl.SSLError and OSError."""
    plain = socket.create_connection(("127.0.0.1", serving.tls), timeout=TIMEOUT_S)
    try:
        return context.wrap_socket(plain, server_hostname="a.example")
    except BaseException:
        plain.close()
        raise
