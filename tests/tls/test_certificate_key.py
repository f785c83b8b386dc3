"""Keys and requests, read by the openssl command."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cdn.errors import InvalidInput
from cdn.tls.certificate_key import certificate_request, make_certificate_key, read_private_key, usable_key_fault
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


def long_key() -> rsa.RSAPrivateKey:
    """Of 8192 bits, at once: of numbers that are no primes."""
    p, q, e = 2**4096 - 17, 2**4096 - 5, 65_537
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, p * q)
    )  # fmt: skip
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def test_how_long_a_key_is_is_seen_before_its_primes_are_looked_at() -> None:
    said = usable_key_fault(read_private_key(key_pem(long_key())))
    assert said is not None
    assert "has 8192 bits" in said, "to look at primes of this size takes seconds, and control stands still"


def test_a_key_whose_numbers_are_none_is_damaged() -> None:
    lines = key_pem(rsa.generate_private_key(65_537, 2048)).splitlines()
    lines[12] = lines[12][::-1]
    with pytest.raises(InvalidInput, match="damaged"):
        read_private_key(b"\n".join(lines))
