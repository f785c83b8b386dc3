"""Certificates as values: read, checked, and what they say of themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cdn.errors import InvalidInput, TooLarge

MAX_CHAIN_BYTES = 32_768
"""Of a chain in PEM form: four large RSA certificates take half of it, and every handshake sends it."""

MAX_CHAIN_CERTIFICATES = 8
"""Authorities send two or three."""

MAX_KEY_BYTES = 16_384
"""Of a private key in PEM form: one of RSA with 4096 bits takes 3,300."""

MAX_NAMES = 100
"""What authorities put into one certificate; a name costs every handshake its octets."""

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096
"""Below that it is no secret, above it one handshake takes longer than a hundred usual ones."""

_CURVES = (ec.SECP256R1, ec.SECP384R1)

_PUBLIC_FORM = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo


@dataclass(frozen=True, slots=True)
class Certificate:
    """A chain and its key, which belong together. `names` are the DNS names of the first certificate in lower case;
    `certificate_id` is the SHA-256 of it, in hex. Times are wall time in seconds."""

    certificate_id: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    chain: str
    key: bytes = field(repr=False)
    """PKCS #8 in PEM form."""


def covers(names: tuple[str, ...], domain: str) -> bool:
    """Whether a certificate for `names` is one for `domain` (RFC 6125 6.4.3: `*` stands for one whole first label)."""
    if domain in names:
        return True
    _, dot, rest = domain.partition(".")
    return bool(dot) and f"*.{rest}" in names


def read_certificate(chain: str, key: bytes) -> Certificate:
    """What somebody brings, or an authority signed: both in PEM form, the server's certificate first.

    Whether it is for the name in question, and still good, is the caller's to ask. Raises InvalidInput and TooLarge,
    which never quote the key.
    """
    certificates = _certificates_of(chain)
    private = _key_of(key)
    first = certificates[0]
    if _public(first) != private.public_key().public_bytes(*_PUBLIC_FORM):
        raise InvalidInput(_misfit(certificates, private), field="key")
    _check_order(certificates)
    names = _names_of(first)
    return Certificate(
        sha256(first.public_bytes(serialization.Encoding.DER)).hexdigest(),
        names,
        first.not_valid_before_utc.timestamp(),
        first.not_valid_after_utc.timestamp(),
        "".join(each.public_bytes(serialization.Encoding.PEM).decode("ascii") for each in certificates),
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def _certificates_of(chain: str) -> list[x509.Certificate]:
    if len(chain) > MAX_CHAIN_BYTES:
        raise TooLarge(f"the chain has {len(chain)} characters, at most {MAX_CHAIN_BYTES} are taken")
    if "PRIVATE KEY-----" in chain:
        raise InvalidInput("the chain has a private key in it: give certificates there, and the key by itself")
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInput(
            "the chain is no list of certificates in PEM form (-----BEGIN CERTIFICATE-----)", field="chain"
        ) from None
    if len(certificates) > MAX_CHAIN_CERTIFICATES:
        raise TooLarge(f"the chain has {len(certificates)} certificates, at most {MAX_CHAIN_CERTIFICATES} are taken")
    return certificates


def _key_of(key: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    if len(key) > MAX_KEY_BYTES:
        raise TooLarge(f"the key has {len(key)} octets, at most {MAX_KEY_BYTES} are taken")
    try:
        private = serialization.load_pem_private_key(key, None)
    except TypeError:
        raise InvalidInput(
            "the key has a password: take it off first, as `openssl pkey -in KEY -out OPEN` does", field="key"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInput("the key is no private key in PEM form (-----BEGIN PRIVATE KEY-----)", field="key") from None
    match private:
        case ec.EllipticCurvePrivateKey() if isinstance(private.curve, _CURVES):
            return private
        case rsa.RSAPrivateKey() if MIN_RSA_BITS <= private.key_size <= MAX_RSA_BITS:
            return private
        case rsa.RSAPrivateKey():
            raise InvalidInput(
                f"the key is RSA with {private.key_size} bits: take {MIN_RSA_BITS} to {MAX_RSA_BITS}, or P-256",
                field="key",
            )
        case _:
            raise InvalidInput("the key is of a kind that browsers do not take: use P-256, P-384 or RSA", field="key")


def _check_order(certificates: list[x509.Certificate]) -> None:
    """Each is signed by the next. A root at the end is left where it is: it costs octets and nothing else."""
    for number, (lower, upper) in enumerate(pairwise(certificates), start=1):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise InvalidInput(
                f"certificate {number} of the chain was not signed by the one after it: give the server's certificate "
                "first, then the one that signed it, and so on",
                field="chain",
            ) from None


def _names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(dict.fromkeys(name.lower() for name in found.get_values_for_type(x509.DNSName)))
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_authority = constraints.ca
    except x509.ExtensionNotFound as exc:
        if exc.oid == x509.SubjectAlternativeName.oid:
            names = ()
        is_authority = False
    except ValueError:
        raise InvalidInput("the first certificate has extensions that cannot be read", field="chain") from None
    if is_authority:
        raise InvalidInput(
            "the first certificate is an authority's: give the server's certificate first", field="chain"
        )
    if not names:
        raise InvalidInput("the first certificate names no domain (subjectAltName)", field="chain")
    if len(names) > MAX_NAMES:
        raise TooLarge(f"the certificate is for {len(names)} names, at most {MAX_NAMES} are taken")
    return names


def _public(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(*_PUBLIC_FORM)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInput("the first certificate has a public key that cannot be read", field="chain") from None


def _misfit(certificates: list[x509.Certificate], private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    of = private.public_key().public_bytes(*_PUBLIC_FORM)
    for number, certificate in enumerate(certificates[1:], start=2):
        if _public(certificate) == of:
            return f"the key belongs to certificate {number} of the chain: give that one first"
    return "the key does not belong to the certificate: give the key that its request was made with"
