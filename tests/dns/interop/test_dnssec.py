"""Signed zones as delv, unbound and dnsviz see them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from cdn.dns.signer import ZoneSigner
from cdn.tls.zone_key import ZoneKey
from cdn.tls.zone_signing import SigningAction
from tests.dns.interop import unbound
from tests.dns.interop.conftest import Served
from tests.dns.interop.name_server import CDN_ZONE, CHILD, NameServer, served

ZONES = ("example.org", "child.example.org", "open.example.org", "plain.example.com", CDN_ZONE)
FOUND, NOTHING, UNSIGNED = "; fully validated", "; negative response, fully validated", "; unsigned answer"
QUESTIONS = [
    ("example.org A", FOUND),
    ("example.org SOA", FOUND),
    ("example.org NS", FOUND),
    ("example.org MX", FOUND),
    ("example.org DNSKEY", FOUND),
    ("example.org CDS", FOUND),
    ("example.org CDNSKEY", FOUND),
    ("example.org NSEC", FOUND),
    ("example.org AAAA", NOTHING),
    ("example.org ANY", FOUND),
    ("www.example.org A", FOUND),
    ("www.example.org AAAA", FOUND),  # of the alias, and the denial behind it
    ("nope.example.org A", NOTHING),
    ("a.b.c.nope.example.org A", NOTHING),
    ("down.example.org TXT", NOTHING),
    ("x.down.example.org TXT", NOTHING),
    ("any.wild.example.org A", FOUND),
    ("a.b.wild.example.org A", FOUND),
    ("*.wild.example.org A", FOUND),
    ("any.wild.example.org TXT", NOTHING),
    ("host.wild.example.org A", NOTHING),
    ("x.host.wild.example.org A", NOTHING),
    ("q.also.example.org A", FOUND),
    ("x.old.example.org A", FOUND),
    ("x.old.example.org TXT", FOUND),
    ("_sip._tcp.example.org SRV", FOUND),
    ("big.example.org TXT", FOUND),
    ("site.example.org A", FOUND),
    ("site.example.org AAAA", NOTHING),
    ("child.example.org DS", FOUND),
    ("www.child.example.org A", FOUND),
    ("up.child.example.org A", FOUND),
    ("no.child.example.org A", NOTHING),
    ("open.example.org DS", NOTHING),
    ("www.open.example.org A", UNSIGNED),
    ("no.open.example.org A", "; negative response, unsigned answer"),
    (f"{CDN_ZONE} SOA", FOUND),
    (f"{CDN_ZONE} TXT", NOTHING),
    (f"blog.{CDN_ZONE} A", FOUND),
    (f"blog.{CDN_ZONE} HTTPS", FOUND),
    (f"blog.{CDN_ZONE} AAAA", NOTHING),
    (f"nope.{CDN_ZONE} A", NOTHING),
    (f"ns.{CDN_ZONE} A", FOUND),
]


def delv(port: int, folder: Path, anchors: Sequence[str], question: str, *options: str) -> str:
    """What it says first of an answer."""
    trusted = folder / "anchors"
    lines = (anchor.split() for anchor in anchors)
    made = "".join(f'{name} static-ds {tag} {alg} {kind} "{digest}";\n' for name, _, _, tag, alg, kind, digest in lines)
    trusted.write_text(f"trust-anchors {{\n{made}}};\n")
    root = CDN_ZONE if CDN_ZONE in question else "example.org"
    command = ["delv", "@127.0.0.1", "-p", str(port), "-a", str(trusted), f"+root={root}", *options, *question.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in done.stdout.splitlines() if not line.startswith(";; resolution failed: ncache")]
    return said[0] if said else done.stderr


@pytest.mark.parametrize(("question", "expected"), QUESTIONS)
def test_delv_validates(signed: Served, tmp_path: Path, question: str, expected: str) -> None:
    assert delv(signed.port, tmp_path, signed.anchors, question) == expected


@pytest.mark.parametrize("question", ["example.org A", "nope.example.org A", "any.wild.example.org A"])
def test_delv_validates_over_tcp(signed: Served, tmp_path: Path, question: str) -> None:
    said = delv(signed.port, tmp_path, signed.anchors, question, "+tcp")
    assert said in (FOUND, NOTHING)


def test_delv_trusts_no_other_key(signed: Served, tmp_path: Path) -> None:
    wrong = [anchor[:-4] + "0000" for anchor in signed.anchors]
    assert "broken trust chain" in delv(signed.port, tmp_path, wrong, "example.org A")


@pytest.fixture(scope="module")
def resolver(signed: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with unbound.running(tmp_path_factory.mktemp("unbound"), signed.port, ZONES, signed.anchors) as port:
        yield port


Ask = Callable[..., dns.message.Message]


def asked(port: int, question: str, ask: Ask = dns.query.udp) -> dns.message.Message:
    name, qtype = question.split()
    query = dns.message.make_query(name, qtype, want_dnssec=True)
    found = ask(query, "127.0.0.1", timeout=30, port=port)
    if found.flags & dns.flags.TC:
        found = dns.query.tcp(query, "127.0.0.1", timeout=30, port=port)
    return found


@pytest.mark.parametrize(("question", "expected"), [each for each in QUESTIONS if " ANY" not in each[0]])
def test_unbound_validates(resolver: int, question: str, expected: str) -> None:
    found = asked(resolver, question)
    assert found.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
    assert bool(found.flags & dns.flags.AD) == (expected in (FOUND, NOTHING))
    assert bool(found.answer) == (expected in (FOUND, UNSIGNED))


def test_unbound_takes_a_zone_for_forged_whose_key_is_another(signed: Served, tmp_path: Path) -> None:
    wrong = [anchor[:-4] + "0000" for anchor in signed.anchors]
    with unbound.running(tmp_path, signed.port, ZONES, wrong) as port:
        assert asked(port, "example.org A").rcode() == dns.rcode.SERVFAIL
        assert asked(port, "www.plain.example.com A").rcode() == dns.rcode.NOERROR


def test_a_key_is_rolled_and_signing_ends_without_a_moment_of_doubt(tmp_path: Path) -> None:
    server = NameServer()
    server.set_zone(CHILD.format(name="example.org") + "ns A 127.0.0.1\n")
    zone = "example.org"
    with served(server.responder) as port:

        def is_good(*anchors: str) -> None:
            for anchor in anchors:
                for question, expected in (("www.example.org A", FOUND), ("no.example.org A", NOTHING)):
                    assert delv(port, tmp_path, [anchor], question) == expected

        server.step(zone, SigningAction.ON, 9)
        [old] = server.ds(zone)
        is_good(old)
        server.step(zone, SigningAction.ROLL, 8)
        old_again, new = server.ds(zone)
        assert old_again == old
        is_good(old, new)
        server.step(zone, SigningAction.ROLL, 7)
        assert server.ds(zone) == [new, old]
        is_good(old, new)
        server.step(zone, SigningAction.ROLL, 5)
        assert server.ds(zone) == [new]
        is_good(new)
        server.step(zone, SigningAction.OFF, 4)
        is_good(new)
        found = dns.query.udp(dns.message.make_query(zone, "CDS"), "127.0.0.1", port=port, timeout=30)
        assert found.answer[0][0].to_text() == "0 0 0 00"
        server.step(zone, SigningAction.OFF, 2)
        assert server.ds(zone) == []
        found = asked(port, "www.example.org A")
        assert [each.rdtype for each in found.answer] == [1]


def dnsviz(port: int, folder: Path, names: Sequence[str]) -> str:
    """Its findings, errors and warnings, as it writes them."""
    probed = folder / "probe.json"
    at = f"127.0.0.1:{port}"
    command = ["dnsviz", "probe", "-A", "-E", "-d", "1", "-a", "example.org", "-R", "A,AAAA,TXT,MX", "-o", str(probed)]
    for zone in ("example.org+", "child.example.org", "open.example.org", f"{CDN_ZONE}+"):
        command += ["-x", f"{zone}:ns.example.org={at}"]
    subprocess.run([*command, *names], check=True, timeout=100, capture_output=True)
    grok = ["dnsviz", "grok", "-P", "-l", "warning", "-r", str(probed)]
    found = subprocess.run(grok, check=True, timeout=100, capture_output=True, text=True).stdout
    assert len(json.loads(probed.read_text())) > len(names)
    return found


def test_dnsviz_finds_nothing(signed: Served, tmp_path: Path) -> None:
    names = [
        "example.org", "www.example.org", "nope.example.org", "any.wild.example.org", "er.down.example.org",
        "x.old.example.org", "big.example.org", "child.example.org", "no.child.example.org", "open.example.org",
        f"blog.{CDN_ZONE}", f"nope.{CDN_ZONE}",
    ]  # fmt: skip
    assert dnsviz(signed.port, tmp_path, names).strip() in ("", "{}")


def test_dnsviz_finds_a_wrong_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = NameServer()
    server.sign_everything()
    assert isinstance(server.signers.signer_of((b"example", b"org")), ZoneSigner)
    monkeypatch.setattr(ZoneKey, "signature", lambda self, content: bytes(64))
    with served(server.responder) as port:
        assert "SIGNATURE_INVALID" in dnsviz(port, tmp_path, ["www.example.org"])
