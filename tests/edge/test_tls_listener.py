"""HTTPS on real sockets: names, versions, sessions, ALPN, ends, and clients that do not do as they should."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from cdn.edge.limits import HttpLimits
from cdn.edge.prepared import Prepared
from cdn.edge.tls_counters import TlsRefusal
from cdn.edge.tls_limits import TlsLimits
from cdn.edge.trusted_proxies import TrustedProxies
from cdn.http.request import Request
from tests.edge.engine_application import EchoApplication, Stream
from tests.edge.tls_material import SignedSource, certificate_for, digest, write_root
from tests.edge.tls_stage import GET, LAST_GET, NAME, TlsStage, client_context, get_of, keys, serve

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [V12, V13])


@VERSIONS
def test_a_client_is_served_by_name(version: ssl.TLSVersion) -> None:
    async def scene(stage: TlsStage) -> None:
        for name in (NAME, "b.example", "x.wild.example", "B.EXAMPLE"):
            client = await stage.connect(name, client_context("http/1.1", version=version))
            assert client.socket.selected_alpn_protocol() == "http/1.1"
            assert (await client.ask(get_of(name), b"hello")).startswith(b"HTTP/1.1 200 ")
            assert (await client.ask_last(get_of(name, "Connection: close"))).endswith(b"hello")
        assert stage.tls.counters.handshakes == 4
        assert stage.tls.counters.certificates_read == 3

    serve(scene)


def test_the_application_learns_that_it_is_https() -> None:
    async def scene(stage: TlsStage) -> None:
        client = await stage.connect()
        await client.ask_last(LAST_GET)
        assert schemes == ["https"]

    schemes: list[str] = []

    class Watching(EchoApplication):
        def recall(self, request: Request, now: float) -> Prepared | None:
            schemes.append(request.scheme)
            return super().recall(request, now)

    serve(scene, application=Watching())


def test_without_a_name_the_default_answers() -> None:
    async def scene(stage: TlsStage) -> None:
        context = client_context()
        context.check_hostname = False
        client = await stage.connect(None, context)
        assert (await client.ask_last(LAST_GET)).endswith(b"hello")

    serve(scene)


def test_an_unknown_name_is_closed_with_an_alert_and_without_openssl() -> None:
    async def scene(stage: TlsStage) -> None:
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            await stage.connect("c.example")
        assert stage.tls.counters.refused == {TlsRefusal.UNKNOWN_NAME: 1}
        assert stage.source.opened == []

    serve(scene)


def test_a_certificate_that_is_not_here_closes_its_name_alone() -> None:
    async def scene(stage: TlsStage) -> None:
        stage.source.lost.add("b.example")
        with pytest.raises(ssl.SSLError, match=r"(?i)internal.error"):
            await stage.connect("b.example")
        assert stage.tls.counters.refused == {TlsRefusal.NO_MATERIAL: 1}
        client = await stage.connect()
        assert (await client.ask_last(LAST_GET)).endswith(b"hello")

    serve(scene)


def test_who_speaks_none_of_our_protocols_is_told() -> None:
    async def scene(stage: TlsStage) -> None:
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            await stage.connect(NAME, client_context("h2"))
        assert stage.tls.counters.refused == {TlsRefusal.NO_PROTOCOL: 1}

    serve(scene)


def test_who_distrusts_the_certificate_fails_alone() -> None:
    async def scene(stage: TlsStage) -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            await stage.connect(NAME, ssl.create_default_context())
        await stage.until(lambda: not stage.listener.open_connections)
        # TLS 1.3: the client's alert comes in place of its last message
        assert stage.tls.counters.refused == {TlsRefusal.FAILED: 1}

    serve(scene)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_not_spoken(version: str, tmp_path: Path) -> None:
    async def scene(stage: TlsStage) -> None:
        said = await s_client(stage.port, tmp_path, version, "-cipher", "ALL@SECLEVEL=0")
        assert "protocol version" in said
        assert stage.tls.counters.handshakes == 0

    serve(scene)


def test_renegotiation_and_compression_are_not_done(tmp_path: Path) -> None:
    async def scene(stage: TlsStage) -> None:
        said = await s_client(stage.port, tmp_path, "-tls1_2", said="R\n")
        assert "no renegotiation" in said
        assert "Compression: NONE" in said

    serve(scene)


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"])
def test_ciphers_without_forward_secrecy_or_authentication_are_not_spoken(cipher: str, tmp_path: Path) -> None:
    async def scene(stage: TlsStage) -> None:
        said = await s_client(stage.port, tmp_path, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
        assert "handshake failure" in said

    serve(scene)


async def s_client(port: int, folder: Path, *options: str, said: str = "") -> str:
    """What `openssl s_client` prints."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME, "-CAfile"]
    process = await asyncio.create_subprocess_exec(
        *command,
        str(write_root(folder)),
        *options,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    printed, _ = await process.communicate(said.encode())
    return printed.decode(errors="replace")


# -- sessions --------------------------------------------------------------------------------------------------------


async def visit(
    stage: TlsStage, context: ssl.SSLContext, name: str = NAME, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession]:
    """Whether the session resumed, and the one to resume next."""
    client = await stage.connect(name, context, session)
    await client.ask(get_of(name), b"hello")
    reused, following = bool(client.socket.session_reused), client.socket.session
    client.close()
    assert following is not None
    return reused, following


@VERSIONS
def test_a_session_resumes_in_another_process_and_until_its_key_is_gone(version: ssl.TLSVersion) -> None:
    context = client_context(version=version)
    kept: list[ssl.SSLSession] = []

    async def first(stage: TlsStage) -> None:
        resumed, session = await visit(stage, context)
        assert not resumed
        kept.append(session)

    async def second(stage: TlsStage) -> None:
        resumed, session = await visit(stage, context, session=kept[0])
        assert resumed
        assert stage.tls.counters.resumed == 1
        stage.tls.set_ticket_keys(type(keys(2))(keys(2).current, keys(1).current))
        resumed, session = await visit(stage, context, session=kept[0])
        assert resumed  # by the previous key
        resumed, session = await visit(stage, context)
        stage.tls.set_ticket_keys(keys(2))
        assert (await visit(stage, context, session=session))[0]  # what was made meanwhile has the new one
        assert not (await visit(stage, context, session=kept[0]))[0]

    serve(first)
    serve(second)


@VERSIONS
def test_a_session_resumes_under_no_other_certificate(version: ssl.TLSVersion) -> None:
    async def scene(stage: TlsStage) -> None:
        context = client_context(version=version)
        _, session = await visit(stage, context)
        assert not (await visit(stage, context, "b.example", session))[0]
        stage.source.generation = "renewed"
        assert not (await visit(stage, context, session=session))[0]

    serve(scene)


# -- challenges ------------------------------------------------------------------------------------------------------


def test_a_challenge_is_answered_and_nothing_is_served(tmp_path: Path) -> None:
    async def scene(stage: TlsStage) -> None:
        stage.source.answers["new.example"] = digest("new")
        context = client_context("acme-tls/1")
        for _ in range(2):
            client = await stage.connect("new.example", context)
            assert client.socket.selected_alpn_protocol() == "acme-tls/1"
            assert await asyncio.to_thread(client.socket.recv, 1) == b""
            client.close()
        assert asked == [("new.example", digest("new"))]
        assert stage.tls.counters.challenges == 2
        del stage.source.answers["new.example"]
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            await stage.connect("new.example", context)
        stage.source.answers[NAME] = digest("a")
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):  # not beside other protocols
            await stage.connect(NAME, client_context("acme-tls/1", "h2"))

    asked: list[tuple[str, bytes]] = []

    def make(name: str, octets: bytes) -> object:
        asked.append((name, octets))
        return certificate_for(name)

    serve(scene, contexts={"challenge_certificate": make})


# -- bytes in any pieces -----------------------------------------------------------------------------------------------


@VERSIONS
def test_a_handshake_byte_by_byte(version: ssl.TLSVersion) -> None:
    async def scene(stage: TlsStage) -> None:
        context = client_context(version=version)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname=NAME)
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def send() -> None:
            for octet in outgoing.read():
                writer.write(bytes((octet,)))
                await asyncio.sleep(0)

        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                await send()
                incoming.write(await reader.read(65536))
        client.write(LAST_GET)
        await send()
        incoming.write(await reader.read(-1))
        incoming.write_eof()
        answer = b""
        while part := client.read(65536):
            answer += part
        assert answer.endswith(b"hello")
        writer.close()

    serve(scene)


def test_a_large_answer_waits_where_it_lies_until_a_slow_client_takes_it() -> None:
    async def scene(stage: TlsStage) -> None:
        content = bytes(range(256)) * 4096 * 24  # 24 MiB
        stage.application.streams["/large"] = Stream((memoryview(content),), len(content))  # type: ignore[arg-type]
        client = await stage.connect()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.socket.sendall(b"GET /large HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        answer = await client.ask_last(b"")
        assert answer.endswith(content)

    serve(scene)


def test_behind_a_proxy_the_handshake_follows_its_header() -> None:
    async def scene(stage: TlsStage) -> None:
        line = b"PROXY TCP4 198.51.100.9 192.0.2.1 1 2\r\n"
        client = await stage.connect(ahead=line)
        await client.ask_last(b"GET /echo HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        assert [visitor.address for visitor in stage.application.visitors] == ["198.51.100.9"]

    serve(scene, trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),)), proxy_protocol=True)


# -- ends ------------------------------------------------------------------------------------------------------------


def test_the_end_is_said_and_a_break_is_not() -> None:
    async def scene(stage: TlsStage) -> None:
        client = await stage.connect()
        assert (await client.ask_last(LAST_GET)).endswith(b"hello")  # close_notify, or it would have raised
        stage.application.streams["/broken"] = Stream((b"some",), None, fails=True)
        client = await stage.connect()
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            await client.ask_last(b"GET /broken HTTP/1.0\r\nHost: a.example\r\n\r\n")

    serve(scene)


def test_a_client_that_says_its_end_is_still_answered() -> None:
    async def scene(stage: TlsStage) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context().wrap_bio(incoming, outgoing, server_hostname=NAME)
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
        client.write(GET)
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
        writer.write(outgoing.read())
        incoming.write(await reader.read(-1))
        incoming.write_eof()
        assert client.read(65536).endswith(b"hello")
        writer.close()

    serve(scene)


def test_a_damaged_record_ends_its_connection_alone() -> None:
    async def scene(stage: TlsStage) -> None:
        other = await stage.connect()
        client = await stage.connect()
        plain = socket.socket(fileno=client.socket.detach())
        plain.settimeout(30)
        plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert await asyncio.to_thread(plain.recv, 65536)
        while await asyncio.to_thread(plain.recv, 65536):
            pass
        plain.close()
        assert (await other.ask_last(LAST_GET)).endswith(b"hello")

    serve(scene)


def test_withdrawn_and_drained_as_without_tls() -> None:
    async def scene(stage: TlsStage) -> None:
        client = await stage.connect()
        await client.ask(GET, b"hello")
        stage.listener.withdraw()
        assert b"connection: close" in (await client.ask_last(GET)).lower()

    serve(scene)


def test_who_ends_a_handshake_while_all_end_does_not_hold_them_up() -> None:
    async def scene(stage: TlsStage) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context().wrap_bio(incoming, outgoing, server_hostname=NAME)
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        writer.write(outgoing.read())
        incoming.write(await reader.read(65536))
        stage.listener.withdraw()
        draining = asyncio.create_task(stage.listener.drain(60.0))
        await asyncio.sleep(0)
        client.do_handshake()
        writer.write(outgoing.read())  # and asks for nothing
        await draining
        assert stage.tls.counters.handshakes == 1
        incoming.write(await reader.read(-1))
        assert client.read(65536) == b""  # close_notify, not a break
        writer.close()

    serve(scene, http_limits=HttpLimits(linger_s=0.05))


# -- too many, too late, not TLS ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"\x80\x2e\x01\x03\x01",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
    ],
)
def test_what_is_not_tls_is_closed(said: bytes) -> None:
    async def scene(stage: TlsStage) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(said)
        answer = await reader.read(-1)
        assert answer in {b"", b"\x15\x03\x03\x00\x02\x02\x32"}
        assert stage.tls.counters.refused == {TlsRefusal.NOT_TLS: 1}
        writer.close()

    serve(scene)


def test_the_oldest_handshake_goes_when_there_are_too_many() -> None:
    async def scene(stage: TlsStage) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", stage.port) for _ in range(6)]
        for _, writer in silent:
            writer.write(b"\x16\x03\x01")
        await stage.until(lambda: stage.tls.counters.refused.get(TlsRefusal.DISPLACED, 0) >= 2)
        client = await stage.connect()
        assert (await client.ask_last(LAST_GET)).endswith(b"hello")
        assert len(stage.tls.handshaking) <= 4
        for _, writer in silent:
            writer.close()

    serve(scene, limits=TlsLimits(max_handshakes=4))


def test_a_handshake_has_its_time() -> None:
    async def scene(stage: TlsStage) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        writer.write(b"\x16\x03\x01")
        assert await reader.read(-1) == b""
        assert stage.tls.counters.refused == {TlsRefusal.TIMEOUT: 1}
        writer.close()

    serve(scene, limits=TlsLimits(handshake_timeout_s=0.1))


def test_where_all_connections_are_taken_nobody_shakes_hands() -> None:
    async def scene(stage: TlsStage) -> None:
        client = await stage.connect()
        await client.ask(GET, b"hello")
        with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
            await stage.connect()
        assert stage.tls.counters.refused == {TlsRefusal.TOO_MANY_CONNECTIONS: 1}
        assert (await client.ask_last(LAST_GET)).endswith(b"hello")

    serve(scene, http_limits=HttpLimits(max_connections=1))


def test_certificates_that_are_asked_for_seldom_make_room() -> None:
    async def scene(stage: TlsStage) -> None:
        for name in (NAME, "b.example", NAME, "b.example", NAME):
            client = await stage.connect(name)
            assert (await client.ask_last(get_of(name, "Connection: close"))).endswith(b"hello")
        assert stage.tls.counters.certificates_read == 5

    serve(scene, limits=TlsLimits(max_certificates=1), source=SignedSource(NAME, "b.example"))
