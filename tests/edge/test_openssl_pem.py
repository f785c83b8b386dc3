"""Which texts are certificates and keys to OpenSSL, as the product reads them."""

from __future__ import annotations

import ssl

import pytest

from cdn.edge.openssl import Openssl, openssl
from cdn.edge.tls_source import CertificateMaterial
from tests.edge.tls_material import certificate_for, root_pem

A = certificate_for("a.example")
END = b"-----END CERTIFICATE-----"


@pytest.fixture
def way() -> Openssl:
    found = openssl()
    assert found is not None
    return found


@pytest.mark.parametrize(
    "chain",
    [
        A.chain + root_pem(),
        A.chain.replace(b"\n", b"\r\n") + root_pem().rstrip(),
        b"subject: a.example\n-----BEGIN no label-----\n" + A.chain + b"issuer: -----\n" + root_pem(),
        b"-----BEGIN TRUST-----\nAAAA\n-----END TRUST-----\n" + A.chain + root_pem(),
        b"-----BEGIN TRUST-----\nAAAA\n" + A.chain + root_pem() + b"-----BEGIN ",
    ],
    ids=["plain", "CRLF", "words between", "another block", "another that has no end"],
)
def test_certificates_are_found_among_words(way: Openssl, chain: bytes) -> None:
    ready = way.read(CertificateMaterial(chain, b"Bag Attributes\n" + A.key), b"a")
    assert way.is_named(ready, "a.example")
    assert len(ready._intermediates) == 1


@pytest.mark.parametrize(
    "material",
    [
        CertificateMaterial(b"", A.key),
        CertificateMaterial(A.chain.replace(END, b""), A.key),
        CertificateMaterial(A.chain[:200] + A.chain[205:], A.key),
        CertificateMaterial(A.chain, A.key + A.key),
        CertificateMaterial(A.chain, A.chain),
        CertificateMaterial(A.chain, A.key[:100]),
    ],
    ids=["nothing", "no end", "damaged", "two keys", "no key", "cut"],
)
def test_what_is_not_whole_is_refused(way: Openssl, material: CertificateMaterial) -> None:
    with pytest.raises(ssl.SSLError):
        way.read(material, b"a")
