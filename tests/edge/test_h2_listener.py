"""HTTP/2 on real sockets, as other programs speak it: curl, h2load, and what python says without ALPN."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from cdn.edge.h2_limits import H2Limits
from cdn.edge.limits import HttpLimits
from cdn.edge.listener import Listener
from cdn.edge.trusted_proxies import TrustedProxies
from tests.edge.engine_application import EchoApplication
from tests.edge.h2_client import H2Client
from tests.edge.tls_material import write_root
from tests.edge.tls_stage import GET, NAME, TlsStage, client_context, serve

BOTH = {"protocols": ("h2", "http/1.1")}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
SETTINGS_ACK = b"\0\0\0\x04\1\0\0\0\0"


async def run(*words: str, given: bytes = b"") -> bytes:
    """What a program says. Fails when it fails."""
    program = shutil.which(words[0])
    assert program is not None, f"{words[0]} is missing: apt-get install curl nghttp2-client"
    done = await asyncio.to_thread(
        subprocess.run, (program, *words[1:]), input=given, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_curl_speaks_it_over_tls(tmp_path: Path) -> None:
    async def scene(stage: TlsStage) -> None:
        ways = ("--cacert", str(write_root(tmp_path)), "--resolve", f"{NAME}:{stage.port}:127.0.0.1", "-s", "-i")
        url = f"https://{NAME}:{stage.port}"
        hit = await run("curl", "--http2", *ways, f"{url}/a")
        assert hit.startswith(b"HTTP/2 200 ")
        assert hit.endswith(b"hello")
        echo = await run("curl", "--http2", *ways, "--data-binary", "@-", f"{url}/echo", given=b"x" * 300_000)
        assert echo.endswith(b"x" * 300_000)
        assert (await run("curl", "--http1.1", *ways, f"{url}/a")).startswith(b"HTTP/1.1 200 ")
        assert stage.listener.counters.h2_connections == 2

    serve(scene, contexts=BOTH)


async def test_curl_speaks_it_by_prior_knowledge() -> None:
    application = EchoApplication()
    application.remember("/a", b"x" * 1_000_000)
    listener = await Listener.start("127.0.0.1", 0, application, HttpLimits())
    try:
        url = f"http://127.0.0.1:{listener.port}"
        assert await run("curl", "-s", "--http2-prior-knowledge", f"{url}/a") == b"x" * 1_000_000
        assert (await run("curl", "-s", "-I", "--http2-prior-knowledge", f"{url}/a")).startswith(b"HTTP/2 200 ")
        assert (await run("curl", "-s", "-i", "--http1.1", f"{url}/nothing")).startswith(b"HTTP/1.1 204 ")
    finally:
        await listener.aclose()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_h2load_gets_all_that_it_asks_for(scheme: str) -> None:
    async def scene(stage: TlsStage) -> None:
        port, counters = stage.port, stage.listener.counters
        plain: Listener | None = None
        if scheme == "http":
            plain = await Listener.start("127.0.0.1", 0, stage.application, HttpLimits())
            port, counters = plain.port, plain.counters
        try:
            words = ("-n", "2000", "-c", "8", "-m", "20", "-H", f":authority: {NAME}", f"{scheme}://127.0.0.1:{port}/a")
            said = (await run("h2load", *words, f"{scheme}://127.0.0.1:{port}/echo")).decode()
        finally:
            if plain is not None:
                await plain.aclose()
        assert re.search(r"2000 done, 2000 succeeded, 0 failed, 0 errored", said), said
        assert counters.h2_streams == 2000
        assert counters.h2_connections == 8
        assert counters.answered == 1000

    serve(scene, contexts=BOTH)


def test_who_does_not_offer_it_speaks_http_1(tmp_path: Path) -> None:
    async def scene(stage: TlsStage) -> None:
        both = await stage.connect(context=client_context("h2", "http/1.1"))
        assert both.socket.selected_alpn_protocol() == "h2"
        for context in (client_context(), client_context("http/1.1")):
            client = await stage.connect(context=context)
            assert (await client.ask(GET, b"hello")).startswith(b"HTTP/1.1 200 ")
        assert stage.listener.counters.h2_connections == 1

    serve(scene, contexts=BOTH)


def test_the_preface_alone_chooses_nothing_above_tls() -> None:
    async def scene(stage: TlsStage) -> None:
        client = await stage.connect(context=client_context("http/1.1"))
        assert (await client.ask_last(PREFACE)).startswith(b"HTTP/1.1 505 ")

    serve(scene, contexts=BOTH)


async def talk(port: int, *parts: bytes, until: bytes | None = None) -> bytes:
    """What is answered to parts that come one by one, up to these octets or the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connected: socket.socket = writer.get_extra_info("socket")
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answer = b""
    try:
        async with asyncio.timeout(20):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            while (until is None or until not in answer) and (part := await reader.read(65_536)):
                answer += part
    finally:
        writer.close()
    return answer


@pytest.mark.parametrize("cut", [1, 3, 15, 16, 17, 23, 24, 30])
async def test_the_preface_may_come_in_parts(cut: int) -> None:
    listener = await Listener.start("127.0.0.1", 0, EchoApplication(), HttpLimits())
    hello = PREFACE + SETTINGS
    try:
        answer = await talk(listener.port, hello[:cut], hello[cut:], until=SETTINGS_ACK)
        assert answer[3] == 4, "SETTINGS come first"
        assert listener.counters.connections == listener.counters.h2_connections == 1
    finally:
        await listener.aclose()


async def test_where_it_is_switched_off_the_preface_is_an_unknown_version() -> None:
    listener = await Listener.start("127.0.0.1", 0, EchoApplication(), HttpLimits(), http2=H2Limits(enabled=False))
    try:
        assert (await talk(listener.port, PREFACE)).startswith(b"HTTP/1.1 505 ")
    finally:
        await listener.aclose()


async def test_the_preface_behind_a_request_is_no_request() -> None:
    application = EchoApplication()
    application.remember("/a", b"hello")
    listener = await Listener.start("127.0.0.1", 0, application, HttpLimits())
    try:
        answer = await talk(listener.port, GET + PREFACE)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 505 " in answer
        assert listener.counters.h2_connections == 0
    finally:
        await listener.aclose()


async def test_a_proxy_says_for_whom_it_asks() -> None:
    application = EchoApplication()
    listener = await Listener.start(
        "127.0.0.1",
        0,
        application,
        HttpLimits(),
        proxy_protocol=True,
        trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),)),
    )
    client = H2Client(application)
    client.connect(is_silent=True)
    client.h2.initiate_connection()
    client.ask("/echo")
    try:
        said = b"PROXY TCP4 198.51.100.9 192.0.2.1 1 2\r\n" + client.h2.data_to_send()
        await talk(listener.port, said, until=b"GET a.example /echo")
        assert [visitor.address for visitor in application.visitors] == ["198.51.100.9"]
        assert listener.counters.h2_connections == 1
    finally:
        await listener.aclose()


async def test_draining_lets_idle_clients_go_at_once() -> None:
    listener = await Listener.start("127.0.0.1", 0, EchoApplication(), HttpLimits())
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        async with asyncio.timeout(20):
            writer.write(PREFACE + SETTINGS)
            while listener.counters.h2_connections == 0:
                await asyncio.sleep(0.005)
            listener.withdraw()
            draining = asyncio.create_task(listener.drain(15))
            said = await reader.read()
            writer.close()
            await draining
        assert listener.open_connections == 0
        assert b"\x07\0\0\0\0\0\x7f\xff\xff\xff" in said, "no number of a stream is excluded at first"
    finally:
        writer.close()
