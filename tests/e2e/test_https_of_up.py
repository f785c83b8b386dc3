"""`cdn up` answers https from the first start: its own zone, custom domains, certificates that are brought, workers."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.running import RunningCdn, write_bundle
from tests.e2e.secure_visits import asked, connected, shown_certificate, trusting, visit, visit_once_there

StartCdn = Callable[..., RunningCdn]

HTTPS = ("--https", "127.0.0.1:0")

REFUSED = r"(?i)eof|reset|alert|unrecognized"


def with_site(cdn: RunningCdn, folder: Path) -> RunningCdn:
    cdn.run("site", "create", "blog")
    cdn.run("deploy", str(write_bundle(folder / "public", {"index.html": b"a page"})), "--site", "blog")
    return cdn


@pytest.mark.parametrize("workers", [1, 2])
def test_the_zone_is_answered_by_https_and_survives_kill(start_cdn: StartCdn, tmp_path: Path, workers: int) -> None:
    cdn = with_site(start_cdn(*HTTPS, "--workers", str(workers)), tmp_path)
    trust = trusting(cdn.root_file)
    answer = visit_once_there(cdn.https_url, "blog.cdn.localhost", trust)
    assert (answer.status, answer.content) == (200, b"a page")
    assert cdn.visit("blog.cdn.localhost").status == 200, "the zone's names are answered by both"
    shown = shown_certificate(cdn.https_url, "blog.cdn.localhost", trust)

    cdn.kill()
    cdn.start()
    answer = visit(cdn.https_url, "blog.cdn.localhost", trusting(cdn.root_file))
    assert answer.content == b"a page", "at once: the certificate is on the node's disk"
    assert shown_certificate(cdn.https_url, "blog.cdn.localhost", trust) == shown


def test_a_custom_domain_is_answered_by_https_and_http_leads_there(start_cdn: StartCdn, tmp_path: Path) -> None:
    cdn = with_site(start_cdn(*HTTPS), tmp_path)
    cdn.run("domain", "add", "www.harbour.example", "--site", "blog", "--verified")
    trust = trusting(cdn.root_file)
    answer = visit_once_there(cdn.https_url, "www.harbour.example", trust)
    assert (answer.status, answer.content) == (200, b"a page")
    moved = cdn.visit("www.harbour.example", "/a?b=c")
    assert moved.status == 308
    port = cdn.https_url.rpartition(":")[2]
    assert moved.fields["location"] == f"https://www.harbour.example:{port}/a?b=c"
    with pytest.raises(OSError, match=REFUSED):
        visit(cdn.https_url, "other.example", trust)

    cdn.run("domain", "rm", "www.harbour.example")
    with pytest.raises(OSError, match=REFUSED):
        visit(cdn.https_url, "www.harbour.example", trust)


@dataclass(frozen=True, slots=True)
class Brought:
    """A certificate that signs itself, as files, and its private number in octets."""

    chain: Path
    key: Path
    private: bytes


def brought(folder: Path, name: str, domain: str) -> Brought:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = Brought(
        folder / f"{name}.pem", folder / f"{name}.key", key.private_numbers().private_value.to_bytes(32, "big")
    )
    files.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def in_clear(folder: Path, files: Brought) -> list[Path]:
    """Files below the folder that show the key: its octets, or lines of its PEM form."""
    middle = files.key.read_text().splitlines()[1].encode()
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(secret in path.read_bytes() for secret in (files.private, middle))
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_another_certificate_takes_over_and_no_connection_drops(
    start_cdn: StartCdn, tmp_path: Path, workers: int
) -> None:
    cdn = with_site(start_cdn(*HTTPS, "--workers", str(workers)), tmp_path)
    host = "www.harbour.example"
    cdn.run("domain", "add", host, "--site", "blog", "--verified")
    first, second = brought(tmp_path, "first", host), brought(tmp_path, "second", host)
    cdn.run("domain", "certificate", "set", host, "--certificate", str(first.chain), "--key", str(first.key))
    trust = trusting(first.chain)
    assert visit_once_there(cdn.https_url, host, trust).status == 200
    with connected(cdn.https_url, host, trust) as held:
        assert asked(held, host).content == b"a page"
        cdn.run("domain", "certificate", "set", host, "--certificate", str(second.chain), "--key", str(second.key))
        for _ in range(8):  # whichever worker takes the connection
            assert visit(cdn.https_url, host, trusting(second.chain)).content == b"a page"
        assert asked(held, host).content == b"a page", "the connection from before is as it was"
    with pytest.raises(ssl.SSLError):
        visit(cdn.https_url, host, trust)

    cdn.kill()  # nothing gets a chance to tidy up
    assert first.key in in_clear(tmp_path, first), "what is in clear is seen"
    assert not in_clear(cdn.folder, first)
    assert not in_clear(cdn.folder, second)
    clear = [
        path
        for path in sorted(cdn.folder.rglob("*"))
        if path.is_file() and b"PRIVATE KEY-----" in path.read_bytes() and path.name != "root.key"
    ]
    assert not clear


def test_only_the_owner_may_read_keys(start_cdn: StartCdn) -> None:
    cdn = start_cdn(*HTTPS)
    data = cdn.folder / "data"
    for path in (data / "control-key", data / "edge-key", data / "dns-key", data / "authority" / "root.key"):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_without_https_nothing_listens_and_nothing_is_signed(start_cdn: StartCdn) -> None:
    cdn = start_cdn("--https", "off")
    assert cdn.https_url == ""
    assert not (cdn.folder / "data" / "authority").exists()
