"""Which sessions resume, and what h2 may be spoken with."""

from __future__ import annotations

import re
import ssl

import pytest

from cdn.edge.tls_contexts import _empty_context
from tests.edge.tls_stage import NAME, TlsClient, TlsStage, client_context, get_of, serve

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BOTH = {"protocols": ("h2", "http/1.1")}


async def visited(stage: TlsStage, name: str, context: ssl.SSLContext, session: ssl.SSLSession | None) -> TlsClient:
    """A client that was answered, so has its next ticket."""
    client = await stage.connect(name, context, session)
    assert (await client.ask(get_of(name), b"hello")).startswith(b"HTTP/1.1 200 ")
    return client


@pytest.mark.parametrize("version", [V12, V13])
def test_a_session_resumes_under_another_name_of_its_certificate(version: ssl.TLSVersion) -> None:
    """RFC 8446 section 4.6.1 lets a client try; what it may ask for is what the certificate covers, as ever."""

    async def scene(stage: TlsStage) -> None:
        context = client_context(version=version)
        first = await visited(stage, "x.wild.example", context, None)
        second = await visited(stage, "y.wild.example", context, first.socket.session)
        assert second.socket.session_reused
        assert (await second.ask(get_of("x.wild.example"), b"hello")).startswith(b"HTTP/1.1 200 ")
        assert (await second.ask_last(get_of(NAME))).startswith(b"HTTP/1.1 421 ")

    serve(scene)


def test_a_session_of_one_protocol_resumes_for_the_other() -> None:
    async def scene(stage: TlsStage) -> None:
        context = client_context("http/1.1", version=V13)
        first = await visited(stage, NAME, context, None)
        context.set_alpn_protocols(["h2", "http/1.1"])
        second = await stage.connect(NAME, context, first.socket.session)
        assert second.socket.session_reused
        assert second.socket.selected_alpn_protocol() == "h2"

    serve(scene, contexts=BOTH)


def test_each_visit_brings_the_ticket_of_the_next() -> None:
    """A ticket of TLS 1.3 is used once (RFC 8446 appendix C.4), so a chain of visits needs one from each."""

    async def scene(stage: TlsStage) -> None:
        context = client_context(version=V13)
        session: ssl.SSLSession | None = None
        for number in range(4):
            client = await visited(stage, NAME, context, session)
            assert client.socket.session_reused is (number > 0)
            session = client.socket.session
        assert stage.tls.counters.resumed == 3

    serve(scene)


def test_every_cipher_is_one_that_h2_may_be_spoken_with() -> None:
    """RFC 9113 section 9.2.2 and appendix A: of TLS 1.2, an ephemeral key exchange and an AEAD."""
    ciphers = _empty_context(("h2",)).get_ciphers()
    assert len(ciphers) >= 6
    for cipher in ciphers:
        assert re.fullmatch(r"TLS_(AES|CHACHA20)_.*|ECDHE-(ECDSA|RSA)-(AES\d+-GCM|CHACHA20)-.*", cipher["name"]), cipher


def test_nothing_is_compressed_and_nobody_renegotiates() -> None:
    """RFC 9113 section 9.2.1."""
    options = _empty_context(("h2",)).options
    assert options & ssl.OP_NO_COMPRESSION
    assert options & ssl.OP_NO_RENEGOTIATION
