"""What a listener answers and what its access log says are the same: each answer once, with its true facts."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import h2.settings
import pytest

from cdn.edge.access_log import AccessLog
from cdn.edge.access_log_settings import AccessLogSettings, Addresses
from cdn.edge.certificate_cover import COVER, CertificateCover
from cdn.edge.limits import HttpLimits
from cdn.edge.listener import Listener
from cdn.edge.response import Response
from cdn.edge.traffic import Traffic
from cdn.edge.trusted_proxies import TrustedProxies
from tests.edge.engine_application import TEXT, EchoApplication, Stream
from tests.edge.engine_responses import read_responses
from tests.edge.engine_transport import Client, RecordingTransport, settle
from tests.edge.h2_client import H2Client
from tests.edge.test_h2_listener import run
from tests.edge.test_listener import talk
from tests.edge.tls_stage import NAME, TlsStage, client_context
from tests.edge.tls_stage import serve as serve_tls

Line = dict[str, Any]


async def logged(
    folder: Path,
    scene: Callable[[Listener, EchoApplication], Awaitable[None]],
    settings: AccessLogSettings | None = None,
    **options: Any,
) -> tuple[list[Line], dict[str, int]]:
    """The lines, and the numbers, after `scene` has played against a listener."""
    path = folder / "access.log"
    log = AccessLog.open(settings or AccessLogSettings(path), site_of=lambda host: "blog")
    assert log is not None
    traffic = Traffic(log)
    application = EchoApplication()
    application.remember("/a", b"hello")
    listener = await Listener.start("127.0.0.1", 0, application, HttpLimits(), traffic=traffic, **options)
    try:
        async with asyncio.timeout(20):
            await scene(listener, application)
    finally:
        await listener.aclose()
        await log.aclose()
    return [json.loads(each) for each in path.read_text().splitlines()], traffic.numbers()


def request(target: str, method: str = "GET", *fields: str, content: str = "", protocol: str = "HTTP/1.1") -> bytes:
    lines = (f"{method} {target} {protocol}", "Host: a.example", *fields)
    return ("\r\n".join(lines) + "\r\n\r\n" + content).encode("latin-1")


async def test_each_answer_is_told_once_with_its_facts(tmp_path: Path) -> None:
    sent = [
        request("/a"),
        request("/a?q=%22", "GET", "User-Agent: Gr\xc3\xbc\xc3\x9fe \x9b31m", 'Referer: https://x.example/"'),
        *[request("/a")] * 3,
        request("/a", "HEAD"),
        request("/echo", "POST", "Content-Length: 3", content="abc"),
        request("/nothing"),
        request("/same"),
        request("/chunks"),
        request("/sized"),
        request("/missed"),
        request("/unread", "POST", "Content-Length: 3", content="abc"),
        request("/a", protocol="HTTP/1.0"),
    ]

    async def scene(listener: Listener, application: EchoApplication) -> None:
        application.streams["/chunks"] = Stream((b"abc", b"de"), None)
        application.streams["/sized"] = Stream((b"abc", b"de"), 5)
        status = "edge; fwd=uri-miss; fwd-status=200; stored"
        application.responses["/missed"] = Response(200, (*TEXT, ("cache-status", status)), b"fetched")
        got = await talk(listener.port, b"".join(sent))
        methods = [each.partition(b" ")[0].decode() for each in sent]
        assert len(read_responses(got, methods)) == len(sent)

    lines, numbers = await logged(tmp_path, scene)
    assert [(each["method"], each["target"], each["status"], each["bytes"], each["outcome"]) for each in lines] == [
        ("GET", "/a", 200, 5, "hit"),
        ("GET", "/a?q=%22", 200, 5, "hit"),
        *[("GET", "/a", 200, 5, "hit")] * 3,
        ("HEAD", "/a", 200, 0, "hit"),
        ("POST", "/echo", 200, len(b"POST a.example /echo None abc"), "local"),
        ("GET", "/nothing", 204, 0, "local"),
        ("GET", "/same", 304, 0, "local"),
        ("GET", "/chunks", 200, 5, "local"),
        ("GET", "/sized", 200, 5, "local"),
        ("GET", "/missed", 200, 7, "miss"),
        ("POST", "/unread", 405, 8, "local"),
        ("GET", "/a", 200, 5, "hit"),
    ]
    assert {each["address"] for each in lines} == {"127.0.0.1"}
    assert {(each["host"], each["site"], each["scheme"]) for each in lines} == {("a.example", "blog", "http")}
    assert [each["protocol"] for each in lines] == ["HTTP/1.1"] * 13 + ["HTTP/1.0"]
    assert (lines[1]["user_agent"], lines[1]["referer"]) == ("Gr\u00fc\u00dfe \\x9b31m", 'https://x.example/"')
    assert lines[11]["cache_status"] == "edge; fwd=uri-miss; fwd-status=200; stored"
    assert all(0 <= each["first_byte_ms"] <= each["duration_ms"] for each in lines if "first_byte_ms" in each)
    assert not any("complete" in each for each in lines)
    assert sum(value for name, value in numbers.items() if name.startswith("requests ")) == len(sent)
    assert numbers["log written"] == len(sent)
    assert sum(numbers[f"content_bytes {protocol}"] for protocol in ("HTTP/1.0", "HTTP/1.1")) == sum(
        each["bytes"] for each in lines
    )


async def test_what_is_refused_or_fails_is_told(tmp_path: Path) -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        await talk(listener.port, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        await talk(listener.port, b"\x16\x03\x01\x00")
        await talk(listener.port, request("/fails"))
        await talk(listener.port, request("/echo", "POST", "Transfer-Encoding: chunked", content="x\r\n"))

    lines, numbers = await logged(tmp_path, scene)
    assert [(each["status"], each["outcome"], each.get("reason")) for each in lines] == [
        (400, "refused", "repeated-host"),
        (400, "refused", "incomplete-request"),
        (500, "failed", "internal-error"),
        (400, "refused", "malformed-chunk"),
    ]
    assert numbers["requests HTTP/1.1 4 refused"] == 3
    assert numbers["requests HTTP/1.1 5 failed"] == 1


async def test_what_breaks_off_says_how_far_it_came(tmp_path: Path) -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        application.streams["/short"] = Stream((b"abc",), 500)
        with suppress(ConnectionResetError):
            await talk(listener.port, request("/short"))
        application.gate = asyncio.Event()
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(request("/slow"))
        while application.answered[-1] != "/slow":
            await asyncio.sleep(0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        while listener.open_connections:
            await asyncio.sleep(0)

    lines, _ = await logged(tmp_path, scene)
    shown = [(each["target"], each["status"], each["bytes"], each["outcome"], each["complete"]) for each in lines]
    assert shown == [("/short", 200, 3, "local", False), ("/slow", 0, 0, "abandoned", False)]


class LeavingTransport(RecordingTransport):
    """Its client is found to be gone when it is written to for the third time."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self.is_closed = len(self.writes) == 3


@pytest.mark.parametrize("kind", [Client, H2Client])
async def test_what_was_being_written_when_the_client_left_is_not_whole(
    tmp_path: Path, kind: type[Client] | type[H2Client]
) -> None:
    application = EchoApplication()
    application.streams["/s"] = Stream((b"x" * 200_000,) * 50, 10_000_000)
    client = kind(application)
    log = AccessLog.open(AccessLogSettings(tmp_path / "access.log"), site_of=lambda host: "blog")
    assert log is not None
    client.service.traffic.access_log = log
    if isinstance(client, H2Client):
        client.connect(LeavingTransport())
        client.h2.increment_flow_control_window(1 << 24)
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 24})
        client.ask("/s")
        client.flush()
    else:
        client.reconnect(LeavingTransport())
        client.send(request("/s"))
    await settle()
    assert client.transport.is_closed
    client.connection.connection_lost(None)
    await settle()
    await log.aclose()
    (line,) = (tmp_path / "access.log").read_text().splitlines()
    assert json.loads(line)["complete"] is False


async def test_a_trusted_proxy_is_believed_and_nobody_else(tmp_path: Path) -> None:
    """Heads that are the same but for who asks; the second time each comes from the memory."""
    by_proxy = [request("/a", "GET", f"X-Forwarded-For: 192.0.2.{last}") for last in (1, 2)]

    async def scene(listener: Listener, application: EchoApplication) -> None:
        for _ in range(4):
            await talk(listener.port, b"".join((*by_proxy, request("/a"), *by_proxy)))

    trusted = TrustedProxies((ip_network("127.0.0.0/8"),))
    lines, _ = await logged(tmp_path, scene, trusted_proxies=trusted)
    assert [each["address"] for each in lines] == ["192.0.2.1", "192.0.2.2", "127.0.0.1", "192.0.2.1", "192.0.2.2"] * 4
    path = tmp_path / "access.log"
    path.unlink()
    lines, _ = await logged(tmp_path, scene)
    assert {each["address"] for each in lines} == {"127.0.0.1"}
    path.unlink()
    kept = AccessLogSettings(path, addresses=Addresses.NETWORK)
    lines, _ = await logged(tmp_path, scene, kept, trusted_proxies=trusted)
    assert Counter(each["address"] for each in lines) == {"192.0.2.0": 16, "127.0.0.0": 4}


async def test_http_2_is_told_in_the_same_words(tmp_path: Path) -> None:
    async def scene(listener: Listener, application: EchoApplication) -> None:
        url = f"http://127.0.0.1:{listener.port}"
        ways = ("curl", "-s", "-o", str(tmp_path / "got"), "-A", "ua", "-H", "Host: a.example")
        for version in ("--http1.1", "--http2-prior-knowledge"):
            for words in ((f"{url}/a?x",), (f"{url}/a?x",), (f"{url}/echo",), ("-I", f"{url}/a")):
                await run(*ways, version, *words)

    lines, numbers = await logged(tmp_path, scene)
    by_1, by_2 = lines[:4], lines[4:]
    untimed = [
        {
            name: value
            for name, value in each.items()
            if name not in {"time", "duration_ms", "first_byte_ms", "protocol"}
        }
        for each in lines
    ]
    assert untimed[:4] == untimed[4:]
    assert ({each["protocol"] for each in by_1}, {each["protocol"] for each in by_2}) == ({"HTTP/1.1"}, {"HTTP/2"})
    assert numbers["requests HTTP/2 2 hit"] == numbers["requests HTTP/1.1 2 hit"] == 3
    assert numbers["content_bytes HTTP/2"] == numbers["content_bytes HTTP/1.1"]


async def test_no_query_is_kept_where_none_is_wanted_on_any_road(tmp_path: Path) -> None:
    """A page's parts are asked for with its whole URL in their Referer."""
    referer = "Referer: https://a.example/page?token=secret"

    async def scene(listener: Listener, application: EchoApplication) -> None:
        heads = [request("/a?secret", "GET", referer, f"Cookie: n={number // 2}") for number in range(8)]
        await talk(listener.port, b"".join([*heads, request("/echo?secret", "POST", referer, "Content-Length: 0")]))
        ways = ("curl", "-s", "-o", str(tmp_path / "got"), "--http2-prior-knowledge", "-H", referer)
        for path in ("a", "a", "a", "echo"):
            await run(*ways, "-H", "Host: a.example", f"http://127.0.0.1:{listener.port}/{path}?secret")

    path = tmp_path / "access.log"
    lines, numbers = await logged(tmp_path, scene, AccessLogSettings(path, queries=False))
    assert (numbers["requests HTTP/1.1 2 hit"], numbers["requests HTTP/2 2 hit"]) == (8, 3)
    assert Counter(each["target"] for each in lines) == {"/a": 11, "/echo": 2}
    assert {each["referer"] for each in lines} == {"https://a.example/page"}
    assert "secret" not in path.read_text()


def test_a_connection_by_tls_says_its_version(tmp_path: Path) -> None:
    path = tmp_path / "access.log"

    async def scene(stage: TlsStage) -> None:
        log = AccessLog.open(AccessLogSettings(path))
        assert log is not None
        traffic = stage.listener._service.traffic
        traffic.access_log = log
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", stage.port, ssl=client_context(), server_hostname=NAME
        )
        writer.write(f"GET /a HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        assert (await reader.read()).endswith(b"hello")
        writer.close()
        await log.aclose()

    serve_tls(scene)
    (line,) = (json.loads(each) for each in path.read_text().splitlines())
    assert (line["scheme"], line["tls"], line["host"], line["outcome"]) == ("https", "TLSv1.3", NAME, "hit")


@pytest.mark.parametrize("kind", [Client, H2Client])
async def test_what_belongs_on_another_connection_is_told_with_what_was_asked(
    tmp_path: Path, kind: type[Client] | type[H2Client]
) -> None:
    client = kind(EchoApplication(), scheme="https")
    log = AccessLog.open(AccessLogSettings(tmp_path / "access.log"), site_of=lambda host: "blog")
    assert log is not None
    client.service.traffic.access_log = log
    if isinstance(client, H2Client):
        client.connect(CoveredTransport())
        assert client.get("/a?q", fields=[("user-agent", "ua"), ("referer", "https://r.example/")]).status == 421
    else:
        client.reconnect(CoveredTransport())
        client.send(request("/a?q", "GET", "User-Agent: ua", "Referer: https://r.example/"))
        assert client.transport.sent.startswith(b"HTTP/1.1 421 ")
    await log.aclose()
    line = json.loads((tmp_path / "access.log").read_text())
    assert (line["status"], line["outcome"], line["reason"]) == (421, "refused", "certificate")
    assert (line["host"], line["method"], line["target"], line["site"]) == ("a.example", "GET", "/a?q", "blog")
    assert (line["user_agent"], line["referer"]) == ("ua", "https://r.example/")


class CoveredTransport(RecordingTransport):
    """Of a connection whose certificate is another host's."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return CertificateCover(lambda host: host == "b.example") if name == COVER else default


async def test_what_is_no_request_of_http_2_has_a_line(tmp_path: Path) -> None:
    client = H2Client(EchoApplication())
    log = AccessLog.open(AccessLogSettings(tmp_path / "access.log"))
    assert log is not None
    client.service.traffic.access_log = log
    client.h2.config.validate_outbound_headers = False
    client.h2.config.normalize_outbound_headers = False
    client.ask(fields=[("connection", "close")])
    client.flush()
    await log.aclose()
    line = json.loads((tmp_path / "access.log").read_text())
    assert (line["status"], line["outcome"], line["reason"]) == (0, "refused", "malformed-request")
    assert (line["protocol"], line["host"], line["target"], line["bytes"]) == ("HTTP/2", "", "", 0)
    assert client.service.traffic.numbers()["requests HTTP/2 0 refused"] == 1
