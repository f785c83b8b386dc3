"""What somebody brings as a certificate is taken whole and right, or refused in a sentence."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from cdn.errors import CdnError
from cdn.tls.certificate import Certificate, covers, read_certificate

PEM = serialization.Encoding.PEM
BEGINS = datetime(2026, 11, 1, tzinfo=UTC)


def pem_key(key: CertificateIssuerPrivateKeyTypes, password: bytes | None = None) -> bytes:
    closed = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, closed)


def signed(
    key: CertificateIssuerPrivateKeyTypes,
    names: tuple[str, ...],
    by: CertificateIssuerPrivateKeyTypes,
    *,
    called: str = "leaf",
    signer: str = "root",
    is_authority: bool = False,
) -> str:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, signer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGINS)
        .not_valid_after(BEGINS + timedelta(days=90))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    if is_authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    algorithm = None if isinstance(by, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(by, algorithm).public_bytes(PEM).decode()


ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
KEY = ec.generate_private_key(ec.SECP256R1())
ROOT = signed(ROOT_KEY, (), ROOT_KEY, called="root", is_authority=True)
LEAF = signed(KEY, ("WWW.example.com", "*.example.com"), ROOT_KEY)


def test_a_chain_and_its_key_are_read() -> None:
    found = read_certificate(f"# what the authority sent\n{LEAF}\n{ROOT}", pem_key(KEY))
    assert found.names == ("www.example.com", "*.example.com")
    assert (found.not_before, found.not_after) == (BEGINS.timestamp(), BEGINS.timestamp() + 90 * 86_400)
    print_of = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"], input=LEAF, capture_output=True, text=True, check=True
    )
    assert print_of.stdout.strip().partition("=")[2].replace(":", "").lower() == found.certificate_id
    assert "PRIVATE" not in repr(found)


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)], ids=["P-384", "RSA"]
)
def test_the_usual_kinds_of_keys_are_taken(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    assert isinstance(read_certificate(signed(key, ("a.example",), ROOT_KEY), pem_key(key)), Certificate)


OTHER = ec.generate_private_key(ec.SECP256R1())
WEAK = rsa.generate_private_key(65537, 1024)
EDWARDS = ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    ("chain", "key", "says"),
    [
        (LEAF, pem_key(OTHER), "does not belong to the certificate"),
        (ROOT + LEAF, pem_key(KEY), "belongs to certificate 2 of the chain: give that one first"),
        (LEAF + LEAF, pem_key(KEY), "certificate 1 of the chain was not signed by the one after it"),
        (LEAF + ROOT * 8, pem_key(KEY), "9 certificates, at most 8"),
        (LEAF * 80, pem_key(KEY), "characters, at most"),
        (LEAF + pem_key(KEY).decode(), pem_key(KEY), "the chain has a private key in it"),
        ("", pem_key(KEY), "no list of certificates"),
        ("häh", pem_key(KEY), "no list of certificates"),
        (LEAF.replace("M", "N", 3), pem_key(KEY), "no list of certificates"),
        (LEAF, b"garbage", "no private key in PEM form"),
        (LEAF, b"x" * 20_000, "20000 octets"),
        (LEAF, pem_key(KEY, b"secret"), "the key has a password"),
        (signed(WEAK, ("a.example",), ROOT_KEY), pem_key(WEAK), "RSA with 1024 bits"),
        (signed(EDWARDS, ("a.example",), ROOT_KEY), pem_key(EDWARDS), "browsers do not take"),
        (signed(KEY, (), ROOT_KEY), pem_key(KEY), "names no domain"),
        (signed(KEY, ("a.example",), ROOT_KEY, is_authority=True), pem_key(KEY), "is an authority's"),
        (signed(KEY, tuple(f"{n}.example" for n in range(101)), ROOT_KEY), pem_key(KEY), "101 names"),
    ],
)
def test_what_is_wrong_is_said(chain: str, key: bytes, says: str) -> None:
    with pytest.raises(CdnError, match=says) as refused:
        read_certificate(chain, key)
    assert "BEGIN PRIVATE" not in str(refused.value).replace("(-----BEGIN PRIVATE KEY-----)", "")


@given(st.binary(max_size=300), st.text(max_size=300))
def test_garbage_is_refused_and_nothing_else_happens(key: bytes, chain: str) -> None:
    for pair in ((chain, pem_key(KEY)), (LEAF, key), (chain, key)):
        with pytest.raises(CdnError):
            read_certificate(*pair)


@pytest.mark.parametrize(
    ("domain", "is_covered"),
    [
        ("www.example.com", True),
        ("a.example.com", True),
        ("example.com", False),
        ("a.b.example.com", False),
        ("*.example.com", True),
        ("com", False),
    ],
)
def test_a_star_stands_for_one_whole_label(domain: str, is_covered: bool) -> None:
    assert covers(("www.example.com", "*.example.com"), domain) is is_covered
