"""Certificates as values: read, checked, and what they say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from cdn.errors import InvalidInput, TooLarge
from cdn.tls.certificate_key import PrivateKey, read_private_key, usable_key_fault

MAX_CHAIN_BYTES = 32_768
"""Of a chain in PEM form: it is sent in every full handshake, and four certificates take 8 KB."""

MAX_CERTIFICATES = 8
"""In one chain: public authorities send two or three, and browsers follow no more than a handful."""

MAX_NAMES = 100
"""In one certificate, as the public authorities sign at most."""

MAX_SHOWN_CHARS = 200
"""Of a name out of a certificate that a fault shows."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")

_MAX_NAME_OCTETS = 253

_WEAK = (hashes.MD5, hashes.SHA1)
"""Nobody accepts a certificate that is signed by way of these (RFC 9155)."""

_PEM = serialization.Encoding.PEM

_PUBLIC_FORM = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo

_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate that is damaged, or of a kind nobody knows, ends in."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A chain and its key, which belong together. `names` are the DNS names of the first certificate in lower case;
    `certificate_id` is the SHA-256 of all certificates of the chain, in hex: with a better chain it is another. Times
    are wall time in seconds."""

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
    """The certificate that a chain and a private key, both in PEM form, make.

    The chain's first certificate is the site's own, and each is signed by the one after it; a root at its end may be.
    What else stands in the file, a key above all, is left out of `Certificate.chain`. Whether it is good now is
    `require_valid`'s question.

    Raises InvalidInput (TooLarge), with `field` "certificate" or "key": no PEM, no order; a key of another one, locked,
    weak or of a kind that browsers do not speak; names that are no DNS names; a certificate that is not for servers.
    """
    certificates = _read_chain(chain)
    private_key = read_private_key(key)
    first = certificates[0]
    with _chain_faults():
        _require_key(certificates, private_key)
        _require_order(certificates)
        _require_use(first)
        names = _names_of(first)
        return Certificate(
            sha256(b"".join(each.public_bytes(serialization.Encoding.DER) for each in certificates)).hexdigest(),
            names,
            first.not_valid_before_utc.timestamp(),
            first.not_valid_after_utc.timestamp(),
            "".join(each.public_bytes(_PEM).decode("ascii") for each in certificates),
            private_key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        )


def require_valid(certificate: Certificate, now: float) -> None:
    """Raises InvalidInput when the chain's certificates are not all good at the wall time `now`. A root at the end does
    not count: whoever trusts it has it."""
    at = datetime.fromtimestamp(now, UTC)
    certificates = _read_chain(certificate.chain)
    for number, each in enumerate(certificates, start=1):
        if number > 1 and each.issuer == each.subject:
            continue
        which = "The certificate" if number == 1 else f"Certificate {number} of the chain"
        if each.not_valid_after_utc <= at:
            raise _chain_fault(f"{which} was good until {each.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it.")
        if each.not_valid_before_utc > at:
            raise _chain_fault(f"{which} is good from {each.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on, not yet.")


def _read_chain(chain: str) -> list[x509.Certificate]:
    if len(chain) > MAX_CHAIN_BYTES:
        raise TooLarge(f"The chain has {len(chain)} bytes, at most {MAX_CHAIN_BYTES} are taken.", field="certificate")
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode("utf-8"))
    except _UNREADABLE as exc:
        raise _chain_fault(
            "The chain is not in PEM form: give lines from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, "
            "the site's own certificate first."
        ) from exc
    if len(certificates) > MAX_CERTIFICATES:
        raise TooLarge(
            f"The chain has {len(certificates)} certificates, at most {MAX_CERTIFICATES} are taken: give the site's "
            "own and those between it and a root.",
            field="certificate",
        )
    for number, each in enumerate(certificates, start=1):
        if each.public_bytes(serialization.Encoding.DER)[-len(each.signature) - 1] != 0:
            # The octet before the signature counts its unused bits. Nothing signs it, and browsers require 0 there.
            raise _chain_fault(f"The signature on certificate {number} of the chain ends within an octet: get it anew.")
    return certificates


def _require_key(certificates: Sequence[x509.Certificate], private_key: PrivateKey) -> None:
    public_key = private_key.public_key().public_bytes(*_PUBLIC_FORM)
    for number, each in enumerate(certificates, start=1):
        if each.public_key().public_bytes(*_PUBLIC_FORM) != public_key:
            continue
        if number > 1:
            raise _chain_fault(f"The key belongs to certificate {number} of the chain: give that one first.")
        if (fault := usable_key_fault(private_key)) is not None:
            raise InvalidInput(fault, field="key")
        return
    raise InvalidInput(
        "The key does not belong to the certificate: give the one that it was asked for with.", field="key"
    )


def _require_order(certificates: Sequence[x509.Certificate]) -> None:
    for number, each in enumerate(certificates, start=1):
        _require_signature(number, each)
    for number, (lower, upper) in enumerate(pairwise(certificates), start=1):
        if lower.issuer != upper.subject:
            raise _chain_fault(
                f"The chain is not in order: certificate {number} is signed by {_called(lower.issuer)}, and the next "
                f"is that of {_called(upper.subject)}: give the site's own, and after each the one that signed it."
            )
        try:
            lower.verify_directly_issued_by(upper)
        except InvalidSignature as exc:
            raise _chain_fault(
                f"The signature on certificate {number} of the chain is not that of the next, although this has the "
                f"right name, {_called(upper.subject)}: it is another certificate of the same authority."
            ) from exc
        if not _is_authority(upper):
            raise _chain_fault(f"Certificate {number + 1} of the chain, {_called(upper.subject)}, is no authority's.")


def _require_signature(number: int, certificate: x509.Certificate) -> None:
    signed_by_way_of = certificate.signature_hash_algorithm
    if isinstance(signed_by_way_of, _WEAK) and certificate.issuer != certificate.subject:
        raise _chain_fault(
            f"Certificate {number} of the chain is signed with {signed_by_way_of.name}, which browsers refuse: have it "
            "signed anew."
        )


def _require_use(first: x509.Certificate) -> None:
    if _is_authority(first) and first.issuer != first.subject:
        raise _chain_fault(
            f"The first certificate, that of {_called(first.subject)}, is an authority's: give the site's own first."
        )
    for extension in first.extensions:
        match extension.value:
            case x509.ExtendedKeyUsage() as uses:
                if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(uses):
                    raise _chain_fault(
                        "The certificate is not for servers: it lacks the extended key usage serverAuth."
                    )
            case x509.TLSFeature() as features:
                if x509.TLSFeatureType.status_request in features:
                    raise _chain_fault(
                        "The certificate asks for a stapled OCSP answer (must-staple), and none is sent here: get one "
                        "without that."
                    )
            case _:
                continue


def _names_of(first: x509.Certificate) -> tuple[str, ...]:
    try:
        alternatives = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as exc:
        raise _chain_fault(
            "The certificate names no domain as a subject alternative name, and browsers look nowhere else."
        ) from exc
    names = []
    for general in alternatives:
        if not isinstance(general, x509.DNSName):
            raise _chain_fault(
                f"The certificate is for {_shown(general.value)}, and only names of domains are served here."
            )
        name = general.value.lower()
        if not _is_dns_name(name):
            raise _chain_fault(f"The certificate is for {_shown(general.value)!r}, which is no name of a domain.")
        names.append(name)
    if not 1 <= len(names) <= MAX_NAMES:
        raise TooLarge(f"The certificate is for {len(names)} names, 1 to {MAX_NAMES} are taken.", field="certificate")
    return tuple(dict.fromkeys(names))


def _is_dns_name(name: str) -> bool:
    labels = name.removeprefix("*.").split(".")
    return len(name) <= _MAX_NAME_OCTETS and all(_LABEL.fullmatch(label) for label in labels)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _called(name: x509.Name) -> str:
    return _shown(name.rfc4514_string()) or "nobody in particular"


def _shown(text: object) -> str:
    """What stands in a certificate may be anything, and goes to terminals and logs."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text)[:MAX_SHOWN_CHARS])


def _chain_fault(message: str) -> InvalidInput:
    return InvalidInput(message, field="certificate")


@contextmanager
def _chain_faults() -> Iterator[None]:
    """Certificates are read as they are asked: a damaged one shows at any of the questions."""
    try:
        yield
    except _UNREADABLE as exc:
        raise _chain_fault(f"A certificate of the chain is damaged or of an unknown kind: {exc}") from exc
