"""Keys and requests of certificates, and their form in the store."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cdn.tls.certificate import Certificate
from cdn.tls.sealed import KeyRing, Purpose


class StoredCertificate(msgspec.Struct, frozen=True):
    """The object of a certificate, as JSON; see `CertificateSet`. What it has beside these is another program's."""

    certificate_id: str
    chain: str
    sealed_keys: dict[str, str]


def make_certificate_key() -> bytes:
    """A new ECDSA P-256 key: PKCS #8 in PEM form."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_request(key: bytes, names: Iterable[str]) -> bytes:
    """What an authority is asked to sign (PKCS #10, in DER): a key of `make_certificate_key` for these names."""
    loaded = serialization.load_pem_private_key(key, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=True)
    return builder.sign(loaded, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def sealed_for(rings: Mapping[str, KeyRing], certificate: Certificate) -> dict[str, str]:
    """The certificate's key for each group of nodes, as `CertificateSet` has it."""
    return {
        group: base64.b64encode(
            ring.sealed(certificate.key, Purpose.CERTIFICATE_KEY, certificate.certificate_id)
        ).decode("ascii")
        for group, ring in rings.items()
    }
