"""Over TLS a host is answered where the certificate that was shown is valid for it, and elsewhere with 421."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.edge import tls_contexts
from cdn.edge.certificate_cover import MAX_HOSTS, CertificateCover, host_line, is_named_in, names_of
from cdn.edge.openssl import openssl
from cdn.edge.tls_source import CertificateMaterial
from cdn.edge.trusted_proxies import TrustedProxies
from tests.edge.tls_material import SignedSource, certificate_for
from tests.edge.tls_stage import GET, NAME, TlsStage, client_context, get_of, serve

ROADS = pytest.mark.parametrize("has_openssl", [True, False])
"""With one context for all certificates, and with one for each."""


@ROADS
def test_hosts_of_the_certificate_are_answered_and_others_are_not(
    has_openssl: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stage: TlsStage) -> None:
        client = await stage.connect("x.wild.example")
        for host in ("x.wild.example", "y.wild.example", "Y.WILD.example.", "y.wild.example:8443"):
            assert (await client.ask(get_of(host), b"hello")).startswith(b"HTTP/1.1 200 ")
        for host in ("wild.example", "x.y.wild.example", NAME, "unheard.of", "127.0.0.1", "[::1]"):
            other = await stage.connect("x.wild.example")
            answer = await other.ask_last(get_of(host))
            assert answer.startswith(b"HTTP/1.1 421 Misdirected Request\r\n"), host
            assert b"detail=certificate\r\n" in answer
        assert stage.listener.counters.refused == {"certificate": 6}

    if not has_openssl:
        monkeypatch.setattr(tls_contexts, "openssl", lambda: None)
    serve(scene)


def test_a_head_that_is_remembered_is_no_way_around() -> None:
    async def scene(stage: TlsStage) -> None:
        own = await stage.connect(NAME)
        for _ in range(4):
            assert (await own.ask(GET, b"hello")).startswith(b"HTTP/1.1 200 ")
        assert stage.listener.counters.memo_hits > 0
        strange = await stage.connect("b.example")
        assert (await strange.ask(get_of("b.example"), b"hello")).startswith(b"HTTP/1.1 200 ")
        assert (await strange.ask_last(GET)).startswith(b"HTTP/1.1 421 ")
        strange = await stage.connect("b.example")
        answers = await strange.ask_last(get_of("b.example") + GET)
        assert answers.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 421 " in answers

    serve(scene)


def test_heads_are_remembered_for_the_next_connection_too() -> None:
    async def scene(stage: TlsStage) -> None:
        hits = []
        for _ in range(3):
            client = await stage.connect(NAME)
            for _ in range(3):
                assert (await client.ask(GET, b"hello")).startswith(b"HTTP/1.1 200 ")
            hits.append(stage.listener.counters.memo_hits)
        assert hits[0] > 0
        assert hits[1:] == [hits[0] + 3, hits[0] + 6], "from the first request of a connection on"

    serve(scene)


def test_a_head_request_is_told_without_content() -> None:
    async def scene(stage: TlsStage) -> None:
        client = await stage.connect("b.example")
        answer = await client.ask_last(get_of(NAME, method="HEAD"))
        assert answer.startswith(b"HTTP/1.1 421 ")
        assert answer.endswith(b"\r\n\r\n")

    serve(scene)


def test_without_a_name_the_default_certificate_decides() -> None:
    async def scene(stage: TlsStage) -> None:
        context = client_context()
        context.check_hostname = False
        client = await stage.connect(None, context)
        assert (await client.ask(GET, b"hello")).startswith(b"HTTP/1.1 200 ")
        assert (await client.ask_last(get_of("b.example"))).startswith(b"HTTP/1.1 421 ")

    serve(scene)


def test_a_trusted_proxy_asks_for_whom_it_wants() -> None:
    async def scene(stage: TlsStage) -> None:
        client = await stage.connect("b.example")
        assert (await client.ask(GET, b"hello")).startswith(b"HTTP/1.1 200 ")

    serve(scene, trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),)))


def test_the_proxy_that_only_says_who_the_client_is_asks_for_nobody() -> None:
    async def scene(stage: TlsStage) -> None:
        client = await stage.connect("b.example", ahead=b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n")
        assert (await client.ask_last(GET)).startswith(b"HTTP/1.1 421 ")

    serve(scene, trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),)), proxy_protocol=True)


def test_a_certificate_of_several_names_serves_all_of_them_on_one_connection() -> None:
    class OfBoth(SignedSource):
        def certificate_id(self, server_name: str) -> str | None:
            return "both"

        def material(self, certificate_id: str) -> CertificateMaterial:
            return certificate_for(NAME, "b.example")

    async def scene(stage: TlsStage) -> None:
        client = await stage.connect(NAME)
        for host in (NAME, "b.example", NAME, "b.example"):
            assert (await client.ask(get_of(host), b"hello")).startswith(b"HTTP/1.1 200 ")
        assert (await client.ask_last(get_of("c.example"))).startswith(b"HTTP/1.1 421 ")

    serve(scene, source=OfBoth())


LABELS = st.sampled_from(["a", "b", "*", "www", "xn--bcher-kva"])
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "example"]))


@given(st.lists(NAMES.filter(lambda name: "*" not in name.removeprefix("*.")), min_size=1, max_size=3), NAMES)
def test_both_ways_to_look_say_the_same(names: list[str], host: str) -> None:
    host = host.replace("*", "star")
    material = certificate_for(*sorted(set(names)))
    way = openssl()
    assert way is not None
    by_openssl = way.is_named(way.read(material, b"name"), host)
    assert by_openssl is is_named_in(names_of(material.chain), host)
    assert by_openssl is any(
        host == name or (name.startswith("*.") and host.partition(".")[2] == name[2:]) for name in names
    )


def test_a_certificate_without_names_covers_nothing() -> None:
    material = certificate_for()  # its common name is "leaf"
    way = openssl()
    assert way is not None
    assert not way.is_named(way.read(material, b"name"), "leaf")
    assert not is_named_in(names_of(material.chain), "leaf")


def test_hosts_that_are_remembered_are_bounded() -> None:
    asked: list[str] = []

    def is_named(host: str) -> bool:
        asked.append(host)
        return host != "no"

    cover = CertificateCover(is_named)
    for number in range(3 * MAX_HOSTS):
        assert cover.has(f"h{number}")
        assert len(cover.hosts) <= MAX_HOSTS
    assert [cover.has("h0"), cover.has("h0")] == [True, True]
    assert asked.count("h0") == 2
    assert [cover.has("no"), cover.has("no")] == [False, False]
    assert asked.count("no") == 2, "what is not covered takes no room"


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (GET, b"\r\nHost: a.example\r\n"),
        (b"GET / HTTP/1.1\r\nX: y\r\nhOST:a\r\nZ: host: b\r\n\r\n", b"\r\nhOST:a\r\n"),
        (b"GET http://a/ HTTP/1.0\r\nX-Host: a\r\n\r\n", b"\0"),
    ],
)
def test_the_line_that_names_the_host_is_found(head: bytes, line: bytes) -> None:
    assert host_line(head) == line
