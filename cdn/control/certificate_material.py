"""Keys and requests of certificates, and their form in the store."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import pairwise

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cdn.errors import InvalidInput
from cdn.tls.certificate import Certificate
from cdn.tls.sealed import KeyRing, Purpose


class StoredCertificate(msgspec.Struct, frozen=True):
    certificate_id: str
    chain: str
    sealed_keys: dict[str, str]


def make_certificate_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_request(key: bytes, names: Iterable[str]) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=True)
    return builder.sign(loaded, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def read_certificate(chain: str, key: bytes) -> Certificate:
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode("utf-8"))
        loaded = serialization.load_pem_private_key(key, None)
    except ValueError as exc:
        raise InvalidInput(f"the certificate or its key is not in PEM form: {exc}") from exc
    first = certificates[0]
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if first.public_key().public_bytes(*form) != loaded.public_key().public_bytes(*form):
        raise InvalidInput("the key is not that of the certificate")
    try:
        for lower, upper in pairwise(certificates):
            lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature) as exc:
        raise InvalidInput("the chain is not in order") from exc
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return Certificate(
        sha256(first.public_bytes(serialization.Encoding.DER)).hexdigest(),
        tuple(name.lower() for name in names.get_values_for_type(x509.DNSName)),
        first.not_valid_before_utc.timestamp(),
        first.not_valid_after_utc.timestamp(),
        chain,
        loaded.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def sealed_for(rings: Mapping[str, KeyRing], certificate: Certificate) -> dict[str, str]:
    return {
        group: base64.b64encode(
            ring.sealed(certificate.key, Purpose.CERTIFICATE_KEY, certificate.certificate_id)
        ).decode("ascii")
        for group, ring in rings.items()
    }
