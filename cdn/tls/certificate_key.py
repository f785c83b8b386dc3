"""Private keys of certificates, and the requests that are made with them."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from cdn.errors import InvalidInput, TooLarge

MAX_KEY_BYTES = 16_384
"""Of a key in PEM form: RSA with 8192 bits has 6 KB."""

LEAST_RSA_BITS = 2048
"""Fewer are refused by browsers."""

MOST_RSA_BITS = 4096
"""A signature with more takes tens of milliseconds: a few handshakes a second would fill a core."""

PrivateKey = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | dsa.DSAPrivateKey
)

_CURVES = (ec.SECP256R1.name, ec.SECP384R1.name)

_PEM = serialization.Encoding.PEM


def make_certificate_key() -> bytes:
    """A new ECDSA key on P-256, PKCS #8 in PEM form (some 30 us)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def certificate_request(key: bytes, names: Sequence[str]) -> bytes:
    """The request (PKCS #10, RFC 2986) in DER for a certificate for `names`, signed with a key in PEM form.

    The subject is empty, as names stand nowhere else (RFC 8555 7.4). Raises InvalidInput for no key, or none of ours.
    """
    private_key = read_private_key(key)
    if (fault := usable_key_fault(private_key)) is not None:
        raise InvalidInput(fault, field="key")
    assert isinstance(private_key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)  # the only ones that are usable
    names_extension = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(names_extension, critical=True)  # as the subject is empty (RFC 5280 4.2.1.6)
        .sign(private_key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


def read_private_key(key: bytes) -> PrivateKey:
    """A key in PEM form. One that is too long to be usable is not checked further, see `usable_key_fault`.

    Raises InvalidInput (TooLarge), which says nothing of what stands there.
    """
    if len(key) > MAX_KEY_BYTES:
        raise TooLarge(f"The key has {len(key)} bytes, at most {MAX_KEY_BYTES} are taken.", field="key")
    try:
        # All else waits while the primes of a key are checked: 0.3 s with 4096 bits, minutes with as many as fit here.
        private_key = serialization.load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
        if isinstance(private_key, rsa.RSAPrivateKey) and private_key.key_size <= MOST_RSA_BITS:
            private_key = serialization.load_pem_private_key(key, None)
    except TypeError as exc:
        raise _key_fault(
            "The key is locked by a passphrase: unlock it first (openssl pkey -in LOCKED.pem -out KEY.pem)."
        ) from exc
    except UnsupportedAlgorithm as exc:
        raise _key_fault("The key is of a kind that is not known here: give ECDSA on P-256 or P-384, or RSA.") from exc
    except ValueError:
        # Without what is being handled: what was read must not show in a trace.
        raise _key_fault(
            "The key is not in PEM form, or damaged: give lines from -----BEGIN PRIVATE KEY----- to "
            "-----END PRIVATE KEY-----."
        ) from None
    if not isinstance(private_key, PrivateKey):
        raise _key_fault("The key is for something else than signing: give ECDSA on P-256 or P-384, or RSA.")
    return private_key


def usable_key_fault(key: PrivateKey) -> str | None:
    """Why browsers would not speak with a server that has this key, or it would cost too much; None: all is well."""
    match key:
        case ec.EllipticCurvePrivateKey():
            if key.curve.name in _CURVES:
                return None
            return f"The key is on the curve {key.curve.name}, which browsers do not speak: use P-256 or P-384."
        case rsa.RSAPrivateKey():
            if LEAST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
                return None
            return (
                f"The RSA key has {key.key_size} bits, {LEAST_RSA_BITS} to {MOST_RSA_BITS} are taken: ECDSA on P-256 "
                "is as strong as 3072 and quicker."
            )
        case _:
            kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
            return f"The key is of the kind {kind}, which browsers do not speak: use ECDSA on P-256 or P-384, or RSA."


def _key_fault(message: str) -> InvalidInput:
    return InvalidInput(message, field="key")
