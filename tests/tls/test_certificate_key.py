"""Keys and requests, read by the openssl command."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cdn.errors import InvalidInput
from cdn.tls.certificate_key import certificate_request, make_certificate_key, read_private_key
from tests.tls.chains import key_pem, openssl


def test_a_key_is_on_p_256_and_new_each_time() -> None:
    key = make_certificate_key()
    read = read_private_key(key)
    assert isinstance(read, ec.EllipticCurvePrivateKey)
    assert read.curve.name == "secp256r1"
    assert make_certificate_key() != key


def test_openssl_reads_the_request() -> None:
    names = ("example.com", "*.example.com")
    der = certificate_request(make_certificate_key(), names)
    said = openssl("req", "-inform", "der", "-noout", "-verify", "-text", given=der)
    assert said.returncode == 0, said.stderr
    text = said.stdout.decode() + said.stderr.decode()
    assert "verify OK" in text
    assert "DNS:example.com, DNS:*.example.com" in text
    assert "Subject Alternative Name: critical" in text
    assert "Subject: \n" in text or "Subject:\n" in text


def test_a_key_that_was_brought_signs_too() -> None:
    key = rsa.generate_private_key(65_537, 2048)
    read = x509.load_der_x509_csr(certificate_request(key_pem(key), ("a.example",)))
    assert read.is_signature_valid
    assert read.public_key() == key.public_key()


@pytest.mark.parametrize("key", [b"", key_pem(ec.generate_private_key(ec.SECP256K1()))], ids=["none", "secp256k1"])
def test_no_request_is_made_with_what_browsers_do_not_speak(key: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        certificate_request(key, ("a.example",))
    assert caught.value.field == "key"
