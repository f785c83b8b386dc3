"""The certificate of a tls-alpn-01 handshake (RFC 8737 3)."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography import x509

from cdn.errors import InvalidInput
from cdn.tls.alpn_certificate import alpn_certificate


def test_it_says_the_digest_critically_and_one_name() -> None:
    digest = sha256(b"token.thumbprint").digest()
    chain, key = alpn_certificate("www.example.com", digest, 1_790_000_000.0)
    certificate = x509.load_pem_x509_certificate(chain)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["www.example.com"]
    said = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert said.critical
    assert isinstance(said.value, x509.UnrecognizedExtension)
    assert said.value.value == b"\x04\x20" + digest
    certificate.verify_directly_issued_by(certificate)
    assert key.startswith(b"-----BEGIN PRIVATE KEY")


def test_another_length_is_refused() -> None:
    with pytest.raises(InvalidInput, match="32 octets, not 31"):
        alpn_certificate("a.example", bytes(31), 0.0)
