"""What tests ask an authority for."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from cdn.tls.issuer import ChallengeMethod, IssueRequest

ALL_METHODS = (ChallengeMethod.HTTP, ChallengeMethod.TLS_ALPN, ChallengeMethod.DNS)


def wanted(
    *names: str, methods: tuple[ChallengeMethod, ...] = ALL_METHODS, replaces: str | None = None
) -> IssueRequest:
    """With a new key."""
    return IssueRequest(names, csr_for(*names), methods, replaces)


def csr_for(*names: str) -> bytes:
    """In DER."""
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(
        x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
    )
    return request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


def names_of(chain: str) -> set[str]:
    first = x509.load_pem_x509_certificates(chain.encode())[0]
    found = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(found.get_values_for_type(x509.DNSName))
