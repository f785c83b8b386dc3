"""TLS on a transport without a socket: what waits, what is bounded, what is shared."""

from __future__ import annotations

import _ssl
import asyncio
import ctypes
import gc
import os
import random
import ssl
import time
from functools import partial

import pytest

import cdn.edge.tls_contexts
from cdn.edge import openssl as openssl_module
from cdn.edge.head_memo import HeadMemo
from cdn.edge.head_parser import HeadParser
from cdn.edge.limits import HttpLimits
from cdn.edge.openssl import Openssl, Secured, openssl, secured
from cdn.edge.service import ListenerCounters, Service
from cdn.edge.tls_contexts import TlsContexts
from cdn.edge.tls_counters import TlsRefusal
from cdn.edge.tls_handshake import TlsHandshake
from cdn.edge.tls_limits import TlsLimits
from cdn.edge.tls_source import CertificateMaterial
from cdn.edge.tls_transport import MAX_MUTE_BYTES, MAX_UNREAD_ANSWERS_BYTES, SLICE_BYTES, TlsTransport
from tests.edge.engine_application import EchoApplication
from tests.edge.engine_transport import RecordingTransport
from tests.edge.tls_material import SignedSource, certificate_for
from tests.edge.tls_stage import NAME, client_context, keys


class Wire(RecordingTransport):
    """A transport whose other end is a TLS client in memory."""

    def __init__(self, name: str = NAME, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = (context or client_context()).wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("192.0.2.1", 1) if name == "peername" else default

    def step(self) -> bool:
        """The client's next step of the handshake; whether it is done."""
        self.take()
        try:
            self.client.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            done = False
        self.send()
        return done

    def take(self) -> None:
        """Hand to the client what was written."""
        self.incoming.write(self.sent)
        self.writes.clear()

    def send(self) -> None:
        """Hand to the server what the client said."""
        assert self.protocol is not None
        data = self.outgoing.read()
        if data:
            self.protocol.data_received(data)

    def read(self) -> bytes:
        """What the client can read now."""
        self.take()
        parts = []
        try:
            while part := self.client.read(65536):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        return b"".join(parts)


class Above(asyncio.Protocol):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.received = b""
        self.told: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.told.append("eof")
        return True

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")


class Stage:
    def __init__(self, tls: TlsContexts | None = None, limits: HttpLimits | None = None) -> None:
        self.tls = tls or TlsContexts(SignedSource(NAME, "b.example"), ticket_keys=keys(1))
        self.now = 0.0
        http_limits = limits or HttpLimits()
        self.service = Service(
            application=EchoApplication(),
            limits=http_limits,
            parser=HeadParser(http_limits),
            memo=HeadMemo(10, 10_000, 1000),
            cache_name="edge",
            scheme="https",
            monotonic=lambda: self.now,
            wall=time.time,
            counters=ListenerCounters(),
            tls=self.tls,
        )

    def begin(self, wire: Wire) -> Above:
        above = Above()
        handshake = TlsHandshake(self.service, self.tls, None, {"http/1.1": lambda *_: above})
        wire.protocol = handshake
        handshake.connection_made(wire)
        return above

    def connect(self, wire: Wire) -> Above:
        """Shake hands."""
        above = self.begin(wire)
        while not wire.step():
            pass
        assert wire.protocol is above.transport
        return above


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_what_a_slow_client_does_not_take_waits_unencrypted(stage: Stage) -> None:
    wire = Wire()
    above = stage.connect(wire)
    wire.high_bytes = 65536
    content = os.urandom(1 << 20)
    above.transport.write(memoryview(content))
    assert above.told == ["pause"]
    assert len(wire.sent) < SLICE_BYTES + 4096
    assert above.transport.get_write_buffer_size() > len(content)
    above.transport.write(b"more")
    above.transport.close()
    received = b""
    while not wire.is_closed:
        received += wire.read()
        assert stage.tls.outgoing.pending == 0
        wire.waiting_bytes = 0
        above.transport.resume_writing()
        assert len(wire.sent) < SLICE_BYTES + 4096
    received += wire.read()
    assert received == content + b"more"
    assert wire.client.read() == b""  # close_notify
    assert above.told == ["pause", "resume"]


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_a_connection_that_is_gone_does_not_wait_for_the_collector(protocol: str) -> None:
    """Else thousands of them, 30 KiB of OpenSSL's each, are kept until the next collection of everything."""
    stage = Stage(TlsContexts(SignedSource(NAME), ticket_keys=keys(1), protocols=("h2", "http/1.1")))
    wire = Wire(context=client_context(protocol))
    wire.protocol = TlsHandshake(stage.service, stage.tls)
    wire.protocol.connection_made(wire)
    while not wire.step():
        pass
    assert wire.client.selected_alpn_protocol() == protocol
    gc.collect()
    gc.disable()
    try:
        wire.protocol.connection_lost(None)
        wire.protocol = None
        assert not [found for found in gc.get_objects() if type(found) is TlsTransport]
    finally:
        gc.enable()


def test_pieces_of_any_size_arrive_in_order(stage: Stage) -> None:
    chance = random.Random(7)
    wire = Wire()
    above = stage.connect(wire)
    expected = b""
    received = b""
    for _ in range(60):
        pieces = [chance.randbytes(chance.choice((0, 1, 100, 16384, 16385, 70_000, 300_000))) for _ in range(3)]
        wire.high_bytes = chance.choice((None, 65536))
        if chance.random() < 0.5:
            above.transport.writelines(pieces)
        else:
            for piece in pieces:
                above.transport.write(bytearray(piece))
        expected += b"".join(pieces)
        if chance.random() < 0.5:
            received += wire.read()
            wire.waiting_bytes = 0
            above.transport.resume_writing()
    while above.transport.get_write_buffer_size() > wire.waiting_bytes or wire.writes:
        received += wire.read()
        wire.waiting_bytes = 0
        above.transport.resume_writing()
    assert received == expected


def test_a_client_may_send_and_end_in_any_pieces(stage: Stage) -> None:
    wire = Wire()
    above = stage.connect(wire)
    wire.client.write(b"a" * 50_000)
    data = wire.outgoing.read()
    wire.client.write(b"the end")
    with pytest.raises(ssl.SSLWantReadError):
        wire.client.unwrap()
    data += wire.outgoing.read()
    assert wire.protocol is not None
    for at in range(0, len(data), 999):
        wire.protocol.data_received(data[at : at + 999])
        assert stage.tls.incoming.pending == 0
    assert above.received == b"a" * 50_000 + b"the end"
    assert above.told == ["eof"]
    wire.protocol.data_received(b"behind the end")
    wire.protocol.eof_received()
    assert above.told == ["eof"]


def test_what_stands_behind_the_end_is_not_left_for_others(stage: Stage) -> None:
    wire = Wire()
    above = stage.connect(wire)
    with pytest.raises(ssl.SSLWantReadError):
        wire.client.unwrap()
    above.transport.data_received(wire.outgoing.read() + b"behind the end")
    assert above.told == ["eof"]
    assert not stage.tls.incoming.pending


def test_a_handshake_that_its_client_leaves_is_counted(stage: Stage) -> None:
    wire = Wire()
    stage.begin(wire)
    assert not wire.step()
    assert wire.protocol is not None
    assert not wire.protocol.eof_received()
    wire.protocol.connection_lost(None)
    assert stage.tls.counters.refused == {TlsRefusal.ABANDONED: 1}
    assert not stage.tls.handshaking
    assert not stage.service.connections


def test_who_went_without_a_word_is_told_nothing(stage: Stage) -> None:
    wire = Wire()
    above = stage.connect(wire)
    wire.take()
    above.transport.eof_received()
    above.transport.close()
    assert wire.is_closed
    assert not wire.sent
    again = Wire()
    above = stage.connect(again)
    above.transport.eof_received()
    above.transport.write(b"an answer")
    above.transport.close()
    assert again.read() == b"an answer"
    assert again.client.read() == b""


def test_after_its_own_end_it_still_reads(stage: Stage) -> None:
    wire = Wire()
    above = stage.connect(wire)
    above.transport.write_eof()
    above.transport.write(b"not sent")
    assert wire.has_ended
    assert wire.read() == b""
    wire.client.write(b"still here")
    wire.send()
    assert above.received == b"still here"
    above.transport.close()
    assert wire.is_closed


def test_a_break_says_nothing(stage: Stage) -> None:
    wire = Wire()
    above = stage.connect(wire)
    wire.take()
    above.transport.abort()
    assert wire.is_aborted
    assert not wire.writes


@pytest.mark.parametrize("is_record_by_record", [False, True])
def test_content_of_many_records_is_whole(stage: Stage, is_record_by_record: bool) -> None:
    wire = Wire()
    above = stage.connect(wire)
    wire.take()
    if is_record_by_record:  # as OpenSSL does by SSL_MODE_ENABLE_PARTIAL_WRITE, which Python could set
        control = ctypes.CDLL(_ssl.__file__).SSL_ctrl
        control.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
        assert control(openssl_module._ssl_address(above.transport._secured), 33, 1, None) & 1
    content = bytes(range(256)) * 250
    above.transport.write(content)
    above.transport.writelines((content, memoryview(content)[1:]))
    assert wire.read() == content * 2 + content[1:]


def updates_of_keys(wire: Wire, count: int) -> bytes:
    """Records that each want the server to replace its keys and say so (RFC 8446 section 4.6.3)."""
    update = ctypes.CDLL(_ssl.__file__).SSL_key_update
    update.argtypes = (ctypes.c_void_p, ctypes.c_int)
    address = openssl_module._ssl_address(wire.client._sslobj)  # type: ignore[attr-defined]
    for _ in range(count):
        assert update(address, 1) == 1
        wire.client.do_handshake()
    return wire.outgoing.read()


def test_updates_of_keys_are_answered(stage: Stage) -> None:
    wire = Wire()
    above = stage.connect(wire)
    for _ in range(5):
        above.transport.data_received(updates_of_keys(wire, 100))
        wire.client.write(b"more;")
        wire.send()
        above.transport.write(b"answer")
        assert wire.read() == b"answer"
    assert above.received == b"more;" * 5


@pytest.mark.parametrize("at_once", [1, 1000, 5000])
def test_who_only_updates_keys_is_cut_off(stage: Stage, at_once: int) -> None:
    wire, other = Wire(), Wire()
    above = stage.connect(wire)
    stage.connect(other)
    size_bytes = 0
    while not wire.is_aborted:
        assert size_bytes <= MAX_MUTE_BYTES
        data = updates_of_keys(wire, at_once)
        size_bytes += len(data)
        above.transport.data_received(data)
    assert not stage.tls.incoming.pending
    assert not stage.tls.outgoing.pending
    above.transport.data_received(updates_of_keys(wire, 1))
    other.client.write(b"still here")
    other.send()


def test_who_does_not_read_the_answers_to_its_updates_is_cut_off(stage: Stage) -> None:
    wire = Wire()
    above = stage.connect(wire)
    wire.high_bytes = 1
    above.transport.write(b"not read")
    assert above.told == ["pause"]
    answered_bytes = 0
    while not wire.is_aborted:
        assert answered_bytes <= MAX_UNREAD_ANSWERS_BYTES
        before_bytes = len(wire.sent)
        data = updates_of_keys(wire, 10)
        wire.client.write(b".")
        above.transport.data_received(data + wire.outgoing.read())
        answered_bytes += len(wire.sent) - before_bytes
    assert not stage.tls.outgoing.pending


def test_content_of_any_size_is_taken_however_it_comes(stage: Stage) -> None:
    chance = random.Random(5)
    wire = Wire()
    above = stage.connect(wire)
    expected = b""
    for size_bytes in (1, 300_000, 16_384, 100_000):
        content = chance.randbytes(size_bytes)
        expected += content
        wire.client.write(content)
        data = wire.outgoing.read()
        while data:
            taken = chance.choice((1, 1000, MAX_MUTE_BYTES, MAX_MUTE_BYTES + 1, 256 * 1024))
            above.transport.data_received(data[:taken])
            data = data[taken:]
    assert above.received == expected
    assert not wire.is_aborted


def test_what_is_said_on_many_connections_goes_where_it_belongs(stage: Stage) -> None:
    """They share their buffers, also with handshakes that are abandoned in the middle."""
    wires = [Wire() for _ in range(20)]
    aboves = [stage.connect(wire) for wire in wires]
    chance = random.Random(3)
    for turn in range(400):
        at = chance.randrange(len(wires))
        wire, above = wires[at], aboves[at]
        wire.client.write(b"%d:%d;" % (at, turn))
        wire.send()
        assert above.received.endswith(b"%d:%d;" % (at, turn))
        above.transport.write(b"%d!%d;" % (at, turn))
        if chance.random() < 0.3:
            assert wire.read().endswith(b"%d!%d;" % (at, turn))
        if chance.random() < 0.05:
            aboves[at].transport.connection_lost(None)
            wires[at] = Wire(chance.choice((NAME, "b.example")))
            aboves[at] = stage.connect(wires[at])
        if chance.random() < 0.1:  # one that begins, and is abandoned in the middle
            begun = Wire()
            stage.begin(begun)
            begun.step()
            assert begun.protocol is not None
            begun.protocol.connection_lost(None)
        assert not stage.tls.outgoing.pending
        assert not stage.tls.incoming.pending
    assert stage.tls.counters.handshakes > len(wires)


def test_ten_thousand_half_open_handshakes_hurt_nobody() -> None:
    stage = Stage(TlsContexts(SignedSource(NAME), TlsLimits(max_handshakes=1000), ticket_keys=keys(1)))
    hello = Wire()
    hello.protocol = asyncio.Protocol()
    with pytest.raises(ssl.SSLWantReadError):
        hello.client.do_handshake()
    said = hello.outgoing.read()
    silent = []
    for number in range(10_000):
        wire = Wire.__new__(Wire)
        RecordingTransport.__init__(wire)
        stage.begin(wire)
        assert wire.protocol is not None
        wire.protocol.data_received(said if number % 100 == 0 else said[:100])
        silent.append(wire)
        assert len(stage.tls.handshaking) <= 1000
        assert len(stage.service.connections) <= 1000
    assert sum(wire.is_aborted for wire in silent) == 9000
    assert stage.tls.counters.refused == {TlsRefusal.DISPLACED: 9000}
    above = stage.connect(Wire())
    assert above.transport
    stage.now = 11.0
    for connection in tuple(stage.service.connections):
        connection.check(stage.now)
    assert not stage.tls.handshaking


def test_a_certificate_of_any_kind_is_read_and_one_that_does_not_fit_is_refused() -> None:
    way = openssl()
    assert way is not None
    one, other = certificate_for(NAME), certificate_for("b.example")
    tls = TlsContexts(SignedSource())
    way.use(_connection(tls), way.read(one, b"name"))
    with pytest.raises(ssl.SSLError, match="does not fit"):
        way.use(_connection(tls), way.read(CertificateMaterial(one.chain, other.key), b"name"))
    for chain, key in (
        (b"", one.key),
        (one.chain, b""),
        (one.chain, one.chain),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", one.key),
    ):
        with pytest.raises(ssl.SSLError):
            way.read(CertificateMaterial(chain, key), b"name")


def _connection(tls: TlsContexts) -> Secured:
    return secured(cdn.edge.tls_contexts._empty_context(("http/1.1",)), tls.incoming, tls.outgoing)


def test_a_key_that_does_not_fit_closes_its_name_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Mixed(SignedSource):
        def material(self, certificate_id: str) -> CertificateMaterial | None:
            if certificate_id.endswith("b.example"):
                return CertificateMaterial(certificate_for("b.example").chain, certificate_for(NAME).key)
            return super().material(certificate_id)

    stage = Stage(TlsContexts(Mixed(NAME, "b.example")))
    wire = Wire("b.example")
    stage.begin(wire)
    assert not wire.step()
    with pytest.raises(ssl.SSLError, match=r"(?i)internal.error"):
        wire.step()
    stage.begin(again := Wire("b.example"))
    assert not again.step()
    assert caplog.text.count("b.example cannot be used") == 1, "once in a while, not once a handshake"
    assert stage.tls.counters.refused == {TlsRefusal.NO_MATERIAL: 2}
    assert "PRIVATE" not in caplog.text
    stage.connect(Wire())


def test_without_a_way_to_openssl_each_certificate_has_a_context(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(self: Openssl, library: object) -> None:
        raise AttributeError("SSL_use_cert_and_key is missing")

    monkeypatch.setattr(Openssl, "__init__", missing)
    monkeypatch.setattr(cdn.edge.tls_contexts, "openssl", openssl_module.openssl.__wrapped__)
    stage = Stage()
    assert caplog.text.count("SSL_use_cert_and_key is missing") == 1
    context = client_context(version=ssl.TLSVersion.TLSv1_2)
    wire = Wire(context=context)
    above = stage.connect(wire)
    above.transport.write(b"hello")
    assert wire.read() == b"hello"
    for name, after_keys, resumes in ((NAME, False, True), (NAME, True, False)):
        if after_keys:
            stage.tls.set_ticket_keys(keys(2))
        again = Wire(name, context)
        again.client = context.wrap_bio(
            again.incoming, again.outgoing, server_hostname=name, session=wire.client.session
        )
        stage.connect(again)
        assert again.client.session_reused is resumes


def test_connections_are_served_by_their_service(stage: Stage) -> None:
    """The handshake leaves the listener's table, what it makes room for enters it."""
    wire = Wire()
    handshake = TlsHandshake(stage.service, stage.tls)
    wire.protocol = handshake
    gone: list[int] = []
    stage.service.on_connection_gone = partial(gone.append, 1)
    handshake.connection_made(wire)
    assert set(stage.service.connections) == {handshake}
    while not wire.step():
        pass
    assert len(stage.service.connections) == 1
    assert handshake not in stage.service.connections
    assert not gone
    wire.client.write(b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert isinstance(stage.service.application, EchoApplication)
    stage.service.application.remember("/a", b"hello")
    wire.send()
    assert wire.read().endswith(b"hello")
    assert wire.protocol is not None
    wire.protocol.connection_lost(None)
    assert not stage.service.connections
    assert gone
