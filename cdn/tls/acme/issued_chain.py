"""What an authority gives at the end, looked at before it is taken for the certificate that was asked for."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cdn.errors import InvalidInput

MAX_CERTIFICATES = 10
"""In one chain: authorities' have two to four."""


def first_certificate(chain: str) -> x509.Certificate:
    """Of a chain in PEM form. Raises InvalidInput when there is none that can be read."""
    return _read(chain)[0]


def plain_chain(content: bytes) -> str:
    """The certificates of an answer (RFC 8555 9.1), each anew in PEM form, without what stands between them.

    Raises InvalidInput.
    """
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as exc:
        raise InvalidInput("the chain is not ASCII") from exc
    found = _read(text)
    if len(found) > MAX_CERTIFICATES:
        raise InvalidInput(f"the chain has {len(found)} certificates, {MAX_CERTIFICATES} at most are taken")
    return "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in found)


def is_for_request(chain: str, csr: bytes) -> bool:
    """Whether the first certificate has the key of the request (DER), and all of its names. Raises InvalidInput."""
    certificate, request = first_certificate(chain), x509.load_der_x509_csr(csr)
    if _public_key(certificate) != _public_key(request):
        return False
    return _names(request) <= _names(certificate)


def _read(chain: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(chain.encode("ascii"))
    except (ValueError, UnicodeEncodeError) as exc:
        raise InvalidInput("there is no certificate in PEM form that can be read") from exc


def _public_key(of: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return of.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(of: x509.Certificate | x509.CertificateSigningRequest) -> frozenset[str]:
    try:
        found = of.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(name.lower() for name in found.get_values_for_type(x509.DNSName))
