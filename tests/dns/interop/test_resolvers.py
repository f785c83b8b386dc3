"""What dig, kdig, dnspython's resolver and unbound make of our answers, over UDP and TCP, with and without subnets."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.resolver
import pytest

from tests.dns.interop import unbound
from tests.dns.interop.conftest import Served
from tests.dns.interop.name_server import CDN_ZONE

SITE = f"blog.{CDN_ZONE}"
NEAR, FAR = "203.0.113.1", "203.0.113.2"
"""The node for clients of 198.51.100.0/24, and for everybody else."""


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def dig(port: int, *words: str, at: str = "127.0.0.1") -> str:
    return run("dig", f"@{at}", "-p", str(port), "+norecurse", "+tries=1", "+timeout=20", *words)


def kdig(port: int, *words: str, at: str = "127.0.0.1") -> str:
    return run("kdig", f"@{at}", "-p", str(port), "+norecurse", "+retry=0", "+timeout=20", *words)


PROGRAMS = pytest.mark.parametrize("program", [dig, kdig])
Program = Callable[..., str]
TRANSPORTS = pytest.mark.parametrize("transport", ["+notcp", "+tcp"])


@PROGRAMS
@TRANSPORTS
@pytest.mark.parametrize("at", ["127.0.0.1", "::1"])
def test_names_are_found(signed: Served, program: Program, transport: str, at: str) -> None:
    told = program(signed.port, "www.example.org", "A", "+short", transport, at=at)
    assert told.split() == ["pages.example.org.", "192.0.2.1", "192.0.2.2"]
    assert program(signed.port, "example.org", "MX", "+short", transport, at=at).split() == ["10", "mail.example.org."]
    assert "NXDOMAIN" in program(signed.port, "nope.example.org", "A", transport, at=at)
    assert "REFUSED" in program(signed.port, "example.net", "A", transport, at=at)


@PROGRAMS
@TRANSPORTS
@pytest.mark.parametrize(
    ("subnet", "node", "scope"), [("198.51.100.0/24", NEAR, 24), ("192.0.2.0/24", FAR, 24), ("0.0.0.0/0", FAR, 0)]
)
def test_sites_are_found_for_a_client(
    signed: Served, program: Program, transport: str, subnet: str, node: str, scope: int
) -> None:
    told = program(signed.port, SITE, "A", transport, f"+subnet={subnet}")
    assert f"\t{node}" in told or f" {node}" in told
    subnets = [line.split()[-1] for line in told.splitlines() if "CLIENT-SUBNET" in line]
    assert subnets == [f"{subnet}/{scope}"]


@PROGRAMS
def test_signatures_come_with_do_alone(signed: Served, program: Program) -> None:
    assert "RRSIG" in program(signed.port, SITE, "A", "+dnssec")
    assert "RRSIG" not in program(signed.port, SITE, "A")
    assert "257 3 13" in program(signed.port, "example.org", "DNSKEY", "+short")


@PROGRAMS
def test_an_answer_that_is_too_long_comes_over_tcp(signed: Served, program: Program) -> None:
    assert len(program(signed.port, "big.example.org", "TXT", "+short").strip().splitlines()) == 12


@PROGRAMS
def test_servers_say_who_they_are(signed: Served, program: Program) -> None:
    assert "ns1.test" in program(signed.port, "example.org", "SOA", "+nsid")


def test_a_cookie_is_taken_back(signed: Served) -> None:
    told = dig(signed.port, "example.org", "SOA", "+cookie")
    assert "(good)" in told
    assert "BADVERS" in dig(signed.port, "example.org", "SOA", "+edns=1", "+noednsnegotiation")


def test_dnspython_resolves(signed: Served) -> None:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], signed.port
    assert [each.to_text() for each in resolver.resolve("www.example.org", "A")] == ["192.0.2.1", "192.0.2.2"]
    assert [each.to_text() for each in resolver.resolve(SITE, "A", tcp=True)] == [FAR]
    with pytest.raises(dns.resolver.NXDOMAIN):
        resolver.resolve("nope.example.org", "A")
    with pytest.raises(dns.resolver.NoAnswer):
        resolver.resolve("example.org", "AAAA")
    resolver.use_edns(0, dns.flags.DO, 1232, options=[dns.edns.ECSOption("198.51.100.7", 24)])
    found = resolver.resolve(SITE, "A")
    assert [each.to_text() for each in found] == [NEAR]
    assert [option.to_text() for option in found.response.options] == ["ECS 198.51.100.0/24 scope/24"]


@pytest.fixture(scope="module")
def resolver(signed: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Without trust in any key: it never validates."""
    folder = tmp_path_factory.mktemp("unbound")
    with unbound.running(folder, signed.port, ("example.org", CDN_ZONE), ()) as port:
        yield port


def resolved(
    port: int, name: str, qtype: str, options: Sequence[dns.edns.Option] = (), *, tcp: bool
) -> dns.message.Message:
    query = dns.message.make_query(name, qtype, use_edns=0, options=list(options))
    ask = dns.query.tcp if tcp else dns.query.udp
    return ask(query, "127.0.0.1", timeout=30, port=port)


@pytest.mark.parametrize("tcp", [False, True])
def test_unbound_resolves(resolver: int, tcp: bool) -> None:
    alias, addresses = resolved(resolver, "www.example.org", "A", tcp=tcp).answer
    assert str(alias[0]) == "pages.example.org."
    assert {str(each) for each in addresses} == {"192.0.2.1", "192.0.2.2"}
    assert resolved(resolver, "nope.example.org", "A", tcp=tcp).rcode() == dns.rcode.NXDOMAIN
    assert resolved(resolver, "example.org", "AAAA", tcp=tcp).answer == []
    big = resolved(resolver, "big.example.org", "TXT", tcp=True)
    assert [len(rrset) for rrset in big.answer] == [12]


def test_unbound_asks_for_its_clients(resolver: int) -> None:
    """And keeps an answer for those it is for."""
    for _ in range(2):
        for address, node in (("198.51.100.7", NEAR), ("192.0.2.7", FAR), ("198.51.100.200", NEAR)):
            found = resolved(resolver, SITE, "A", [dns.edns.ECSOption(address, 24)], tcp=False)
            assert [str(rrset[0]) for rrset in found.answer] == [node]
            assert [option.scopelen for option in found.options if isinstance(option, dns.edns.ECSOption)] == [24]
