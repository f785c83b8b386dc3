"""The certificate that a node shows an authority which validates a name by a handshake (RFC 8737 3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cdn.errors import InvalidInput

ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")

DIGEST_BYTES = 32

_LIFE = timedelta(days=8)
"""Longer than any authorization stays open; nobody checks it."""


def alpn_certificate(domain: str, digest: bytes, now: float) -> tuple[bytes, bytes]:
    """Chain and key in PEM form, new at each call (some 0.2 ms). `digest` is the SHA-256 of the key
    authorization, `now` wall time. Raises InvalidInput for another length."""
    if len(digest) != DIGEST_BYTES:
        raise InvalidInput(f"the digest of a key authorization has {DIGEST_BYTES} octets, not {len(digest)}")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    begins = datetime.fromtimestamp(now, UTC) - timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        # An OCTET STRING (tag 4) of the digest, critical: nobody takes this for a usual certificate.
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, bytes((4, DIGEST_BYTES)) + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
